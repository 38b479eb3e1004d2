//! Google's Gemini: `POST /v1beta/models/MODEL:streamGenerateContent?alt=sse`, answered by server-sent events; there is no
//! end mark, the last one has a `finishReason`.

use serde_json::{Map, Value, json};

use super::{Piece, Question, error_body, event, parsed};
use crate::completion::{Finish, Usage};
use crate::failure::{Failure, in_words};
use crate::request::{Message, Role};

const WHOSE: &str = "Gemini";

/// The path and the body of a question.
pub(super) fn request(question: &Question<'_>) -> (String, Value) {
    let mut config = Map::from_iter([("maxOutputTokens".to_owned(), json!(question.max_tokens))]);
    config.extend(question.temperature.map(|temperature| ("temperature".to_owned(), json!(temperature))));
    config.extend(question.seed.map(|seed| ("seed".to_owned(), json!(seed))));
    if let Some(form) = question.form {
        config.insert("responseMimeType".to_owned(), json!("application/json"));
        config.insert("responseJsonSchema".to_owned(), form.for_gemini());
    }
    let (rules, said): (Vec<&Message>, Vec<&Message>) =
        question.messages.iter().partition(|message| message.role == Role::System);
    // Gemini wants at least one message that is not a rule.
    let (rules, said) = if said.is_empty() { (said, rules) } else { (rules, said) };
    let mut body = json!({"contents": said.into_iter().map(content).collect::<Value>(), "generationConfig": config});
    if let (false, Some(body)) = (rules.is_empty(), body.as_object_mut()) {
        let parts: Value = rules.into_iter().map(|rule| json!({"text": rule.content})).collect();
        body.insert("systemInstruction".to_owned(), json!({"parts": parts}));
    }
    (format!("/v1beta/models/{}:streamGenerateContent?alt=sse", question.model), body)
}

fn content(message: &Message) -> Value {
    let role = if message.role == Role::Assistant { "model" } else { "user" };
    json!({"role": role, "parts": [{"text": message.content}]})
}

/// Reads a line of the answer.
pub(super) fn read(line: &str) -> Result<Piece, Failure> {
    let Some(payload) = event(line, WHOSE)? else { return Ok(Piece::default()) };
    let value = parsed(payload, WHOSE)?;
    if let Some(failure) = error_body::in_stream(&value) {
        return Err(failure);
    }
    if let Some(reason) = value.pointer("/promptFeedback/blockReason").and_then(Value::as_str) {
        return Err(Failure::Declined(in_words(reason)));
    }
    let finish = match value.pointer("/candidates/0/finishReason").and_then(Value::as_str) {
        None => None,
        Some("STOP") => Some(Finish::Stop),
        Some("MAX_TOKENS") => Some(Finish::Length),
        Some(reason) => return Err(Failure::Declined(in_words(reason))),
    };
    Ok(Piece { text: text(&value), finish, usage: usage(&value), is_last: false })
}

/// The text of the candidate, without what the model only thinks.
fn text(value: &Value) -> String {
    let parts = value.pointer("/candidates/0/content/parts").and_then(Value::as_array);
    let is_said = |part: &&Value| part.get("thought").and_then(Value::as_bool) != Some(true);
    parts.into_iter().flatten().filter(is_said).filter_map(|part| part.get("text")?.as_str()).collect()
}

fn usage(value: &Value) -> Option<Usage> {
    let count = |key: &str| value.get("usageMetadata")?.get(key)?.as_u64();
    let answer = count("candidatesTokenCount").unwrap_or(0).saturating_add(count("thoughtsTokenCount").unwrap_or(0));
    Some(Usage::of(count("promptTokenCount")?, answer))
}
