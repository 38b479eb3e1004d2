//! What is asked: the arguments of `llm.chat`, and the same once they are checked.

use std::time::Duration;

use kit::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::form::Form;

/// The text of all messages together, in bytes: more than any model's context, less than what would hurt.
const MAX_TEXT: usize = 1 << 20;

/// The bound on an answer unless the caller states one: a page of text.
const MAX_TOKENS: u32 = 1024;

/// How long a call may take unless the caller states it: a little less than the tool's 10 minutes in `arc.toml`, so that
/// our words about what failed come before the gateway's.
const CALL_TIMEOUT: Duration = Duration::from_secs(580);

/// The arguments of `llm.chat`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Chat {
    /// The conversation so far, oldest first.
    #[schemars(length(min = 1, max = 512))]
    messages: Vec<Message>,
    /// How it is to be answered.
    #[serde(default)]
    options: Option<Options>,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) content: String,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The rules of the conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// How a conversation is to be answered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What the answer is for; decides which model is asked. `chat` unless stated.
    #[serde(default)]
    purpose: Option<Purpose>,
    /// A model that one of the backends has, in place of the purpose's.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    model: Option<String>,
    /// 0: always the likeliest word; 2: wild.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 2.0))]
    temperature: Option<f64>,
    /// The most tokens that the answer may have; 1024 unless stated.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32_768))]
    max_tokens: Option<u32>,
    /// The same seed, model and messages give the same answer, where the backend can.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    seed: Option<u32>,
    /// A JSON schema that the answer must fit.
    #[serde(default)]
    schema: Option<Map<String, Value>>,
    /// How long the call may take, in milliseconds.
    #[serde(default)]
    #[schemars(range(min = 1, max = 600_000))]
    timeout_ms: Option<u32>,
    /// Older clients say it. Text is streamed to whoever watches the call's progress, whatever stands here.
    #[serde(default, rename = "stream")]
    _stream: Option<bool>,
}

/// What an answer is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Talk with a person.
    #[default]
    Chat,
    /// Texts that are published.
    Copy,
    /// Putting things in order.
    Rank,
    /// Choosing what to do.
    Plan,
}

impl Purpose {
    /// Every purpose.
    pub(crate) const ALL: [Self; 4] = [Self::Chat, Self::Copy, Self::Rank, Self::Plan];

    /// Its word in arguments and settings.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Copy => "copy",
            Self::Rank => "rank",
            Self::Plan => "plan",
        }
    }
}

/// A question that was checked.
pub(crate) struct Request {
    pub(crate) purpose: Purpose,
    pub(crate) messages: Vec<Message>,
    pub(crate) model: Option<String>,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: u32,
    pub(crate) seed: Option<u32>,
    pub(crate) form: Option<Form>,
    pub(crate) timeout: Duration,
}

impl Request {
    /// Checks what the arguments' schema cannot: the size of all messages together, and the caller's own schema.
    pub(crate) fn check(chat: Chat) -> Result<Self> {
        let total: usize = chat.messages.iter().map(|message| message.content.len()).sum();
        if total > MAX_TEXT {
            let message = format!("the messages have {total} bytes of text together; at most {MAX_TEXT} are taken");
            return Err(Error::invalid("/messages", message));
        }
        if chat.messages.iter().all(|message| message.content.trim().is_empty()) {
            return Err(Error::invalid("/messages", "no message says anything: at least one needs a content"));
        }
        let options = chat.options.unwrap_or_default();
        Ok(Self {
            purpose: options.purpose.unwrap_or_default(),
            messages: chat.messages,
            model: options.model,
            temperature: options.temperature,
            max_tokens: options.max_tokens.unwrap_or(MAX_TOKENS),
            seed: options.seed,
            form: options.schema.map(Form::compile).transpose()?,
            timeout: options.timeout_ms.map_or(CALL_TIMEOUT, |ms| Duration::from_millis(ms.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(arguments: Value) -> Result<Request> {
        Request::check(serde_json::from_value(arguments).expect("fits the schema"))
    }

    #[test]
    fn what_is_not_said_is_a_bounded_choice() {
        let request = check(json!({"messages": [{"role": "user", "content": "Hi"}]})).expect("sound");
        assert_eq!((request.purpose, request.max_tokens, request.timeout), (Purpose::Chat, 1024, CALL_TIMEOUT));
    }

    #[test]
    fn the_messages_are_bounded_together() {
        let half = "x".repeat(MAX_TEXT / 2 + 1);
        let messages = json!([{"role": "user", "content": half}, {"role": "user", "content": half}]);
        let error = check(json!({ "messages": messages })).err().expect("too much");
        assert!(error.message().contains("at most 1048576 are taken (at /messages)"), "{error}");
    }

    #[test]
    fn silence_is_no_question() {
        let error = check(json!({"messages": [{"role": "user", "content": " \n"}]})).err().expect("nothing said");
        assert!(error.message().contains("no message says anything"), "{error}");
    }

    #[test]
    fn what_older_clients_say_of_streaming_is_taken() {
        let arguments =
            json!({"messages": [{"role": "user", "content": "Hi"}], "options": {"stream": false, "temperature": 0}});
        assert!(check(arguments).is_ok());
    }
}
