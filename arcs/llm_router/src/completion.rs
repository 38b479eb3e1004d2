//! What the tools answer: OpenAI's chat completion, and the state of each model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::Role;

/// An OpenAI chat completion, with the backend beside the model.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Completion {
    /// Its name: opaque.
    pub id: String,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// The backend that it answered through.
    pub backend: String,
    /// The answer: one choice.
    pub choices: Vec<Choice>,
    /// What it took; null where the backend does not say.
    pub usage: Option<Usage>,
}

/// One answer of a completion.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// The answer.
    pub message: Said,
    /// Why it ends.
    pub finish_reason: Finish,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Said {
    /// Always `assistant`.
    pub role: Role,
    /// The text; with a schema, JSON that fits it.
    pub content: String,
    /// With a schema: the value of that JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parsed: Option<Value>,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model was done.
    Stop,
    /// `max_tokens`, or the end of the model's context.
    Length,
}

/// What an answer took, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Of the messages.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Of both.
    #[serde(default)]
    pub total_tokens: u64,
}

impl Usage {
    /// Of so many tokens.
    pub(crate) fn of(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens.saturating_add(completion_tokens) }
    }

    /// This and `other`: what rounds of the same question took together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self::of(
            self.prompt_tokens.saturating_add(other.prompt_tokens),
            self.completion_tokens.saturating_add(other.completion_tokens),
        )
    }
}

/// How the model of a backend is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelState {
    /// The backend's name in the settings.
    pub backend: String,
    /// `ollama`, `openai` or `gemini`.
    pub kind: &'static str,
    /// The model; null where the settings name none and the backend does not answer.
    pub model: Option<String>,
    /// Whether it would answer now.
    pub ready: bool,
    /// All that the backend has, as far as it says: at most a hundred.
    pub models: Vec<String>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
