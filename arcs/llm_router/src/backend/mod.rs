//! The backends: one conversation with one of them, streamed.

mod connection;
mod error_body;
mod gemini;
mod ollama;
mod openai;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::breaker::Breaker;
use crate::completion::{Finish, Usage};
use crate::failure::Failure;
use crate::form::Form;
use crate::key::Key;
use crate::request::Message;
use crate::router::Patience;
use crate::settings::{BackendSettings, Kind};
use crate::watcher::{Telling, Watcher};
use connection::Lines;
pub(crate) use store::Step;

/// The longest name of a model, in bytes.
const MAX_NAME: usize = 200;

/// The longest text of an answer, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// One backend of the settings, ready to be asked.
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) settings: BackendSettings,
    pub(crate) slots: Semaphore,
    pub(crate) breaker: Breaker,
    patience: Patience,
    /// The HTTP client and the key; or why there is none, in words.
    access: Result<Access, String>,
}

struct Access {
    client: Client,
    key: Option<Key>,
}

/// What is asked of a backend.
pub(crate) struct Question<'q> {
    pub(crate) model: &'q str,
    pub(crate) messages: &'q [Message],
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: u32,
    pub(crate) seed: Option<u32>,
    /// A form that the backend is to hold the answer to by its own means.
    pub(crate) form: Option<&'q Form>,
}

/// A model that a backend has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    /// Whether the backend has it from another machine: Ollama lists those of its maker's cloud beside its own.
    pub(crate) is_elsewhere: bool,
}

/// What a backend answered, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) usage: Option<Usage>,
}

/// What one line of a stream says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Piece {
    text: String,
    finish: Option<Finish>,
    usage: Option<Usage>,
    /// Whether nothing comes after it.
    is_last: bool,
}

impl Backend {
    /// Prepares the backend. What is wrong with its key or the certificates of this machine is said now, in the log, and
    /// again by each question. `locate` finds a path of the settings.
    pub(crate) fn new(
        name: String,
        settings: BackendSettings,
        locate: impl Fn(&str) -> PathBuf,
        patience: Patience,
    ) -> Self {
        let key = match (&settings.secret, &settings.key_file) {
            (Some(name), _) => Key::of_secret(name, &locate(&format!("/run/secrets/{name}"))).map(Some),
            (None, Some(path)) => Key::read(&locate(path)).map(Some),
            (None, None) => Ok(None),
        };
        let access = match (connection::client(&settings.url, patience.connect), key) {
            (Ok(client), Ok(key)) => Ok(Access { client, key }),
            (Err(words), _) => Err(words),
            (_, Err(error)) => Err(error.to_string()),
        };
        if let Err(words) = &access {
            tracing::warn!("backend {name} cannot be used: {words}");
        }
        if settings.has_key() && settings.url.scheme() == "http" && !settings.is_local() {
            tracing::warn!("backend {name} is sent its key unencrypted: use https");
        }
        let slots = Semaphore::new(settings.parallel);
        Self { name, settings, slots, breaker: Breaker::default(), patience, access }
    }

    /// Asks, and tells how the answer grows. Dropping the future closes the connection, which stops the generation.
    pub(crate) async fn ask<W: Watcher>(
        &self,
        question: &Question<'_>,
        telling: &mut Telling<'_, W>,
    ) -> Result<Reply, Failure> {
        telling.begin(&self.name).await;
        let first = Instant::now() + self.patience.first_token(self.settings.is_local());
        let silent =
            |_| Failure::TimedOut { what: "first word", within: self.patience.first_token(self.settings.is_local()) };
        let (path, body) = match self.settings.kind {
            Kind::Ollama => ollama::request(question),
            Kind::OpenAi => openai::request(question, &self.settings.url),
            Kind::Gemini => gemini::request(question),
        };
        let request = self.request(Method::POST, &path)?.json(&body);
        let response = timeout_at(first, connection::send(request, self.key())).await.map_err(silent)?;
        let mut lines = Lines::new(response?);
        let mut heard = Heard::default();
        while !heard.is_over {
            let next = lines.next();
            let line = if heard.text.is_empty() {
                timeout_at(first, next).await.map_err(silent)?
            } else {
                let stalled = |_| Failure::TimedOut { what: "further word", within: self.patience.stall };
                timeout(self.patience.stall, next).await.map_err(stalled)?
            };
            let Some(line) = line? else { break };
            let piece = self.read(&line)?;
            heard.take(piece, self.key())?;
            telling.grown(&heard.text, self.key().map_or(0, Key::len)).await;
        }
        let reply = heard.finish()?;
        telling.grown(&reply.text, 0).await;
        Ok(reply)
    }

