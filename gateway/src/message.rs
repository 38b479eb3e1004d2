//! JSON-RPC 2.0: reading a request without reading its arguments, and writing answers around raw JSON.

use std::borrow::Cow;
use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use spec::caller::code;
use tokio_util::bytes::Bytes;

use crate::frame::stray;

/// The largest message that is taken from outside, in bytes.
pub(crate) const OUTSIDE_LIMIT: usize = 4 << 20;

/// The largest message that is taken from an Arc, in bytes.
pub(crate) const ARC_LIMIT: usize = 16 << 20;

/// How deep arrays and objects may nest in a message from outside. Arcs read with serde_json, whose bound is 128, and
/// the gateway wraps what it passes on; a message that an Arc cannot read would never be answered.
pub(crate) const DEPTH: usize = 100;

/// Why a request is not answered with a result: what the caller is told.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The JSON-RPC error code.
    pub(crate) code: i32,
    /// What failed, why, and what to do.
    pub(crate) message: String,
    /// More, for programs.
    pub(crate) data: Option<Box<RawValue>>,
}

impl Fault {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::value::to_raw_value(data).ok();
        self
    }

    /// A message above `limit` bytes.
    pub(crate) fn too_long(limit: usize) -> Self {
        let limit = limit >> 20;
        Self::new(code::INVALID_REQUEST, format!("the message is longer than {limit} MiB, the most that is taken"))
    }
}

/// A request or, without an id, a notification. The parts are pieces of the frame, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// To be echoed as it stands.
    pub(crate) id: Option<Bytes>,
    pub(crate) method: String,
    pub(crate) params: Option<Bytes>,
}

/// Why a frame is no request.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its id, where it could be made out.
    pub(crate) id: Option<Bytes>,
    pub(crate) fault: Fault,
}

#[derive(Deserialize)]
struct Envelope<'f> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'f RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'f RawValue>,
    #[serde(borrow, default)]
    params: Option<&'f RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'f RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'f RawValue>,
}

/// Reads a member that may be `null` and is then there nevertheless.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The part of `frame` that `raw` is, without copying.
pub(crate) fn part(frame: &Bytes, raw: &RawValue) -> Bytes {
    frame.slice_ref(raw.get().as_bytes())
}

/// Reads a frame. `None`: an answer to something that was never asked, to be passed over.
pub(crate) fn parse(frame: &Bytes) -> Result<Option<Request>, Refused> {
    let refused = |code, message: String| {
        let id = stray::id(frame).map(|id| frame.slice_ref(id));
        Refused { id, fault: Fault::new(code, message) }
    };
    let text = std::str::from_utf8(frame).map_err(|error| {
        refused(code::PARSE, format!("the message is not UTF-8: the byte at {} is none of a text", error.valid_up_to()))
    })?;
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') => {
            let message = "a JSON array is no request, batches are not taken: send each request by itself";
            return Err(Refused { id: None, fault: Fault::new(code::INVALID_REQUEST, message) });
        }
        _ => {
            serde_json::from_str::<&RawValue>(text).map_err(|error| refused(code::PARSE, not_json(&error)))?;
            return Err(refused(code::INVALID_REQUEST, "a request must be a JSON object".to_owned()));
        }
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => refused(code::INVALID_REQUEST, format!("not a request: {error}")),
        _ => refused(code::PARSE, not_json(&error)),
    })?;
    read_envelope(frame, &envelope)
}

fn not_json(error: &impl Display) -> String {
    format!("the message is not JSON: {error}")
}

fn read_envelope(frame: &Bytes, envelope: &Envelope<'_>) -> Result<Option<Request>, Refused> {
    let id = envelope.id.map(|id| part(frame, id));
    let invalid =
        |id: Option<Bytes>, message: &str| Err(Refused { id, fault: Fault::new(code::INVALID_REQUEST, message) });
    if id.as_deref().is_some_and(|id| matches!(id.first(), Some(b'{' | b'[' | b't' | b'f'))) {
        return invalid(None, "the id must be a string or a number");
    }
    let method: Cow<'_, str> = match envelope.method {
        None if envelope.result.is_some() || envelope.error.is_some() => return Ok(None),
        None => return invalid(id, "the method is missing"),
        Some(method) => match serde_json::from_str(method.get()) {
            Ok(method) => method,
            Err(_) => return invalid(id, "the method must be a string"),
        },
    };
    if is_deeper_than(frame, DEPTH) {
        return invalid(id, &format!("arrays and objects nest deeper than {DEPTH} levels, the most that is taken"));
    }
    Ok(Some(Request { id, method: method.into_owned(), params: envelope.params.map(|params| part(frame, params)) }))
}

/// Whether arrays and objects nest deeper than `limit` in `json`.
pub(crate) fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    if json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.iter().any(|&byte| {
        match byte {
            b'"' if !escaped => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = byte == b'\\' && in_string && !escaped;
        depth > limit
    })
}

