//! What lasts from one line to the next: the connection, the catalogue, the folder.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use spec::control::CagesInfo;
use tokio::task::JoinHandle;

use crate::address::{Address, Surroundings, candidates};
use crate::call::{Patience, conduct};
use crate::catalogue::Catalogue;
use crate::client::Client;
use crate::failure::Error;
use crate::help;
use crate::message::Request;
use crate::render::error;
use crate::render::safe;
use crate::render::terminal::{Role, Terminal};
use crate::shell::watch::Watch;
use crate::token;

/// How long the first lines wait for what is said of cages.
const GREETING: Duration = Duration::from_secs(2);

/// The catalogue as it was fetched last, shared with the completion.
pub(super) type KnownTools = Arc<Mutex<Option<Arc<Catalogue>>>>;

/// The state of a shell.
pub(super) struct Session {
    named: Option<Address>,
    token_file: Option<PathBuf>,
    is_interactive: bool,
    client: Option<Arc<Client>>,
    known_tools: KnownTools,
    /// Keeps the catalogue true whenever it changes.
    refresher: Option<JoinHandle<()>>,
    folder: String,
}

/// A call that came to its value.
pub(super) struct Answered {
    /// The value.
    pub value: Value,
    /// How long it took.
    pub took: Duration,
    /// The text of a model that was shown while it came.
    pub streamed: String,
}

impl Session {
    /// Not connected yet.
    pub(super) fn new(named: Option<Address>, token_file: Option<PathBuf>, is_interactive: bool) -> Self {
        Self {
            named,
            token_file,
            is_interactive,
            client: None,
            known_tools: KnownTools::default(),
            refresher: None,
            folder: "/".to_owned(),
        }
    }

    /// Whether a person sits at a terminal.
    pub(super) fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    /// How to write to the standard output: plain unless a person sits there.
    pub(super) fn terminal(&self) -> Terminal {
        if self.is_interactive { Terminal::of(&std::io::stdout()) } else { Terminal::plain() }
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// Changes that folder.
    pub(super) fn set_folder(&mut self, folder: String) {
        self.folder = folder;
    }

    /// The catalogue as far as it is known.
    pub(super) fn known_tools(&self) -> KnownTools {
        Arc::clone(&self.known_tools)
    }

    /// The first lines that a person sees.
    pub(super) async fn greet(&mut self) {
        match self.connect().await {
            Ok(client) => {
                let terminal = Terminal::of(&std::io::stderr());
                note(&format!("{} · {}", terminal.paint(Role::Strong, &safe::line(client.server())), client.address()));
                if let Some(missing) = self.missing_of_cages().await {
                    let line = format!("cages: not on this kernel: {missing} · system.cages says why");
                    note(&terminal.paint(Role::Strong, &safe::line(&line)));
                }
                note(&terminal.paint(Role::Dim, "help shows what there is · Tab completes · Ctrl-D leaves"));
            }
            Err(error) => complain(&error),
        }
    }

    /// What the machine's kernel does not give to cages; `None` where it gives all, or where nobody says so.
    async fn missing_of_cages(&mut self) -> Option<String> {
        let request = Request::Tool { name: "system.cages".to_owned(), arguments: serde_json::Map::new() };
        let asked = tokio::time::timeout(GREETING, self.call(&request, false));
        let cages: CagesInfo = serde_json::from_value(asked.await.ok()?.ok()?.value).ok()?;
        // Each with why, in parentheses.
        let layers = cages.missing.iter().map(|layer| layer.split(" (").next().unwrap_or(layer));
        Some(layers.collect::<Vec<_>>().join(", ")).filter(|missing| !missing.is_empty())
    }

    /// Connects to another gateway.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(super) async fn connect_to(&mut self, named: Option<Address>) -> Result<Arc<Client>, Error> {
        let before = (self.named.clone(), self.client.take());
        self.named = named.or(self.named.take());
        let connected = self.connect().await;
        if connected.is_err() {
            (self.named, self.client) = before;
        }
        connected
    }

    /// The connection; made, or made again where it was lost.
    ///
    /// # Errors
    /// Nobody answers.
    pub(super) async fn connect(&mut self) -> Result<Arc<Client>, Error> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.is_lost()) {
            return Ok(Arc::clone(client));
        }
        let was_connected = self.client.is_some();
        let addresses = candidates(self.named.as_ref(), &Surroundings::of_this_process())?;
        let token = token::find(self.token_file.as_deref())?;
        let connecting = Client::connect(&addresses, token.as_ref(), "luca-shell");
        let client = Arc::new(Patience::new(None)?.wait("the gateway", connecting).await?);
        if was_connected {
            note(&format!("the connection was lost; connected again to {}", client.address()));
        }
        self.forget_tools();
        self.refresher = Some(tokio::spawn(refresh(Arc::clone(&client), self.known_tools(), self.is_interactive)));
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    fn forget_tools(&mut self) {
        if let Some(refresher) = self.refresher.take() {
            refresher.abort();
        }
        set(&self.known_tools, None);
    }

    /// The catalogue, fetched where it is not known yet.
    ///
    /// # Errors
    /// It cannot be fetched.
    pub(super) async fn catalogue(&mut self) -> Result<Arc<Catalogue>, Error> {
        let client = self.connect().await?;
        if let Some(known) = self.catalogue_if_known() {
            return Ok(known);
        }
        let fetched = Arc::new(Patience::new(None)?.wait("tools/list", client.catalogue()).await?);
        set(&self.known_tools, Some(Arc::clone(&fetched)));
        Ok(fetched)
    }

    /// The catalogue, if it was fetched before.
    pub(super) fn catalogue_if_known(&self) -> Option<Arc<Catalogue>> {
        self.known_tools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call; Ctrl-C cancels it. A model's text is shown as it comes where `shows_text`.
    ///
    /// # Errors
    /// The tool's failure, a lost connection, Ctrl-C.
    pub(super) async fn call(&mut self, request: &Request, shows_text: bool) -> Result<Answered, Error> {
        let client = self.connect().await?;
        let mut patience = Patience::new(None)?;
        let began = Instant::now();
        let mut watch = Watch::new(request.name(), shows_text && self.is_interactive);
        let called = conduct(&client, request, &mut patience, &mut watch).await;
        let streamed = watch.finish();
        match called {
            Ok(value) => Ok(Answered { value, took: began.elapsed(), streamed }),
            Err(error) => Err(help::advised(error, request, self.catalogue_if_known().as_deref(), "")),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.forget_tools();
    }
}

/// Follows the changes of the catalogue. A person gets it fetched, now and after each change, for completion is to be
/// at hand; for a pipe it is forgotten, and fetched when a line needs it.
async fn refresh(client: Arc<Client>, known: KnownTools, is_interactive: bool) {
    if is_interactive {
        set(&known, client.catalogue().await.ok().map(Arc::new));
    }
    while client.tools_changed().await {
        // A catalogue that cannot be fetched now is fetched, and its error shown, when a command needs it.
        let fetched = if is_interactive { client.catalogue().await.ok() } else { None };
        set(&known, fetched.map(Arc::new));
    }
}

fn set(known: &KnownTools, catalogue: Option<Arc<Catalogue>>) {
    *known.lock().unwrap_or_else(PoisonError::into_inner) = catalogue;
}

/// Shows an error.
pub(super) fn complain(error: &Error) {
    note(&error::for_people(error, &Terminal::of(&std::io::stderr())));
}

/// Says something that is no result.
pub(super) fn note(text: &str) {
    // There is no other place to say it.
    let _ = writeln!(std::io::stderr(), "{text}");
}
