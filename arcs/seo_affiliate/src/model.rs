//! Asking the model: one question after another, each until its answer can be used.

use kit::{Call, Error, Result, code};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gate::Fault;

/// How often a question is asked before the whole call fails.
pub(crate) const TRIES: u32 = 3;

/// The way to a language model, and to whoever watches. The one that ships goes through the gateway; tests read from
/// a script.
pub(crate) trait Model: Send + Sync {
    /// Asks `llm.chat`.
    fn chat(&self, request: &Request<'_>) -> impl Future<Output = Result<Completion>> + Send;

    /// Tells how far the work is.
    fn progress(&self, message: String, part: Option<(u32, u32)>) -> impl Future<Output = ()> + Send;
}

/// The arguments of `llm.chat`.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'q> {
    pub(crate) messages: &'q [Message],
    pub(crate) options: Options<'q>,
}

/// The options of `llm.chat` that are used here.
#[derive(Debug, Serialize)]
pub(crate) struct Options<'q> {
    purpose: &'static str,
    temperature: f64,
    max_tokens: u32,
    seed: u32,
    pub(crate) schema: &'q Value,
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: String,
}

/// A question with the form of its answer.
pub(crate) struct Question {
    /// What is asked for, in an error: `the section "Keys"`.
    pub(crate) wanted: String,
    pub(crate) messages: Vec<Message>,
    /// The JSON schema of the answer.
    pub(crate) schema: Value,
    pub(crate) max_tokens: u32,
}

/// The answer of `llm.chat`, as far as it is used here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Completion {
    pub(crate) model: String,
    pub(crate) choices: Vec<Choice>,
    /// Not every backend counts.
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
}

/// One answer of the model.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Choice {
    pub(crate) message: Answer,
}

/// The message of an answer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Answer {
    /// The value that was checked against the schema.
    #[serde(default)]
    pub(crate) parsed: Value,
}

/// How many tokens were read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Usage {
    /// Tokens of the questions.
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    /// Tokens of the answers.
    #[serde(default)]
    pub(crate) completion_tokens: u64,
}

/// The model that ships: `llm.chat`, in the run of the call.
impl Model for Call {
    async fn chat(&self, request: &Request<'_>) -> Result<Completion> {
        self.tool("llm.chat", request).await
    }

    async fn progress(&self, message: String, part: Option<(u32, u32)>) {
        Call::progress(self, message, part).await;
    }
}

/// Asks, and keeps count.
pub(crate) struct Author<'m, M> {
    model: &'m M,
    seed: u32,
    /// Who wrote: the model of the last answer.
    pub(crate) name: String,
    /// What all answers cost.
    pub(crate) usage: Usage,
}

impl<'m, M: Model> Author<'m, M> {
    /// An author whose answers differ from those of another `seed`.
    pub(crate) fn new(model: &'m M, seed: u32) -> Self {
        Self { model, seed, name: String::new(), usage: Usage::default() }
    }

    /// Tells how far the work is.
    pub(crate) async fn progress(&self, message: String, part: Option<(u32, u32)>) {
        self.model.progress(message, part).await;
    }

    /// The first answer that `accept` takes.
    ///
    /// # Errors
    /// None of [`TRIES`] answers could be used, or the model cannot be asked at all.
    pub(crate) async fn ask<A, T>(
        &mut self,
        question: &Question,
        accept: impl FnMut(A) -> std::result::Result<T, Fault> + Send,
    ) -> Result<T>
    where
        A: DeserializeOwned + Send,
        T: Send,
    {
        let mut taken = self.candidates(question, 1, accept).await?;
        taken.pop().ok_or_else(|| self.refused(question, "nothing was answered"))
    }

    /// Up to `wanted` answers that `accept` takes; at least one.
    ///
    /// # Errors
    /// As [`Author::ask`].
    pub(crate) async fn candidates<A, T>(
        &mut self,
        question: &Question,
        wanted: u32,
        mut accept: impl FnMut(A) -> std::result::Result<T, Fault> + Send,
    ) -> Result<Vec<T>>
    where
        A: DeserializeOwned + Send,
        T: Send,
    {
        let mut taken = Vec::new();
        let mut last = None;
        for attempt in 0..wanted.max(TRIES) {
            // More candidates are worth no more than `wanted` questions, a first one is worth all tries.
            if attempt >= wanted && !taken.is_empty() {
                break;
            }
            match self.answer(question, attempt).await {
                Ok(answer) => match accept(answer) {
                    Ok(value) => taken.push(value),
                    Err(fault) => {
                        tracing::debug!(wanted = question.wanted, attempt, %fault, "an answer cannot be used");
                        last = Some(self.refused(question, &format!("the last one {fault}")));
                    }
                },
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if taken.is_empty() => Err(error),
            _ => Ok(taken),
        }
    }

    async fn answer<A: DeserializeOwned>(&mut self, question: &Question, attempt: u32) -> Result<A> {
        self.seed = self.seed.wrapping_add(1);
        let options = Options {
            purpose: "copy",
            temperature: (0.6 + 0.15 * f64::from(attempt)).min(1.0),
            max_tokens: question.max_tokens,
            // Backends read the seed as a signed 32-bit number.
            seed: self.seed >> 1,
            schema: &question.schema,
        };
        let completion = self.model.chat(&Request { messages: &question.messages, options }).await?;
        let usage = completion.usage.unwrap_or_default();
        self.usage.prompt_tokens += usage.prompt_tokens;
        self.usage.completion_tokens += usage.completion_tokens;
        self.name = completion.model;
        let parsed = completion.choices.into_iter().next().map(|choice| choice.message.parsed).unwrap_or_default();
        serde_json::from_value(parsed).map_err(|error| {
            Error::new("llm.chat answered something that does not fit the schema it was given").caused_by(error)
        })
    }

    fn refused(&self, question: &Question, why: &str) -> Error {
        let Question { wanted, .. } = question;
        let model = &self.name;
        Error::new(format!(
            "the model {model} wrote no usable {wanted} in {TRIES} tries: {why}. Nothing was changed. Try again, or name \
             a better model for the purpose \"copy\" in [arcs.llm_router.purposes]"
        ))
        .with_code(code::MODEL)
    }
}

/// Whether asking again is in vain: the call itself is wrong, not allowed or not paid for.
fn is_final(error: &Error) -> bool {
    !matches!(error.code(), code::MODEL | code::INTERNAL)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_nobody_counted_is_one_too() {
        for usage in [json!(null), json!({"completion_tokens": 1})] {
            let answer = json!({"model": "m", "choices": [], "usage": usage});
            assert!(serde_json::from_value::<Completion>(answer).is_ok());
        }
    }
}
