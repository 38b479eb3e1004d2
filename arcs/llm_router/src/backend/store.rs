//! The models that an Ollama keeps: fetched (`POST /api/pull`, a JSON object a line) and removed (`DELETE /api/delete`).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::connection::{self, Lines};
use super::{Backend, error_body, parsed};
use crate::failure::{Failure, in_words};

const WHOSE: &str = "Ollama";
/// Between two lines it may read all that it has fetched once more, to check it: 40 GB from a slow disk.
const SILENCE: Duration = Duration::from_mins(30);
/// How long it may take to remove a model.
const REMOVAL: Duration = Duration::from_mins(1);

/// How far a model is fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// What is being done, in the backend's words.
    pub(crate) words: String,
    /// Bytes of the part that is being fetched: those that are there, and all.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl Backend {
    /// Has it fetch a model from its registry; what is there already of it is not fetched again. Dropping what is answered
    /// stops that.
    pub(crate) async fn pull(&self, model: &str) -> Result<Pull, Failure> {
        let body = json!({ "model": model, "stream": true });
        let request = self.request(Method::POST, "/api/pull")?.json(&body);
        Ok(Pull(Lines::new(connection::send(request, self.key()).await?)))
    }

    /// Has it remove a model.
    pub(crate) async fn remove(&self, model: &str) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, "/api/delete")?.json(&json!({ "model": model }));
        let ask = async { connection::whole(connection::send(request, self.key()).await?).await };
        timeout(REMOVAL, ask).await.map_err(|_| Failure::TimedOut { what: "answer", within: REMOVAL })??;
        Ok(())
    }
}

/// A model that is being fetched.
pub(crate) struct Pull(Lines);

impl Pull {
    /// How far it is, whenever there is something to tell; `None` once the model is there.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>, Failure> {
        let line = timeout(SILENCE, self.line()).await;
        let line = line.map_err(|_| Failure::TimedOut { what: "further word", within: SILENCE })??;
        let value = parsed(&line, WHOSE)?;
        if let Some(failure) = error_body::in_stream(&value) {
            return Err(failure);
        }
        let words = value.get("status").and_then(Value::as_str).ok_or(Failure::Rubbish(WHOSE))?;
        let count = |key: &str| value.get(key).and_then(Value::as_u64);
        let bytes = count("total").map(|total| (count("completed").unwrap_or(0).min(total), total));
        Ok((words != "success").then(|| Step { words: in_words(words), bytes }))
    }

    /// The next line that says something.
    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            let line = self.0.next().await?.ok_or(Failure::Cut)?;
            if !line.is_empty() {
                return Ok(line);
            }
        }
    }
}
