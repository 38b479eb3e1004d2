//! What the tests say in one line each: a router on settings, a question, somebody who listens.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kit::{Document, Error, Label};
use llm_router::{Chat, Completion, Patience, Router, Settings, Watcher};
use serde_json::{Value, json};

/// Pauses short enough for tests. What is waited for is given the time it has in earnest: a test may run on a busy machine.
fn patience() -> Patience {
    Patience { pause: Duration::from_millis(10), longest_pause: Duration::from_millis(50), ..Patience::default() }
}

/// A router on these settings.
pub(crate) fn router(settings: &str) -> Router {
    patient_router(settings, patience())
}

/// A router on these settings, for which a backend that says nothing for a moment has stalled.
pub(crate) fn impatient_router(settings: &str) -> Router {
    patient_router(settings, Patience { stall: Duration::from_millis(300), ..patience() })
}

fn patient_router(settings: &str, patience: Patience) -> Router {
    let settings = Document::read("[arcs.llm_router]", settings, Settings::read).expect("sound settings");
    Router::new(settings, |path: &str| PathBuf::from(path), patience)
}

/// A router with the one backend `local`.
pub(crate) fn router_on(kind: &str, url: &str) -> Router {
    router(&backend("local", kind, url))
}

/// The settings of one backend.
pub(crate) fn backend(name: &str, kind: &str, url: &str) -> String {
    format!("[backends.{name}]\nkind = \"{kind}\"\nurl = \"{url}\"\nmodel = \"qwen\"\n")
}

/// Asks with these options, for a run without labels, with nobody listening.
pub(crate) async fn ask(router: &Router, options: Value) -> Result<Completion, Error> {
    router.chat(chat(options), &unlabelled(), &Ears::shut()).await
}

/// Asks for a run that holds private data.
pub(crate) async fn ask_privately(router: &Router) -> Result<Completion, Error> {
    router.chat(chat(json!({})), &BTreeSet::from([Label::Private]), &Ears::shut()).await
}

/// A question with these options.
pub(crate) fn chat(options: Value) -> Chat {
    let message = json!({"role": "user", "content": "Count from one to ten."});
    serde_json::from_value(json!({"messages": [message], "options": options})).expect("sound arguments")
}

/// The labels of a run that has touched nothing.
pub(crate) fn unlabelled() -> BTreeSet<Label> {
    BTreeSet::new()
}

/// The text of an answer.
pub(crate) fn text(completion: &Completion) -> &str {
    &completion.choices[0].message.content
}

/// Somebody who listens, and remembers what was told.
pub(crate) struct Ears {
    pub(crate) open: bool,
    told: Mutex<Vec<String>>,
}

impl Ears {
    pub(crate) fn open() -> Self {
        Self { open: true, told: Mutex::default() }
    }

    pub(crate) fn shut() -> Self {
        Self { open: false, told: Mutex::default() }
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, text: String) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

impl Watcher for Ears {
    fn listens(&self) -> bool {
        self.open
    }

    async fn text(&self, piece: &str) {
        self.hear(piece.to_owned());
    }

    async fn stage(&self, message: String) {
        self.hear(format!("<{message}>"));
    }
}