    /// The models that the backend has, within so long.
    pub(crate) async fn models(&self, within: Duration) -> Result<Vec<Listed>, Failure> {
        let (path, list, name) = match self.settings.kind {
            Kind::Ollama => ("/api/tags", "models", "name"),
            Kind::OpenAi => ("/v1/models", "data", "id"),
            Kind::Gemini => ("/v1beta/models?pageSize=1000", "models", "name"),
        };
        let request = self.request(Method::GET, path)?;
        let ask = async { connection::whole(connection::send(request, self.key()).await?).await };
        let body = timeout(within, ask).await.map_err(|_| Failure::TimedOut { what: "answer", within })??;
        let rubbish = || Failure::Rubbish("a list of models");
        let value: Value = serde_json::from_slice(&body).map_err(|_| rubbish())?;
        let models = value.get(list).and_then(Value::as_array).ok_or_else(rubbish)?;
        let named = |model: &Value| {
            let name = model.get(name)?.as_str()?.trim_start_matches("models/").to_owned();
            let is_elsewhere = self.settings.kind == Kind::Ollama && ollama::is_elsewhere(&name, model);
            Some(Listed { name, is_elsewhere })
        };
        let is_name = |listed: &Listed| listed.name.len() <= MAX_NAME && !listed.name.chars().any(char::is_control);
        let listed: Vec<Listed> = models.iter().filter_map(named).filter(is_name).collect();
        if self.key().is_some_and(|key| listed.iter().any(|listed| key.is_in(&listed.name))) {
            return Err(Failure::KeyEchoed);
        }
        Ok(listed)
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let access = self.access.as_ref().map_err(|words| Failure::Unusable(words.clone()))?;
        let url = format!("{}{path}", self.settings.url.as_str().trim_end_matches('/'));
        let (header, prefix) = match self.settings.kind {
            Kind::Gemini => ("x-goog-api-key", ""),
            Kind::Ollama | Kind::OpenAi => ("authorization", "Bearer "),
        };
        let key = access.key.as_ref().and_then(|key| key.header(prefix));
        let request = access.client.request(method, url);
        Ok(key.into_iter().fold(request, |request, key| request.header(header, key)))
    }

    fn key(&self) -> Option<&Key> {
        self.access.as_ref().ok()?.key.as_ref()
    }

    fn read(&self, line: &str) -> Result<Piece, Failure> {
        if self.key().is_some_and(|key| key.is_in(line)) {
            return Err(Failure::KeyEchoed);
        }
        let piece = match self.settings.kind {
            Kind::Ollama => ollama::read(line),
            Kind::OpenAi => openai::read(line),
            Kind::Gemini => gemini::read(line),
        };
        piece.map_err(|failure| {
            let gives_away = self.key().is_some_and(|key| key.is_in(&failure.to_string()));
            if gives_away { Failure::KeyEchoed } else { failure }
        })
    }
}

/// What was heard of an answer so far.
#[derive(Default)]
struct Heard {
    text: String,
    finish: Option<Finish>,
    usage: Option<Usage>,
    is_over: bool,
}

impl Heard {
    fn take(&mut self, piece: Piece, key: Option<&Key>) -> Result<(), Failure> {
        let before = self.text.len();
        self.text.push_str(&piece.text);
        if self.text.len() > MAX_TEXT {
            return Err(Failure::TooLarge(MAX_TEXT));
        }
        if let Some(key) = key {
            // The key may come in pieces: look again at what could have been its beginning.
            let from = self.text.floor_char_boundary(before.saturating_sub(key.len()));
            if self.text.get(from..).is_some_and(|recent| key.is_in(recent)) {
                return Err(Failure::KeyEchoed);
            }
        }
        self.finish = piece.finish.or(self.finish);
        self.usage = piece.usage.or(self.usage);
        self.is_over = piece.is_last;
        Ok(())
    }

    fn finish(self) -> Result<Reply, Failure> {
        // A server that said why it stopped has said everything, even where its end mark is missing.
        let finish = match (self.finish, self.is_over) {
            (Some(finish), _) => finish,
            (None, true) => Finish::Stop,
            (None, false) => return Err(Failure::Cut),
        };
        if self.text.trim().is_empty() {
            return Err(Failure::Empty);
        }
        Ok(Reply { text: self.text, finish, usage: self.usage })
    }
}

/// The JSON of a line, or of what follows `data:` in it.
fn parsed(text: &str, whose: &'static str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|_| Failure::Rubbish(whose))
}

/// The payload of a line of server-sent events; `None` for what is not data. Every server that we know sends an event's
/// data in one line.
fn event<'l>(line: &'l str, whose: &'static str) -> Result<Option<&'l str>, Failure> {
    match line.split_once(':') {
        None if line.is_empty() => Ok(None),
        // Older llama.cpp servers name the field of a failure `error`.
        Some(("data" | "error", payload)) => Ok(Some(payload.trim())),
        Some(("" | "event" | "id" | "retry", _)) => Ok(None),
        _ => Err(Failure::Rubbish(whose)),
    }
}
