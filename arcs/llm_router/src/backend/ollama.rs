//! Ollama's own protocol: `POST /api/chat`, answered by a JSON object a line; the last has `done: true`.
//!
//! `truncate: false` is always sent: without it Ollama silently drops what does not fit the context and answers 200.

use serde_json::{Map, Value, json};

use super::{Piece, Question, error_body, parsed};
use crate::completion::{Finish, Usage};
use crate::failure::Failure;

const WHOSE: &str = "Ollama";

/// The path and the body of a question.
pub(super) fn request(question: &Question<'_>) -> (String, Value) {
    let mut options = Map::from_iter([("num_predict".to_owned(), json!(question.max_tokens))]);
    options.extend(question.temperature.map(|temperature| ("temperature".to_owned(), json!(temperature))));
    options.extend(question.seed.map(|seed| ("seed".to_owned(), json!(seed))));
    let mut body = json!({
        "model": question.model,
        "messages": question.messages,
        "stream": true,
        "truncate": false,
        "options": options,
    });
    if let (Some(form), Some(body)) = (question.form, body.as_object_mut()) {
        body.insert("format".to_owned(), form.for_grammar());
    }
    ("/api/chat".to_owned(), body)
}

/// Whether an entry of `/api/tags` is a model of Ollama's cloud, which a local server passes questions on to: it says
/// where that is, and its tag ends with `cloud`.
pub(super) fn is_elsewhere(name: &str, entry: &Value) -> bool {
    let says_where = entry.get("remote_host").and_then(Value::as_str).is_some_and(|host| !host.is_empty());
    says_where || name.ends_with("-cloud") || name.ends_with(":cloud")
}

/// Reads a line of the answer.
pub(super) fn read(line: &str) -> Result<Piece, Failure> {
    if line.is_empty() {
        return Ok(Piece::default());
    }
    let value = parsed(line, WHOSE)?;
    if let Some(failure) = error_body::in_stream(&value) {
        return Err(failure);
    }
    let is_last = value.get("done").and_then(Value::as_bool).ok_or(Failure::Rubbish(WHOSE))?;
    let finish = match value.get("done_reason").and_then(Value::as_str) {
        _ if !is_last => None,
        Some("length") => Some(Finish::Length),
        _ => Some(Finish::Stop),
    };
    let count = |key: &str| value.get(key).and_then(Value::as_u64);
    let usage = count("eval_count").map(|answer| Usage::of(count("prompt_eval_count").unwrap_or(0), answer));
    let text = value.pointer("/message/content").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Piece { text, finish, usage, is_last })
}
