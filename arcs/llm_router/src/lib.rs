//! The LLM router: one door to every model.
//!
//! A caller names a purpose and the messages. The settings say which backends serve that purpose, in order of
//! preference; the first that can answer does, and why each of the others could not is kept for the error. Everything
//! is streamed from the backend, so that a cut answer is noticed and a caller who goes away stops the generation.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `settings` | `[arcs.llm_router]`, every problem at once |
//! | `request`, `completion` | what comes in and what goes out |
//! | `router`, `answer`, `exchange` | candidates and fall-back; rounds until the form fits; one exchange with retries |
//! | `backend` | Ollama, OpenAI-compatible servers, Gemini |
//! | `store` | models that are fetched and removed |
//! | `form` | JSON schemas: bounds, what backends understand of them, whether an answer fits |
//! | `breaker`, `failure`, `key`, `watcher` | what they say |
//!
//! What a backend says is hostile until it is checked: lines, texts and error messages are bounded, control characters
//! do not pass, and an answer that holds the API key does not pass at all.

mod answer;
mod backend;
mod breaker;
mod candidates;
mod completion;
mod exchange;
mod failure;
mod form;
mod key;
mod request;
mod router;
mod settings;
mod store;
mod watcher;

use std::process::ExitCode;

use kit::{Call, Host, Result, Server, Shared, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

pub use completion::{Choice, Completion, Finish, ModelState, Said, Usage};
pub use request::{Chat, Message, Options, Purpose, Role};
pub use router::{Patience, Router};
pub use settings::Settings;
pub use store::{Kept, Stored};
pub use watcher::Watcher;

const CHAT: &str = "Asks a language model. The purpose decides which: chat, copy (texts that are published), rank, plan. \
                    With options.schema the answer is JSON that was checked against that schema.";

const PULL: &str = "Fetches a model from Ollama's registry into the machine's own Ollama: gigabytes. \
                    It goes on where it broke off.";

/// Runs the Arc until it is idle or asked to stop.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |host: Host| serve(&host))
}

fn serve(host: &Host) -> std::result::Result<Server<Router>, StartError> {
    let settings = host.settings(Settings::read)?.unwrap_or_else(Settings::without_any);
    let router = Router::new(settings, |path| host.mounted(path), Patience::default());
    Ok(Server::new(router)
        .tool("chat", CHAT, chat)
        .tool("route", "The same as chat, for older clients.", chat)
        .tool("models", "Every backend with its model, whether it answers just now, and which models it has.", models)
        .tool("pull", PULL, pull)
        .tool("remove", "Removes a model of the machine's own Ollama.", remove))
}

async fn chat(router: Shared<Router>, call: Call, chat: Chat) -> Result<Completion> {
    router.chat(chat, &call.caller().labels, &call).await
}

/// No arguments.
#[derive(Deserialize, JsonSchema)]
struct Nothing {}

async fn models(router: Shared<Router>, _call: Call, _nothing: Nothing) -> Result<Vec<ModelState>> {
    Ok(router.models().await)
}

async fn pull(router: Shared<Router>, call: Call, stored: Stored) -> Result<Kept> {
    router.pull(stored, &call).await
}

async fn remove(router: Shared<Router>, _call: Call, stored: Stored) -> Result<Kept> {
    router.remove(stored).await
}
