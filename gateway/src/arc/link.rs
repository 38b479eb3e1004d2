//! The way to an Arc, which outlives a new manifest: how its service is doing, its list of tools, and the connection.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use spec::caller::code;
use spec::control::{ServiceInfo, ServiceState};
use spec::{Manifest, Transport};
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, SetOnce, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::Answer;
use super::ask::{Ask, with_type};
use super::connection::{Connection, Peer};
use super::introduction::introduce;
use crate::catalogue::Catalogue;
use crate::mcp::Era;
use crate::message::Fault;
use crate::notice::Progress;

/// How long after the end of a connection init may take to say how the service ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How an Arc speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// The protocol inside, from the first word on.
    Ours,
    /// MCP of some revision, on its standard input and output.
    Foreign {
        /// How long it may take to say of which.
        patience: Duration,
        /// How long a connection may be idle.
        idle: Option<Duration>,
    },
}

impl Speech {
    pub(super) fn of(manifest: &Manifest) -> Self {
        match manifest.transport {
            Transport::Stdio => Self::Foreign { patience: manifest.start_timeout, idle: manifest.idle_exit },
            Transport::Socket | Transport::None => Self::Ours,
        }
    }
}

/// What outlives a new manifest: the way to the Arc.
pub(super) struct Link {
    name: spec::Name,
    pub(super) socket: PathBuf,
    pub(super) speech: Speech,
    state: Mutex<State>,
    /// Counts the changes of all Arcs' tools.
    pub(super) changes: watch::Sender<u64>,
    /// When and why the service last ended.
    ended: watch::Sender<Option<(Instant, String)>>,
}

#[derive(Default)]
struct State {
    line: Option<Line>,
    /// The era of the last connection, as far as it was found out.
    era: Option<Era>,
    service: Option<ServiceInfo>,
    /// The list that is to be used. A new cell when the Arc may have other tools now.
    catalogue: Arc<OnceCell<Arc<Catalogue>>>,
    /// The last list that was seen, for hints.
    last_catalogue: Option<Arc<Catalogue>>,
}

/// A connection, and in which era it is spoken on, once that is known.
#[derive(Clone)]
struct Line {
    connection: Arc<Connection>,
    era: Arc<SetOnce<Result<Era, Unknown>>>,
}

/// Why the era of a connection is not known.
struct Unknown {
    fault: Fault,
    /// Whether it may be found out on the next connection.
    may_try_again: bool,
}

