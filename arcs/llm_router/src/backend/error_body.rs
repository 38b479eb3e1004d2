//! What backends say when they fail.
//!
//! | who | body |
//! | --- | --- |
//! | Ollama | `{"error": "words"}` |
//! | Ollama, of its runner | `{"error": "{\"error\": {\"code\", \"message\", \"type\"}}"}`: JSON within JSON |
//! | llama.cpp, OpenAI | `{"error": {"message", "type", "code"}}` |
//! | Gemini | `{"error": {"code", "message", "status"}}`, or an array of one |

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::failure::{Failure, in_words};

/// How deep errors are unpacked from errors.
const MAX_DEPTH: u32 = 4;

/// What is known of an error.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    words: String,
    /// `type`, `code` and `status`, where they are words.
    kinds: Vec<String>,
}

/// The failure that an answer with such a status means.
pub(super) fn failure(status: u16, headers: &HeaderMap, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body);
    let told = match serde_json::from_str(&text) {
        Ok(value) => told(&value, MAX_DEPTH),
        Err(_) => Told::default(),
    };
    let words = if told.words.is_empty() { "no reason given".to_owned() } else { told.words.clone() };
    if told.is_overflow() {
        return Failure::Overflow { words };
    }
    match status {
        503 if words.contains("Loading model") => Failure::Loading,
        429 | 503 => Failure::Busy { words, retry_after: retry_after(headers) },
        401 | 403 => Failure::Denied { words },
        404 => Failure::NoModel { words },
        400..=499 => Failure::Refused { words },
        500..=599 => Failure::Server { status, words },
        300..=399 => Failure::Unusable(format!("it redirects elsewhere (status {status}): correct its url")),
        _ => Failure::Rubbish("a model server"),
    }
}

/// The failure that a value within a stream means; `None` where it is no error.
pub(super) fn in_stream(value: &Value) -> Option<Failure> {
    value.get("error").filter(|error| !error.is_null())?;
    let told = told(value, MAX_DEPTH);
    Some(if told.is_overflow() {
        Failure::Overflow { words: told.words }
    } else {
        Failure::Broke { words: told.words }
    })
}

impl Told {
    fn is_overflow(&self) -> bool {
        self.kinds.iter().any(|kind| kind == "exceed_context_size_error" || kind == "context_length_exceeded")
    }
}

fn told(value: &Value, depth: u32) -> Told {
    let within = match value {
        Value::Array(items) => items.first(),
        _ => value.get("error"),
    };
    match (within, value) {
        (Some(within), _) if depth > 0 => told(within, depth - 1),
        (None, Value::String(text)) => match serde_json::from_str::<Value>(text) {
            Ok(packed @ Value::Object(_)) if depth > 0 => told(&packed, depth - 1),
            _ => Told { words: in_words(text), kinds: Vec::new() },
        },
        _ => {
            let word = |key: &str| value.get(key).and_then(Value::as_str);
            let kinds = ["type", "code", "status"].into_iter().filter_map(word).map(str::to_owned).collect();
            Told { words: in_words(word("message").unwrap_or("no reason given")), kinds }
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> String {
        failure(status, &HeaderMap::new(), body.as_bytes()).to_string()
    }

    #[test]
    fn each_servers_errors_are_understood() {
        let cases = [
            (404, r#"{"error":"model 'nope' not found"}"#, "it does not have that model (model 'nope' not found)"),
            (
                400,
                r#"{"error":"{\"error\":{\"code\":400,\"message\":\"request (6010 tokens) exceeds the available context size (4096 tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":6010,\"n_ctx\":4096}}"}"#,
                "the messages do not fit the model's context (request (6010 tokens) exceeds the available context size (4096 tokens), try increasing it)",
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                "the model is still being loaded",
            ),
            (503, r#"{"error":"server busy, please try again"}"#, "it is busy (server busy, please try again)"),
            (
                401,
                r#"{"error":{"message":"no such key","code":"invalid_api_key"}}"#,
                "it refuses the key (no such key)",
            ),
            (429, r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]"#, "it is busy (quota)"),
            (
                400,
                r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
                "the messages do not fit the model's context (too long)",
            ),
            (500, "<html>\u{1b}[2J", "it failed (status 500: no reason given)"),
            (302, "", "it redirects elsewhere (status 302): correct its url"),
        ];
        for (status, body, expected) in cases {
            assert_eq!(said(status, body), expected);
        }
    }

    #[test]
    fn errors_within_errors_have_an_end() {
        let deep = (0..100).fold("\"x\"".to_owned(), |inner, _| format!("{{\"error\":{inner}}}"));
        assert_eq!(said(500, &deep), "it failed (status 500: no reason given)");
    }
}
