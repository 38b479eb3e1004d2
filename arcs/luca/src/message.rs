//! The JSON-RPC and MCP messages that a client sends and understands.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use spec::caller::{ArgumentProblem, FAILURE_KEY, Failure, STREAM_KEY, code};

/// The MCP revision that is spoken.
pub(crate) const PROTOCOL_VERSION: &str = "2025-11-25";

/// What is asked of the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    /// A tool, by its name, with named arguments: standard MCP, with progress.
    Tool {
        /// `kv.get`
        name: String,
        /// The arguments.
        arguments: Map<String, Value>,
    },
    /// Any other method, as it is: the protocol's own, and the dialect's.
    Method {
        /// `tools/list`, `mcp.kv.get`
        name: String,
        /// Its params, named or positional.
        params: Value,
    },
}

impl Request {
    /// The tool or method as people write it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Tool { name, .. } => name,
            Self::Method { name, .. } => name.strip_prefix("mcp.").unwrap_or(name),
        }
    }

    /// The message on the wire.
    pub(crate) fn to_json(&self, id: u64) -> String {
        let (method, params) = match self {
            Self::Tool { name, arguments } => {
                ("tools/call", json!({"name": name, "arguments": arguments, "_meta": {"progressToken": id}}))
            }
            Self::Method { name, params } => (name.as_str(), params.clone()),
        };
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    }

    /// What the answer means: of a tool's result the value in it, of any other method the result itself.
    ///
    /// # Errors
    /// The tool's failure.
    pub(crate) fn value_of(&self, result: Value) -> Result<Value, Failure> {
        match self {
            Self::Tool { .. } => tool_value(result),
            Self::Method { .. } => Ok(result),
        }
    }
}

/// A notification on the wire.
pub(crate) fn notification(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}

/// A message from the gateway.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    /// The answer to request `id`.
    Answer {
        /// Which request.
        id: u64,
        /// Its result, or why there is none.
        outcome: Result<Value, Failure>,
    },
    /// How a call is getting on.
    Progress {
        /// Which request: its id is the token.
        id: u64,
        /// What it says.
        progress: Progress,
    },
    /// The catalogue is no longer what it was.
    ToolsChanged,
    /// The gateway asks something; the reply is ready to be sent.
    Asked {
        /// The reply.
        reply: String,
    },
    /// Nothing that concerns a client like this one.
    Other,
}

/// How a call is getting on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Progress {
    /// How far.
    pub done: f64,
    /// Of how much, where that is known.
    pub total: Option<f64>,
    /// What is being done, or a piece of a model's text.
    pub message: String,
    /// Whether the message is a piece of a model's text.
    pub is_stream: bool,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Value,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl Received {
    /// Reads a message.
    ///
    /// # Errors
    /// The text is no JSON-RPC message; says so.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wire: Wire =
            serde_json::from_str(text).map_err(|error| format!("it sent what is no JSON-RPC message ({error})"))?;
        Ok(match (wire.method.as_deref(), wire.id.as_u64()) {
            (None, Some(id)) => Self::Answer { id, outcome: wire.error.map_or(Ok(wire.result), |e| Err(e.into())) },
            (None, None) => Self::Other,
            (Some("notifications/progress"), _) => progress(&wire.params),
            (Some("notifications/tools/list_changed"), _) => Self::ToolsChanged,
            (Some(_), _) if wire.id.is_null() => Self::Other,
            (Some("ping"), _) => {
                Self::Asked { reply: json!({"jsonrpc": "2.0", "id": wire.id, "result": {}}).to_string() }
            }
            (Some(method), _) => {
                let error = json!({"code": code::METHOD_NOT_FOUND, "message": format!("a client has no {method}")});
                Self::Asked { reply: json!({"jsonrpc": "2.0", "id": wire.id, "error": error}).to_string() }
            }
        })
    }
}

fn progress(params: &Value) -> Received {
    let Some(id) = params.get("progressToken").and_then(Value::as_u64) else { return Received::Other };
    let text = |key: &str| params.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| params.get(key).and_then(Value::as_f64).filter(|number| number.is_finite());
    let is_stream = params.get("_meta").and_then(|meta| meta.get(STREAM_KEY)) == Some(&Value::Bool(true));
    let progress = Progress {
        done: number("progress").unwrap_or(0.0),
        total: number("total"),
        message: text("message"),
        is_stream,
    };
    Received::Progress { id, progress }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let problems = error.data.get("problems").cloned().and_then(|list| serde_json::from_value(list).ok());
        Self {
            code: i32::try_from(error.code).unwrap_or(code::INTERNAL),
            message: if error.message.is_empty() { "failed without a reason".to_owned() } else { error.message },
            problems: problems.unwrap_or_default(),
        }
    }
}