/// Writes an answer with a result, both given as JSON.
pub(crate) fn result(id: &[u8], result: &[u8]) -> Vec<u8> {
    [br#"{"jsonrpc":"2.0","id":"#, id, br#","result":"#, result, b"}"].concat()
}

/// Writes an answer with an error; a request whose id is not known is answered with `null`.
pub(crate) fn error(id: Option<&[u8]>, fault: &Fault) -> Vec<u8> {
    #[derive(Serialize)]
    struct Error<'f> {
        code: i32,
        message: &'f str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'f RawValue>,
    }
    let error = Error { code: fault.code, message: &fault.message, data: fault.data.as_deref() };
    let error = serde_json::to_vec(&error).unwrap_or_default();
    [br#"{"jsonrpc":"2.0","id":"#, id.unwrap_or(b"null"), br#","error":"#, &error, b"}"].concat()
}

/// A JSON text on one line: between tokens a line's end is a space like any other, and within strings there is none.
pub(crate) fn on_one_line(json: Bytes) -> Bytes {
    if !json.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return json;
    }
    json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        parse(&Bytes::copy_from_slice(text.as_bytes())).expect("a request").expect("no answer")
    }

    fn refusal(bytes: &[u8]) -> (Option<String>, i32, String) {
        let refused = parse(&Bytes::copy_from_slice(bytes)).expect_err("to be refused");
        let id = refused.id.map(|id| String::from_utf8_lossy(&id).into_owned());
        (id, refused.fault.code, refused.fault.message)
    }

    #[test]
    fn a_request_is_read_without_its_arguments() {
        let text = r#"{"jsonrpc":"2.0","method":"mcp.kv.get","params":[ "a" ],"id":"bridge-call-1f"}"#;
        let expected = Request {
            id: Some(Bytes::from_static(br#""bridge-call-1f""#)),
            method: "mcp.kv.get".to_owned(),
            params: Some(Bytes::from_static(br#"[ "a" ]"#)),
        };
        assert_eq!(request(text), expected);
        assert_eq!(request(r#"{"method":"a\u0062"}"#), Request { id: None, method: "ab".to_owned(), params: None });
        assert_eq!(request(r#"{"method":"a","params":null}"#).params, None);
        assert_eq!(request(r#"{"method":"a","id":null}"#).id.as_deref(), Some(&b"null"[..]));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_id() {
        let id = || Some("7".to_owned());
        let cases: [(&[u8], _, i32, &str); 10] = [
            (b"hello", None, code::PARSE, "not JSON"),
            (br#"{"id":7,"method":"#, id(), code::PARSE, "not JSON"),
            (b"{\"id\":7,\"method\":\"\xff\"}", id(), code::PARSE, "not UTF-8"),
            (b"[]", None, code::INVALID_REQUEST, "batches"),
            (br#"[{"id":7}]"#, None, code::INVALID_REQUEST, "batches"),
            (b"42", None, code::INVALID_REQUEST, "JSON object"),
            (br#"{"id":7}"#, id(), code::INVALID_REQUEST, "method is missing"),
            (br#"{"id":7,"method":{"a":1}}"#, id(), code::INVALID_REQUEST, "must be a string"),
            (br#"{"id":[7],"method":"a"}"#, None, code::INVALID_REQUEST, "id must be"),
            (br#"{"id":7,"id":8,"method":"a"}"#, id(), code::INVALID_REQUEST, "duplicate"),
        ];
        for (bytes, id, code, words) in cases {
            let (found_id, found_code, message) = refusal(bytes);
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!((found_id, found_code), (id, code), "{shown}: {message}");
            assert!(message.contains(words), "{shown}: {message}");
        }
    }

    #[test]
    fn answers_to_nothing_are_passed_over() {
        let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(parse(&answer).expect("an answer"), None);
    }

    #[test]
    fn a_hundred_thousand_brackets_are_an_error_and_not_a_stack_overflow() {
        let deep =
            |count: usize| format!(r#"{{"id":7,"method":"a","params":{}{}}}"#, "[".repeat(count), "]".repeat(count));
        let (id, code, message) = refusal(deep(100_000).as_bytes());
        assert_eq!((id.as_deref(), code), (Some("7"), code::INVALID_REQUEST));
        assert!(message.contains("deeper than 100 levels"), "{message}");
        assert_eq!(refusal("[".repeat(100_000).as_bytes()).1, code::INVALID_REQUEST);
        assert_eq!(refusal(format!("{{\"id\":7,\"method\":{}", "{\"a\":".repeat(100_000)).as_bytes()).1, code::PARSE);
        request(&deep(99));
        request(&format!(r#"{{"method":"a","params":["\"{}"]}}"#, "[".repeat(200)));
        assert!(is_deeper_than(deep(100).as_bytes(), DEPTH));
    }

    #[test]
    fn json_is_brought_on_one_line() {
        assert_eq!(on_one_line(Bytes::from_static(b"[1,\r\n 2]")), &b"[1,   2]"[..]);
    }
}
