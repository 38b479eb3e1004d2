//! From a request to an answer: one candidate after another, until one can.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use kit::{Error, Label, Result, code};
use tokio::time::Instant;

use crate::answer::{Answer, answer};
use crate::backend::Backend;
use crate::candidates::{Candidate, candidates, is_model};
use crate::completion::{Choice, Completion, ModelState, Said};
use crate::exchange::Bounds;
use crate::failure::Failure;
use crate::request::{Chat, Purpose, Request, Role};
use crate::settings::{Kind, Settings};
use crate::watcher::{Telling, Watcher};

/// How long backends are waited for, beside the time-out that the settings give each request.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the first word of a backend elsewhere. One on this machine may take its whole time-out: it reads a long
    /// prompt at tens of tokens a second.
    pub first_word: Duration,
    /// For each further word.
    pub stall: Duration,
    /// For a list of models.
    pub list: Duration,
    /// Before the second try; doubled for each further one, three times.
    pub pause: Duration,
    /// However long a backend asks to be left alone (`Retry-After`).
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_word: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            list: Duration::from_secs(3),
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
        }
    }
}

impl Patience {
    pub(crate) fn first_token(&self, is_local: bool) -> Duration {
        /// The time-out of the request ends it.
        const UNBOUNDED: Duration = Duration::from_hours(24);
        if is_local { UNBOUNDED } else { self.first_word }
    }
}

/// All backends, and which of them serve which purpose.
pub struct Router {
    pub(crate) backends: Vec<Backend>,
    pub(crate) patience: Patience,
    purposes: BTreeMap<Purpose, Vec<String>>,
    answers: AtomicU64,
}

impl Router {
    /// A router for checked settings. `locate` finds a path of the settings on this machine.
    pub fn new(settings: Settings, locate: impl Fn(&str) -> PathBuf, patience: Patience) -> Self {
        let open = |(name, settings)| Backend::new(name, settings, &locate, patience);
        Self {
            backends: settings.backends.into_iter().map(open).collect(),
            patience,
            purposes: settings.purposes,
            answers: AtomicU64::new(0),
        }
    }

    /// Answers a chat for a run with such labels, telling `watcher` as the answer grows. Dropping the future stops the
    /// generation.
    ///
    /// # Errors
    /// `INVALID_PARAMS` for what is wrong with the arguments; else `MODEL`, with why each candidate did not answer.
    pub async fn chat(&self, chat: Chat, labels: &BTreeSet<Label>, watcher: &impl Watcher) -> Result<Completion> {
        let request = Request::check(chat)?;
        let deadline = Instant::now() + request.timeout;
        let all = candidates(self, &request).await?;
        let is_private = labels.contains(&Label::Private);
        let (open, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|candidate| !is_private || candidate.backend.settings.is_local());
        let mut failures = Vec::new();
        let mut telling = Telling::new(watcher, request.form.is_none());
        for (index, candidate) in open.iter().enumerate() {
            let bounds = Bounds { patience: self.patience, deadline, is_last: index + 1 == open.len() };
            match self.answered(candidate, &request, is_private, &bounds, &mut telling).await {
                Ok(completion) => return Ok(completion),
                Err(failure) => {
                    tracing::warn!(purpose = request.purpose.word(), "{candidate}: {failure}");
                    failures.push((candidate, failure));
                }
            }
        }
        failures.extend(kept.iter().map(|candidate| (candidate, Failure::Private)));
        Err(no_answer(&request, &failures))
    }

    /// Every backend with its model, asked just now.
    pub async fn models(&self) -> Vec<ModelState> {
        join_all(self.backends.iter().map(|backend| self.state(backend))).await
    }

    /// The backends of a purpose, in order of preference.
    pub(crate) fn backends_for(&self, purpose: Purpose) -> Vec<&Backend> {
        let names = self.purposes.get(&purpose).map(Vec::as_slice).unwrap_or_default();
        names.iter().filter_map(|name| self.backends.iter().find(|backend| &backend.name == name)).collect()
    }

    async fn answered<W: Watcher>(
        &self,
        candidate: &Candidate<'_>,
        request: &Request,
        is_private: bool,
        bounds: &Bounds,
        telling: &mut Telling<'_, W>,
    ) -> std::result::Result<Completion, Failure> {
        let started = Instant::now();
        let model = candidate.model(self, is_private).await?;
        let answer = answer(candidate, &model, request, bounds, telling).await?;
        let tokens = answer.usage.unwrap_or_default();
        tracing::info!(
            backend = candidate.backend.name,
            model,
            purpose = request.purpose.word(),
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            prompt_tokens = tokens.prompt_tokens,
            completion_tokens = tokens.completion_tokens,
            "answered"
        );
        Ok(self.completion(candidate, model, answer))
    }

    fn completion(&self, candidate: &Candidate<'_>, model: String, answer: Answer) -> Completion {
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let message = Said { role: Role::Assistant, content: answer.text, parsed: answer.value };
        Completion {
            id: format!("chatcmpl-{created:x}-{number:x}"),
            object: "chat.completion",
            created,
            model,
            backend: candidate.backend.name.clone(),
            choices: vec![Choice { index: 0, message, finish_reason: answer.finish }],
            usage: answer.usage,
        }
    }

    async fn state(&self, backend: &Backend) -> ModelState {
        let named = backend.settings.model.clone();
        let listed = backend.models(self.patience.list).await;
        /// Cloud providers list hundreds.
        const MOST: usize = 100;
        let models = listed.iter().flatten().map(|listed| listed.name.clone()).take(MOST).collect();
        let (model, error) = match (named, listed) {
            (named, Err(failure)) => (named, Some(failure.to_string())),
            // llama.cpp's server lists its one model by its file's path, and takes every name for it.
            (Some(named), Ok(_)) if backend.settings.kind == Kind::OpenAi => (Some(named), None),
            (Some(named), Ok(all)) => {
                let is_there = all.iter().any(|listed| is_model(&listed.name, &named));
                let error = (!is_there).then(|| format!("the backend does not have {named}"));
                (Some(named), error)
            }
            (None, Ok(all)) => match all.into_iter().min_by_key(|listed| listed.is_elsewhere) {
                Some(first) => (Some(first.name), None),
                None => (None, Some(no_model(backend.settings.kind).to_owned())),
            },
        };
        ModelState {
            backend: backend.name.clone(),
            kind: backend.settings.kind.word(),
            model,
            ready: error.is_none(),
            models,
            error,
        }
    }
}

/// A backend without any, and what to do.
fn no_model(kind: Kind) -> &'static str {
    match kind {
        Kind::Ollama => "the backend has no model: `luca-run llm.pull qwen2.5:1.5b` fetches one",
        Kind::OpenAi | Kind::Gemini => "the backend has no model",
    }
}

/// The one error for all candidates: what failed, why each of them, what to do.
fn no_answer(request: &Request, failures: &[(&Candidate<'_>, Failure)]) -> Error {
    let mut message = format!("no model could answer for purpose {}: ", request.purpose.word());
    let reasons: Vec<String> = failures.iter().map(|(candidate, failure)| format!("{candidate}: {failure}")).collect();
    message.push_str(&reasons.join("; "));
    let mut advice: Vec<&str> = failures.iter().map(|(_, failure)| failure.advice()).collect();
    advice.sort_unstable();
    advice.dedup();
    for line in advice {
        let _ = write!(message, ". {line}");
    }
    Error::new(message).with_code(code::MODEL)
}
