//! One Arc as the gateway sees it: its manifest, how its service is doing, its tools, and the connection to it.

mod connection;
mod received;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Deserialize;
use serde_json::{Map, Value};
use spec::caller::{Caller, code};
use spec::control::{ServiceInfo, ServiceState};
use spec::{Manifest, Transport};
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, watch};

use connection::Connection;
pub(crate) use received::Answer;

use crate::catalogue::Catalogue;
use crate::message::Fault;
use crate::notice::Progress;

/// What the gateway says of itself in `_meta` of each request; see "The protocol inside" in ARCHITECTURE.md.
const META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"llmbasedos-gateway","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"io.modelcontextprotocol/clientCapabilities":{}"#
);

/// How long a list of all tools waits for one Arc, which may have to be started for it: seconds on a small machine.
pub(crate) const WAIT_FOR_LIST: Duration = Duration::from_secs(15);

/// How long an Arc may take to list its tools, once it is started.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// An Arc lists its tools on so many pages at the most.
const PAGES: usize = 100;

/// So many bytes of tools, in all pages, are taken in.
const LIST_MOST: usize = 4 << 20;

/// An Arc.
pub(crate) struct ArcClient {
    manifest: Manifest,
    link: Arc<Link>,
}

/// What outlives a new manifest: the way to the Arc.
struct Link {
    name: spec::Name,
    socket: PathBuf,
    state: Mutex<State>,
    /// Counts the changes of all Arcs' tools.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    service: Option<ServiceInfo>,
    /// The list that is to be used. A new cell when the Arc may have other tools now.
    catalogue: Arc<OnceCell<Arc<Catalogue>>>,
    /// The last list that was seen, for hints.
    last_catalogue: Option<Arc<Catalogue>>,
}

impl ArcClient {
    pub(crate) fn new(manifest: Manifest, socket: PathBuf, changes: watch::Sender<u64>) -> Self {
        if manifest.transport == Transport::Stdio {
            tracing::warn!(arc = %manifest.name, "its standard input and output are not spoken to yet: it has no tools");
        }
        let link = Link { name: manifest.name.clone(), socket, state: Mutex::default(), changes };
        Self { manifest, link: Arc::new(link) }
    }

    /// This Arc after its manifest was read anew: the connection stays where the socket did.
    pub(crate) fn renewed(&self, manifest: Manifest, socket: PathBuf) -> Self {
        if socket != self.link.socket {
            self.retire();
            return Self::new(manifest, socket, self.link.changes.clone());
        }
        self.link.expect_other_tools();
        Self { manifest, link: Arc::clone(&self.link) }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it can have tools at all.
    pub(crate) fn has_tools(&self) -> bool {
        self.manifest.transport == Transport::Socket
    }

    /// Takes note of how the service is doing. What waits for a service that will not come is answered.
    pub(crate) fn set_service(&self, service: ServiceInfo) {
        let (refusal, connection) = {
            let mut state = self.link.lock();
            let refusal = refusal(&service);
            state.service = Some(service);
            (refusal, state.connection.clone())
        };
        if let (Some(refusal), Some(connection)) = (refusal, connection) {
            connection.end(&refusal);
        }
    }

    /// Ends the connection: the Arc is gone.
    pub(crate) fn retire(&self) {
        let connection = self.link.lock().connection.take();
        if let Some(connection) = connection {
            connection.end(&format!("{} was removed while it was working on this call", self.manifest.name));
        }
    }

    /// The tools, asked from the Arc where they are not known, which starts it where it does not run.
    pub(crate) async fn catalogue(&self) -> Result<Arc<Catalogue>, Fault> {
        if !self.has_tools() {
            return Ok(Arc::default());
        }
        let cell = Arc::clone(&self.link.lock().catalogue);
        cell.get_or_try_init(|| self.list()).await.cloned()
    }

    /// The tools as far as they are known without asking.
    pub(crate) fn known_catalogue(&self) -> Option<Arc<Catalogue>> {
        self.link.lock().last_catalogue.clone()
    }

    /// Calls a tool by its short name.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: &[u8],
        caller: &Caller,
        progress: Option<Progress>,
        timeout: Duration,
    ) -> Answer {
        let caller = serde_json::to_vec(caller).map_err(|error| Fault::new(code::INTERNAL, error.to_string()))?;
        let ask = Ask {
            method: "tools/call",
            members: &[format!("\"name\":\"{tool}\",\"arguments\":").as_bytes(), arguments, b","].concat(),
            meta: &[br#","llmbasedos/caller":"#, caller.as_slice()].concat(),
        };
        self.link.request(&ask, progress, timeout).await?.unwrap_or_else(|| {
            let (namespace, timeout) = (&self.manifest.namespace, in_words(timeout));
            let late = format!("{namespace}.{tool} did not answer within {timeout}, its time-out, and was cancelled");
            Err(Fault::new(code::INTERNAL, late))
        })
    }

    /// Where the tool with the short name `tool` stands. An Arc that was not running may have been changed meanwhile:
    /// it is asked again before the tool is said not to exist.
    pub(crate) async fn find(&self, tool: &str) -> Result<Option<(Arc<Catalogue>, usize)>, Fault> {
        let catalogue = self.catalogue().await?;
        if let Some(position) = catalogue.position(tool) {
            return Ok(Some((catalogue, position)));
        }
        if self.link.is_connected() || !self.has_tools() {
            return Ok(None);
        }
        self.link.lock().catalogue = Arc::default();
        let catalogue = self.catalogue().await?;
        Ok(catalogue.position(tool).map(|position| (catalogue, position)))
    }

    async fn list(&self) -> Result<Arc<Catalogue>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            tools: Vec<Map<String, Value>>,
            #[serde(default)]
            next_cursor: Option<String>,
        }
        let name = &self.manifest.name;
        let unusable = |why: String| Fault::new(code::INTERNAL, format!("{name} does not list its tools: {why}"));
        let timeout = self.manifest.start_timeout + LIST_TIMEOUT;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut cursor = None;
        for _ in 0..PAGES {
            let members =
                cursor.map(|cursor: String| format!("\"cursor\":{},", Value::from(cursor))).unwrap_or_default();
            let ask = Ask { method: "tools/list", members: members.as_bytes(), meta: b"" };
            let answer = self.link.request(&ask, None, timeout).await?;
            let late = || unusable(format!("no answer within {}", in_words(timeout)));
            let answer = answer.ok_or_else(late)??;
            bytes += answer.len();
            if bytes > LIST_MOST {
                return Err(unusable(format!("they take more than {} MiB", LIST_MOST >> 20)));
            }
            let page: Page = serde_json::from_slice(&answer).map_err(|error| unusable(error.to_string()))?;
            entries.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let catalogue = Catalogue::new(self.manifest.namespace.as_str(), entries);
        let catalogue = Arc::new(catalogue.map_err(|error| unusable(error.to_string()))?);
        self.link.lock().last_catalogue = Some(Arc::clone(&catalogue));
        Ok(catalogue)
    }
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_other_tools(&self) {
        self.lock().catalogue = Arc::default();
        self.changes.send_modify(|count| *count += 1);
    }

