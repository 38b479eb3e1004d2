//! What an Arc sends, told apart.

use serde::Deserialize;
use serde_json::value::RawValue;
use spec::caller::{DRAINING, code};
use tokio_util::bytes::Bytes;

use crate::message::{DEPTH, Fault, is_deeper_than, part, present};

/// What an Arc answers: the result as JSON, or its error.
pub(crate) type Answer = Result<Bytes, Fault>;

/// A message of an Arc.
#[derive(Debug)]
pub(crate) enum Received<'m> {
    /// The answer to the request `id`.
    Answer { id: u64, answer: Answer },
    /// A request, which the gateway does not take.
    Request { id: &'m RawValue, method: String },
    /// The progress of the request that has the id `token`.
    Progress { token: u64, params: &'m RawValue },
    /// Its tools are others now.
    ToolsChanged,
    /// It is about to exit.
    Draining,
    /// Anything else.
    Other,
}

#[derive(Deserialize)]
struct Message<'m> {
    #[serde(borrow, default)]
    id: Option<&'m RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'m RawValue>,
    #[serde(borrow, default)]
    error: Option<ArcError<'m>>,
}

#[derive(Deserialize)]
struct ArcError<'m> {
    code: i32,
    message: String,
    #[serde(borrow, default)]
    data: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(rename = "progressToken")]
    token: u64,
}

/// Reads a message.
pub(crate) fn read(frame: &Bytes) -> Result<Received<'_>, serde_json::Error> {
    // serde would read a struct from an array as well.
    if frame.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde::de::Error::custom("not a JSON object"));
    }
    let message: Message<'_> = serde_json::from_slice(frame)?;
    Ok(match (message.method.as_deref(), message.id) {
        (None, Some(id)) => Received::Answer { id: serde_json::from_str(id.get())?, answer: message.answer(frame) },
        (Some(method), Some(id)) => Received::Request { id, method: method.to_owned() },
        (Some("notifications/progress"), None) => progress(message.params),
        (Some("notifications/tools/list_changed"), None) => Received::ToolsChanged,
        (Some(DRAINING), None) => Received::Draining,
        (_, None) => Received::Other,
    })
}

fn progress(params: Option<&RawValue>) -> Received<'_> {
    let token = params.and_then(|params| Some((params, serde_json::from_str::<Token>(params.get()).ok()?)));
    token.map_or(Received::Other, |(params, Token { token })| Received::Progress { token, params })
}

impl Message<'_> {
    fn answer(&self, frame: &Bytes) -> Answer {
        match (self.result, &self.error) {
            (Some(_), None) if is_deeper_than(frame, DEPTH) => {
                let message =
                    format!("the Arc answered with what nests deeper than {DEPTH} levels, the most that is passed on");
                Err(Fault::new(code::INTERNAL, message))
            }
            (Some(result), None) => Ok(part(frame, result)),
            (_, Some(error)) => {
                let data = error.data.map(ToOwned::to_owned);
                Err(Fault { code: error.code, message: error.message.clone(), data })
            }
            (None, None) => Err(Fault::new(code::INTERNAL, "the Arc answered neither a result nor an error")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let frame = Bytes::copy_from_slice(text.as_bytes());
        match read(&frame) {
            Ok(Received::Answer { id, answer: Ok(result) }) => format!("{id}: {}", String::from_utf8_lossy(&result)),
            Ok(Received::Answer { id, answer: Err(fault) }) => format!("{id}: {} {}", fault.code, fault.message),
            Ok(Received::Request { id, method }) => format!("{id}? {method}"),
            Ok(Received::Progress { token, .. }) => format!("progress of {token}"),
            Ok(other) => format!("{other:?}"),
            Err(_) => "no message".to_owned(),
        }
    }

    #[test]
    fn messages_are_told_apart() {
        let table = [
            (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, "7: null"),
            (r#"{"id":7,"error":{"code":-1,"message":"no"}}"#, "7: -1 no"),
            (r#"{"id":7}"#, "7: -32603 the Arc answered neither a result nor an error"),
            (r#"{"id":"x","method":"ping"}"#, "\"x\"? ping"),
            (r#"{"method":"notifications/progress","params":{"progressToken":3,"progress":1}}"#, "progress of 3"),
            (r#"{"method":"notifications/progress","params":{"progressToken":"x"}}"#, "Other"),
            (r#"{"method":"notifications/tools/list_changed"}"#, "ToolsChanged"),
            (r#"{"method":"notifications/llmbasedos/draining"}"#, "Draining"),
            (r#"{"method":"notifications/message","params":{}}"#, "Other"),
            (r#"{"id":"not ours","result":1}"#, "no message"),
            ("[]", "no message"),
            ("7", "no message"),
        ];
        for (text, expected) in table {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn what_no_caller_could_read_is_not_passed_on() {
        let nested = |depth: usize| format!("{{\"id\":7,\"result\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(told(&nested(DEPTH - 1)).starts_with("7: [["));
        assert!(told(&nested(DEPTH)).contains("nests deeper than 100 levels"));
        assert!(told(&nested(1_000_000)).contains("nests deeper than 100 levels"));
    }
}
