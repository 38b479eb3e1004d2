//! OpenAI's protocol, as llama.cpp's server, vLLM, OpenAI and others speak it: `POST /v1/chat/completions`, answered by
//! server-sent events; the last is `[DONE]`.

use reqwest::Url;
use serde_json::{Value, json};

use super::{Piece, Question, error_body, event, parsed};
use crate::completion::{Finish, Usage};
use crate::failure::Failure;

const WHOSE: &str = "a server of OpenAI's protocol";

/// The one server that refuses `max_tokens` for its newer models, under the name that the others do not all know.
const OPENAI: &str = "api.openai.com";

/// The path and the body of a question to the server at `url`.
pub(super) fn request(question: &Question<'_>, url: &Url) -> (String, Value) {
    let mut body = json!({
        "model": question.model,
        "messages": question.messages,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let max_tokens = if url.host_str() == Some(OPENAI) { "max_completion_tokens" } else { "max_tokens" };
    if let Some(body) = body.as_object_mut() {
        body.insert(max_tokens.to_owned(), json!(question.max_tokens));
        body.extend(question.temperature.map(|temperature| ("temperature".to_owned(), json!(temperature))));
        body.extend(question.seed.map(|seed| ("seed".to_owned(), json!(seed))));
        // Not `strict`: OpenAI would then refuse every schema that has an optional property.
        body.extend(question.form.map(|form| {
            let schema = json!({"name": "answer", "schema": form.for_grammar()});
            ("response_format".to_owned(), json!({"type": "json_schema", "json_schema": schema}))
        }));
    }
    ("/v1/chat/completions".to_owned(), body)
}

/// Reads a line of the answer.
pub(super) fn read(line: &str) -> Result<Piece, Failure> {
    let Some(payload) = event(line, WHOSE)? else { return Ok(Piece::default()) };
    if payload == "[DONE]" {
        return Ok(Piece { is_last: true, ..Piece::default() });
    }
    let value = parsed(payload, WHOSE)?;
    if let Some(failure) = error_body::in_stream(&value) {
        return Err(failure);
    }
    // The field named `error` of older llama.cpp servers holds the error itself.
    if !value.is_object() || line.starts_with("error") {
        return Err(Failure::Broke { words: crate::failure::in_words(payload) });
    }
    let finish = match value.pointer("/choices/0/finish_reason").and_then(Value::as_str) {
        Some("length") => Some(Finish::Length),
        Some("content_filter") => return Err(Failure::Declined("its content filter".to_owned())),
        Some(_) => Some(Finish::Stop),
        None => None,
    };
    let usage = value.get("usage").and_then(|usage| serde_json::from_value::<Usage>(usage.clone()).ok());
    let text = value.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Piece { text, finish, usage, is_last: false })
}