    fn is_connected(&self) -> bool {
        self.lock().connection.as_ref().is_some_and(|connection| connection.is_open())
    }

    /// Sends a request and waits for its answer, `None` when it does not come in time.
    async fn request(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        mut progress: Option<Progress>,
        timeout: Duration,
    ) -> Result<Option<Answer>, Fault> {
        // A connection may turn out to be at its end just now, which a new one is not.
        for _ in 0..2 {
            let connection = self.connection()?;
            if let Some(in_flight) = connection.request(&mut progress, timeout, |id, token| ask.line(id, token)).await {
                return Ok(in_flight.answer().await);
            }
        }
        Err(Fault::new(
            code::INTERNAL,
            format!("{} ends as soon as it is started: luca-run system.logs '[\"{0}\"]' says why", self.name),
        ))
    }

    /// The connection, made anew where there is none.
    fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, Fault> {
        let mut state = self.lock();
        if let Some(refusal) = state.service.as_ref().and_then(refusal) {
            return Err(Fault::new(code::INTERNAL, refusal));
        }
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        let stream = self.connect().map_err(|error| {
            tracing::warn!(arc = %self.name, socket = %self.socket.display(), %error, "cannot connect");
            Fault::new(code::INTERNAL, format!("{} cannot be reached ({error}): try again", self.name))
        })?;
        // An Arc that was started anew may have other tools.
        if state.connection.is_some() {
            state.catalogue = Arc::default();
        }
        let link = Arc::downgrade(self);
        let on_tools_changed = move || {
            if let Some(link) = link.upgrade() {
                link.expect_other_tools();
            }
        };
        let connection = Connection::start(self.name.clone(), stream, on_tools_changed);
        Ok(Arc::clone(state.connection.insert(connection)))
    }

    /// Connects without waiting: init listens, so the kernel takes the connection at once.
    fn connect(&self) -> std::io::Result<UnixStream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
        UnixStream::from_std(socket.into())
    }
}

/// A request to an Arc.
struct Ask<'a> {
    method: &'a str,
    /// The members of its params beside `_meta`, each with a comma after it.
    members: &'a [u8],
    /// Members of `_meta` beside those of every request, each with a comma before it.
    meta: &'a [u8],
}

impl Ask<'_> {
    /// The message. The id serves as the token of progress too.
    fn line(&self, id: u64, with_progress: bool) -> Vec<u8> {
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{}\",\"params\":{{", self.method);
        let token = if with_progress { format!(",\"progressToken\":{id}") } else { String::new() };
        let parts: [&[u8]; 7] =
            [head.as_bytes(), self.members, br#""_meta":{"#, META.as_bytes(), self.meta, token.as_bytes(), b"}}}\n"];
        parts.concat()
    }
}

/// Why a call to the service need not wait: nobody but a person will start it.
fn refusal(service: &ServiceInfo) -> Option<String> {
    let name = &service.name;
    let reason = service.reason.as_deref();
    match service.state {
        ServiceState::Failed => Some(format!(
            "{name} has failed: {}. Its log: luca-run system.logs '[\"{name}\"]'. To start it: luca-run system.start '[\"{name}\"]'",
            reason.unwrap_or("init does not say why")
        )),
        ServiceState::Stopped => Some(format!("{name} is stopped. To start it: luca-run system.start '[\"{name}\"]'")),
        _ => None,
    }
}

fn in_words(span: Duration) -> String {
    if span.subsec_millis() == 0 { format!("{} s", span.as_secs()) } else { format!("{} ms", span.as_millis()) }
}