/// The value in a `tools/call` result: its structured content; else its text, read as JSON where it is JSON; else
/// its content as it came.
fn tool_value(result: Value) -> Result<Value, Failure> {
    let Value::Object(mut result) = result else {
        return Ok(result);
    };
    let content = result.remove("content").unwrap_or_default();
    if result.get("isError") == Some(&Value::Bool(true)) {
        let told = result.get("_meta").and_then(|meta| meta.get(FAILURE_KEY)).cloned();
        let failure = told.and_then(|told| serde_json::from_value::<Failure>(told).ok());
        return Err(failure.unwrap_or_else(|| plain_failure(&content)));
    }
    if let Some(structured) = result.remove("structuredContent").filter(|value| !value.is_null()) {
        return Ok(structured);
    }
    Ok(match joined_text(&content) {
        Some(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        None => content,
    })
}

fn plain_failure(content: &Value) -> Failure {
    let message = joined_text(content).filter(|text| !text.trim().is_empty());
    let message = message.unwrap_or_else(|| "failed without a reason".to_owned());
    Failure { code: code::INTERNAL, message, problems: Vec::<ArgumentProblem>::new() }
}

/// The text of content that is nothing but text.
fn joined_text(content: &Value) -> Option<String> {
    let blocks = content.as_array().filter(|blocks| !blocks.is_empty())?;
    let texts: Option<Vec<&str>> = blocks.iter().map(|block| block.get("text").and_then(Value::as_str)).collect();
    texts.map(|texts| texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(result: Value) -> Result<Value, Failure> {
        Request::Tool { name: "kv.get".to_owned(), arguments: Map::new() }.value_of(result)
    }

    fn text(text: &str) -> Value {
        json!({"content": [{"type": "text", "text": text}]})
    }

    #[test]
    fn a_result_is_structured_or_json_or_text() {
        assert_eq!(value(json!({"content": [], "structuredContent": {"a": 1}})), Ok(json!({"a": 1})));
        assert_eq!(value(text("\"world\"")), Ok(json!("world")));
        assert_eq!(value(text("[1, 2]")), Ok(json!([1, 2])));
        assert_eq!(value(text("plain words")), Ok(json!("plain words")));
        let image = json!([{"type": "image", "data": "AA==", "mimeType": "image/png"}]);
        assert_eq!(value(json!({"content": image})), Ok(image));
    }

    #[test]
    fn a_failure_is_told_in_meta_or_in_words() {
        let mut result = text("key is missing");
        result["isError"] = json!(true);
        assert_eq!(value(result.clone()).expect_err("failed").message, "key is missing");
        result["_meta"] = json!({"llmbasedos/failure": {"code": -32602, "message": "m",
            "problems": [{"path": "/key", "message": "is missing"}]}});
        let failure = value(result).expect_err("failed");
        assert_eq!((failure.code, failure.problems.len()), (-32602, 1));
        assert_eq!(value(json!({"isError": true})).expect_err("failed").message, "failed without a reason");
    }

    #[test]
    fn a_dialect_answer_may_be_null() {
        let received = Received::parse(r#"{"jsonrpc":"2.0","id":3,"result":null}"#);
        assert_eq!(received, Ok(Received::Answer { id: 3, outcome: Ok(Value::Null) }));
    }

    #[test]
    fn an_error_keeps_its_code_and_problems() {
        let text =
            r#"{"id":1,"error":{"code":-32602,"message":"no","data":{"problems":[{"path":"/k","message":"m"}]}}}"#;
        let Ok(Received::Answer { outcome: Err(failure), .. }) = Received::parse(text) else { panic!("an answer") };
        assert_eq!((failure.code, failure.problems.len()), (-32602, 1));
    }

    #[test]
    fn progress_is_a_stage_or_a_piece_of_text() {
        let text = r#"{"method":"notifications/progress","params":{"progressToken":7,"progress":2,"total":4,
            "message":"write  one","_meta":{"llmbasedos/stream":true}}}"#;
        let Ok(Received::Progress { id: 7, progress }) = Received::parse(text) else { panic!("progress") };
        assert_eq!((progress.done, progress.total, progress.is_stream), (2.0, Some(4.0), true));
    }

    #[test]
    fn what_the_gateway_asks_gets_a_reply_and_what_it_tells_does_not() {
        let Ok(Received::Asked { reply }) = Received::parse(r#"{"id":"p","method":"ping"}"#) else { panic!("asked") };
        assert_eq!(reply, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
        let Ok(Received::Asked { reply }) = Received::parse(r#"{"id":1,"method":"roots/list"}"#) else {
            panic!("asked")
        };
        assert!(reply.contains("-32601"), "{reply}");
        assert_eq!(Received::parse(r#"{"method":"notifications/message"}"#), Ok(Received::Other));
        assert!(Received::parse("[1]").is_err() && Received::parse("nonsense").is_err());
    }
}
