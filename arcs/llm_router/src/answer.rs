//! The answer of one candidate: one exchange, or with a schema as many as it takes until the answer fits, within bounds.

use serde_json::Value;

use crate::backend::{Question, Reply};
use crate::candidates::Candidate;
use crate::completion::{Finish, Usage};
use crate::exchange::{Bounds, exchange};
use crate::failure::Failure;
use crate::form::Form;
use crate::request::{Message, Request, Role};
use crate::watcher::{Telling, Watcher};

/// How often an answer that does not fit is asked for again.
const REPAIRS: u32 = 2;

/// The most tokens that an answer which was cut short is given in the next round.
const MAX_TOKENS: u32 = 8192;

/// How much of an answer that does not fit is shown to the model again, in bytes.
const MAX_SHOWN: usize = 4 << 10;

/// What a candidate answered.
pub(crate) struct Answer {
    pub(crate) text: String,
    /// With a schema: the value that fits it; `text` is its JSON.
    pub(crate) value: Option<Value>,
    pub(crate) finish: Finish,
    /// What all rounds took together; `None` where one of them was not counted.
    pub(crate) usage: Option<Usage>,
}

/// What the next round asks.
struct Draft {
    messages: Vec<Message>,
    /// How many of the messages every round begins with.
    kept: usize,
    max_tokens: u32,
    seed: Option<u32>,
    /// Whether the backend is sent the schema, rather than the model told it in words.
    is_native: bool,
    repairs: u32,
}

/// Asks `candidate` until its answer fits.
pub(crate) async fn answer<W: Watcher>(
    candidate: &Candidate<'_>,
    model: &str,
    request: &Request,
    bounds: &Bounds,
    telling: &mut Telling<'_, W>,
) -> Result<Answer, Failure> {
    let mut draft = Draft::first(request);
    let mut usage = Some(Usage::default());
    loop {
        let question = Question {
            model,
            messages: &draft.messages,
            temperature: request.temperature,
            max_tokens: draft.max_tokens,
            seed: draft.seed,
            form: request.form.as_ref().filter(|_| draft.is_native),
        };
        let reply = match (exchange(candidate.backend, &question, bounds, telling).await, &request.form) {
            (Err(Failure::Refused { words }), Some(form)) if draft.is_native => {
                tracing::info!(backend = candidate.backend.name, "the schema goes into the messages: {words}");
                draft.tell(form);
                continue;
            }
            (reply, _) => reply?,
        };
        usage = usage.zip(reply.usage).map(|(sum, round)| sum.and(round));
        let Some(form) = &request.form else {
            return Ok(Answer { text: reply.text, value: None, finish: reply.finish, usage });
        };
        match form.fit(&reply.text) {
            Ok(value) => {
                return Ok(Answer { text: value.to_string(), value: Some(value), finish: reply.finish, usage });
            }
            Err(problems) if draft.repairs == REPAIRS => return Err(Failure::Misfit(problems)),
            Err(problems) => draft.repair(request, &reply, &problems),
        }
    }
}

impl Draft {
    fn first(request: &Request) -> Self {
        Self {
            messages: request.messages.clone(),
            kept: request.messages.len(),
            max_tokens: request.max_tokens,
            seed: request.seed,
            is_native: true,
            repairs: 0,
        }
    }

    /// Puts the schema into the rules of the conversation.
    fn tell(&mut self, form: &Form) {
        self.is_native = false;
        self.messages.truncate(self.kept);
        match self.messages.first_mut().filter(|message| message.role == Role::System) {
            Some(rules) => rules.content = format!("{}\n\n{}", rules.content, form.instruction()),
            None => self.messages.insert(0, Message { role: Role::System, content: form.instruction() }),
        }
        self.kept = self.messages.len();
    }

    /// Asks again: for more where the answer was cut short, else with what did not fit; and with another seed.
    fn repair(&mut self, request: &Request, reply: &Reply, problems: &[String]) {
        self.repairs += 1;
        // Seeds are bounded by 2^31 - 1 (Gemini's type).
        self.seed = Some(request.seed.unwrap_or(0).wrapping_add(self.repairs) & 0x7fff_ffff);
        let may_grow = self.max_tokens < MAX_TOKENS;
        if reply.finish == Finish::Length && may_grow {
            self.max_tokens = self.max_tokens.saturating_mul(2).min(MAX_TOKENS);
            return;
        }
        // Only the last try is shown: a small model's context is small.
        self.messages.truncate(self.kept);
        let shown = reply.text.get(..reply.text.floor_char_boundary(MAX_SHOWN)).unwrap_or_default();
        self.messages.push(Message { role: Role::Assistant, content: shown.to_owned() });
        let content = format!("That does not fit: {}. Answer again with JSON alone that fits.", problems.join("; "));
        self.messages.push(Message { role: Role::User, content });
    }
}