impl Link {
    pub(super) fn new(name: spec::Name, socket: PathBuf, speech: Speech, changes: watch::Sender<u64>) -> Self {
        Self { name, socket, speech, state: Mutex::default(), changes, ended: watch::Sender::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how the service is doing. What waits for a service that will not come is answered.
    pub(super) fn set_service(&self, service: ServiceInfo) {
        use ServiceState::{Backoff, Failed, Listening, Stopped};
        if matches!(service.state, Listening | Backoff | Failed | Stopped) {
            let reason = service.reason.clone().unwrap_or_else(|| "it ended without complaint".to_owned());
            self.ended.send_replace(Some((Instant::now(), reason)));
        }
        let (refusal, line) = {
            let mut state = self.lock();
            let refusal = refusal(&service);
            state.service = Some(service);
            (refusal, state.line.clone())
        };
        if let (Some(refusal), Some(line)) = (refusal, line) {
            line.connection.end(&refusal);
        }
    }

    /// Ends the connection; what is in flight is answered with `reason`.
    pub(super) fn retire(&self, reason: &str) {
        let line = self.lock().line.take();
        if let Some(line) = line {
            line.connection.end(reason);
        }
    }

    pub(super) fn catalogue(&self) -> Arc<OnceCell<Arc<Catalogue>>> {
        Arc::clone(&self.lock().catalogue)
    }

    pub(super) fn last_catalogue(&self) -> Option<Arc<Catalogue>> {
        self.lock().last_catalogue.clone()
    }

    pub(super) fn remember(&self, catalogue: &Arc<Catalogue>) {
        self.lock().last_catalogue = Some(Arc::clone(catalogue));
    }

    pub(super) fn forget_tools(&self) {
        self.lock().catalogue = Arc::default();
    }

    pub(super) fn expect_other_tools(&self) {
        self.forget_tools();
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.lock().line.as_ref().is_some_and(|line| line.connection.is_open())
    }

    /// Sends a request and waits for its answer, `None` when it does not come in time.
    pub(super) async fn request(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        mut progress: Option<Progress>,
        timeout: Duration,
    ) -> Result<Option<Answer>, Fault> {
        let deadline = Instant::now() + timeout;
        let mut failure = None;
        // A connection may turn out to be at its end just now, which a new one is not; and one server ends when it hears
        // of a revision that it does not know.
        for _ in 0..2 {
            let line = self.line()?;
            let Ok(era) = timeout_at(deadline, line.era.wait()).await else { return Ok(None) };
            let era = match era {
                Ok(era) => *era,
                Err(unknown) => {
                    failure = Some(unknown.fault.clone());
                    if unknown.may_try_again { continue } else { break }
                }
            };
            let rest = deadline.saturating_duration_since(Instant::now());
            let sent = line.connection.request(&mut progress, rest, |id, token| ask.line(id, token, era)).await;
            if let Some(in_flight) = sent {
                let answer = in_flight.answer().await;
                let is_older = era == Era::WithInitialize;
                return Ok(answer.map(|answer| if is_older { answer.map(with_type) } else { answer }));
            }
        }
        Err(failure.unwrap_or_else(|| {
            let log = log_of(&self.name);
            Fault::new(code::INTERNAL, format!("{} ends as soon as it is started: {log} says why", self.name))
        }))
    }

    /// The connection, made anew where there is none.
    fn line(self: &Arc<Self>) -> Result<Line, Fault> {
        let mut state = self.lock();
        if let Some(refusal) = state.service.as_ref().and_then(refusal) {
            return Err(Fault::new(code::INTERNAL, refusal));
        }
        if let Some(line) = state.line.as_ref().filter(|line| line.connection.is_open()) {
            return Ok(line.clone());
        }
        let begun = Instant::now();
        let stream = self.connect().map_err(|error| {
            tracing::warn!(arc = %self.name, socket = %self.socket.display(), %error, "cannot connect");
            Fault::new(code::INTERNAL, format!("{} cannot be reached ({error}): try again", self.name))
        })?;
        // An Arc that was started anew may have other tools.
        if state.line.is_some() {
            state.catalogue = Arc::default();
        }
        let link = Arc::downgrade(self);
        let on_tools_changed = move || {
            if let Some(link) = link.upgrade() {
                link.expect_other_tools();
            }
        };
        let peer = match self.speech {
            Speech::Ours => Peer::Ours,
            Speech::Foreign { idle, .. } => Peer::Foreign { idle },
        };
        let connection = Connection::start(self.name.clone(), stream, peer, on_tools_changed);
        let era = match self.speech {
            Speech::Ours => SetOnce::new_with(Some(Ok(Era::Stateless))),
            Speech::Foreign { .. } => SetOnce::new(),
        };
        let line = Line { connection, era: Arc::new(era) };
        if let Speech::Foreign { patience, .. } = self.speech {
            tokio::spawn(Arc::clone(self).find_era(line.clone(), state.era, begun, patience));
        }
        Ok(state.line.insert(line).clone())
    }

    /// Finds out what is spoken on a new connection.
    async fn find_era(self: Arc<Self>, line: Line, known: Option<Era>, begun: Instant, patience: Duration) {
        let found = introduce(&line.connection, known, patience).await;
        let era = match found {
            Ok(era) => {
                tracing::info!(arc = %self.name, ?era, "speaks MCP on its standard input and output");
                self.lock().era = Some(era);
                Ok(era)
            }
            Err(fault) if line.connection.is_open() => {
                let (name, log) = (&self.name, log_of(&self.name));
                let words = format!(
                    "{name} is no MCP server on its standard input and output: {} within {} (`start_timeout`). Its log: {log}",
                    fault.message,
                    in_words(patience)
                );
                tracing::warn!(arc = %name, "{words}");
                line.connection.end(&words);
                Err(Unknown { fault: Fault::new(code::INTERNAL, words), may_try_again: false })
            }
            Err(_) => Err(self.unknown(&line.connection, known, begun).await),
        };
        let _ = line.era.set(era);
    }

    /// The connection ended before anything was known of it.
    async fn unknown(&self, connection: &Connection, known: Option<Era>, begun: Instant) -> Unknown {
        if let Some(why) = connection.why_ended() {
            return Unknown { fault: Fault::new(code::INTERNAL, why), may_try_again: false };
        }
        // What ended at the first word of the newest revision is not asked in it again.
        self.lock().era = known.is_none().then_some(Era::WithInitialize);
        let unsaid = || format!("{} ended before it had answered. Its log: {}", self.name, log_of(&self.name));
        let words = self.last_words(begun).await.unwrap_or_else(unsaid);
        Unknown { fault: Fault::new(code::INTERNAL, words), may_try_again: known.is_none() }
    }

    /// Why the service ended after `begun`, as init says it, which comes on another socket than the connection's end.
    async fn last_words(&self, begun: Instant) -> Option<String> {
        let mut ended = self.ended.subscribe();
        let is_after = |ended: &Option<(Instant, String)>| ended.as_ref().is_some_and(|(at, _)| *at > begun);
        let ended = timeout(LAST_WORDS, ended.wait_for(is_after)).await.ok()?.ok()?;
        let (name, (_, reason)) = (&self.name, ended.as_ref()?);
        Some(format!("{name} ended before it had answered: {reason}. Its log: {}", log_of(name)))
    }

    /// Connects without waiting: init listens, so the kernel takes the connection at once.
    fn connect(&self) -> std::io::Result<UnixStream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
        UnixStream::from_std(socket.into())
    }
}

/// How a person reads the log of a service.
fn log_of(name: &spec::Name) -> String {
    format!("luca-run system.logs '[\"{name}\"]'")
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

pub(super) fn in_words(span: Duration) -> String {
    if span.subsec_millis() == 0 { format!("{} s", span.as_secs()) } else { format!("{} ms", span.as_millis()) }
}
