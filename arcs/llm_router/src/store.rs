//! Which models there are: fetched into the Ollama of this machine, and removed from it.

use std::collections::BTreeMap;

use kit::{Error, Result, code};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use crate::backend::{Backend, Step};
use crate::failure::Failure;
use crate::router::Router;
use crate::settings::Kind;
use crate::watcher::Watcher;

/// How often is told how far it is.
const PERIOD: Duration = Duration::from_secs(1);
/// The longest name of a model, in bytes.
const LONGEST_NAME: usize = 200;

/// A model in a backend's store.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Stored {
    /// Its name in the registry of Ollama, such as `qwen2.5:1.5b`.
    #[schemars(length(min = 1, max = 200))]
    model: String,
    /// The backend of the settings; the first Ollama among them unless stated.
    #[serde(default)]
    backend: Option<String>,
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kept {
    /// The backend.
    pub backend: String,
    /// The model.
    pub model: String,
    /// Whether the backend has it now.
    pub is_there: bool,
}

impl Router {
    /// Fetches a model, telling `watcher` how far it is. What is there of it stays if it breaks off: the next try goes on.
    ///
    /// # Errors
    /// `INVALID_PARAMS` for what is wrong with the arguments; else `MODEL`, with why it could not be fetched.
    pub async fn pull(&self, stored: Stored, watcher: &impl Watcher) -> Result<Kept> {
        let (backend, model) = self.place(stored)?;
        let failed = |failure: Failure| not_fetched(&model, &failure);
        let mut pull = backend.pull(&model).await.map_err(failed)?;
        let mut progress = Progress::default();
        while let Some(step) = pull.next().await.map_err(failed)? {
            if let Some(message) = progress.grown(&step) {
                watcher.stage(message).await;
            }
        }
        Ok(Kept { backend: backend.name.clone(), model, is_there: true })
    }

    /// Removes a model.
    ///
    /// # Errors
    /// `INVALID_PARAMS` for what is wrong with the arguments; else `MODEL`, with why it is still there.
    pub async fn remove(&self, stored: Stored) -> Result<Kept> {
        let (backend, model) = self.place(stored)?;
        let removed = backend.remove(&model).await;
        removed.map_err(|failure| {
            Error::new(format!(
                "{model} could not be removed: {failure}. `luca-run llm.models` lists those that are there"
            ))
            .with_code(code::MODEL)
        })?;
        Ok(Kept { backend: backend.name.clone(), model, is_there: false })
    }

    fn place(&self, stored: Stored) -> Result<(&Backend, String)> {
        let Stored { model, backend: wanted } = stored;
        // A name with a scheme would be fetched without a check of who sends it.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        let is_name = (1..=LONGEST_NAME).contains(&model.len()) && model.chars().all(allowed) && !model.contains("//");
        if !is_name {
            let message = "must be the name of a model of Ollama's registry, such as \"qwen2.5:1.5b\"";
            return Err(Error::invalid("/model", message));
        }
        let mut stores = self.backends.iter().filter(|backend| backend.settings.kind == Kind::Ollama);
        let found = stores.find(|backend| wanted.as_ref().is_none_or(|wanted| *wanted == backend.name));
        let backend = found.ok_or_else(|| {
            let which = wanted.map_or("no backend".to_owned(), |wanted| format!("no backend {wanted:?}"));
            let message = "of the settings is an Ollama, which alone fetches models; see [arcs.llm_router.backends]";
            Error::invalid("/backend", format!("{which} {message}"))
        })?;
        Ok((backend, model))
    }
}

fn not_fetched(model: &str, failure: &Failure) -> Error {
    let advice = match failure {
        Failure::Unreachable(_) => "Is the service there? `luca-run system.services`",
        _ => {
            "Is there such a model in the registry, and does this machine reach it? `luca-run system.logs ollama`. \
             What was fetched is kept: the same command goes on"
        }
    };
    Error::new(format!("{model} could not be fetched: {failure}. {advice}")).with_code(code::MODEL)
}

/// What was told of a model that is fetched.
#[derive(Default)]
struct Progress {
    last: Option<(String, Instant)>,
    /// The bytes of each part that are there, and all of them.
    parts: BTreeMap<String, (u64, u64)>,
}

impl Progress {
    /// What is to be told of a step, if anything: each stage, and of a long one how far it is, now and then.
    fn grown(&mut self, step: &Step) -> Option<String> {
        const STAGE: &str = "fetching";
        let stage = if step.bytes.is_some() { STAGE } else { &step.words };
        if let Some(bytes) = step.bytes {
            /// A model is made of a handful.
            const MOST_PARTS: usize = 64;
            if self.parts.len() < MOST_PARTS || self.parts.contains_key(&step.words) {
                self.parts.insert(step.words.clone(), bytes);
            }
        }
        let now = Instant::now();
        let is_new = self.last.as_ref().is_none_or(|(last, _)| last != stage);
        let is_due = self.last.as_ref().is_none_or(|(_, told)| now.duration_since(*told) >= PERIOD);
        if !(is_new || is_due && step.bytes.is_some()) {
            return None;
        }
        self.last = Some((stage.to_owned(), now));
        let (there, all) = self
            .parts
            .values()
            .fold((0_u64, 0_u64), |(there, all), (more, of)| (there.saturating_add(*more), all.saturating_add(*of)));
        Some(match step.bytes {
            Some(_) => format!("{STAGE} {} % of {}", u128::from(there) * 100 / u128::from(all.max(1)), megabytes(all)),
            None => step.words.clone(),
        })
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_stage_is_told_and_of_a_long_one_how_far_it_is() {
        let step = |words: &str, bytes| Step { words: words.to_owned(), bytes };
        let mut progress = Progress::default();
        assert_eq!(progress.grown(&step("pulling manifest", None)).as_deref(), Some("pulling manifest"));
        let part = |done| step("pulling b179", Some((done, 90_000_000)));
        assert_eq!(progress.grown(&part(9_000_000)).as_deref(), Some("fetching 10 % of 90 MB"));
        assert_eq!(progress.grown(&part(18_000_000)), None, "that was a moment ago");
        tokio::time::advance(PERIOD).await;
        let other = step("pulling c0de", Some((0, 10_000_000)));
        assert_eq!(progress.grown(&other).as_deref(), Some("fetching 18 % of 100 MB"));
        assert_eq!(progress.grown(&step("verifying", None)).as_deref(), Some("verifying"));
        assert_eq!(progress.grown(&step("verifying", None)), None);
    }
}
