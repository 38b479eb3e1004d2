//! Starting, being told by init what there is, and stopping.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spec::Token;
use spec::control::{SERVICES, ServiceInfo};
use tokio::net::{TcpListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Audit, AuditError};
use crate::catalogue::InvalidTool;
use crate::control::{Control, ControlError, Event, Incoming};
use crate::curtain::Curtain;
use crate::egress::Egress;
use crate::gateway::Gateway;
use crate::inherit::{Inherited, notify};
use crate::listener::unix::{self, ArcListeners};
use crate::listener::websocket;
use crate::own::Own;
use crate::registry::Registry;
use crate::run::Runs;

/// How long sessions may take to end when the gateway stops; above what they give themselves.
const STOP: Duration = Duration::from_secs(5);

/// What the gateway is told at its start.
#[derive(Debug)]
pub struct Settings {
    /// What init handed over.
    pub inherited: Inherited,
    /// The data folder: the audit file is `log/audit.jsonl` in it.
    pub data: PathBuf,
    /// What somebody shows who comes from another machine and is the owner.
    pub tokens: Vec<Token>,
}

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] Reason);

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot use the inherited descriptor {name}")]
    Descriptor {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("the audit file cannot be kept")]
    Audit(#[from] AuditError),
    #[error("the gateway's own tools are not sound")]
    Own(#[from] InvalidTool),
    #[error("the control channel is lost")]
    Control(#[from] ControlError),
}

/// Runs the gateway until it is asked to stop.
///
/// # Errors
/// It could not start, or lost init.
pub fn run(settings: Settings) -> Result<(), StartError> {
    // Two: the gateway moves bytes and computes next to nothing.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Reason::Runtime)?;
    let audit = Arc::new(Audit::start(&settings.data.join("log/audit.jsonl")).map_err(Reason::Audit)?);
    let ended = runtime.block_on(serve(settings.inherited, settings.tokens, Arc::clone(&audit)));
    // Ends what is still under way, and so gives back its places in the audit's queue.
    runtime.shutdown_timeout(Duration::from_secs(1));
    audit.close();
    ended.map_err(StartError)
}

async fn serve(inherited: Inherited, tokens: Vec<Token>, audit: Arc<Audit>) -> Result<(), Reason> {
    let signals = Signals::new().map_err(Reason::Signals)?;
    let (control, incoming) = Control::start(control_stream(inherited.control)?);
    let owner = unix::listener(inherited.owner).map_err(descriptor("gateway.sock"))?;
    let websocket = inherited.websocket.map(tcp_listener).transpose()?;
    let gateway = Arc::new(Gateway {
        registry: Registry::new(Own::all()?),
        runs: Arc::new(Runs::default()),
        audit,
        control,
        curtain: Curtain::default(),
        stop: CancellationToken::new(),
        sessions: TaskTracker::new(),
    });
    let own = websocket.as_ref().and_then(|listener| listener.local_addr().ok());
    let egress = Egress::new(Arc::clone(&gateway), own);
    let told = tokio::spawn(follow(Arc::clone(&gateway), egress, incoming));
    take_in_services(&gateway).await;
    tokio::spawn(unix::serve_owner(Arc::clone(&gateway), owner));
    if let Some(listener) = websocket {
        tokio::spawn(websocket::serve(Arc::clone(&gateway), listener, tokens));
    }
    tracing::info!(arcs = gateway.registry.arcs().len(), "ready");
    notify("READY=1");
    tokio::spawn(say_alive());
    let ended = tokio::select! {
        () = signals.wait() => Ok(()),
        lost = told => lost.unwrap_or(Ok(())).map_err(Reason::from),
    };
    notify("STOPPING=1");
    gateway.stop.cancel();
    gateway.sessions.close();
    if tokio::time::timeout(STOP, gateway.sessions.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    ended
}

/// Does what init tells, until the channel ends.
async fn follow(gateway: Arc<Gateway>, egress: Arc<Egress>, mut incoming: Incoming) -> Result<(), ControlError> {
    let listeners = ArcListeners::default();
    loop {
        match incoming.next().await? {
            Event::EgressPort { name, listener } => {
                if let Err(error) = egress.open_port(&name, listener) {
                    tracing::error!(arc = %name, %error, "cannot listen on its loopback");
                }
            }
            Event::ArcAdded { manifest, socket, listener, egress: descriptor } => {
                if let Err(error) = egress.add(&manifest, descriptor) {
                    tracing::error!(arc = %manifest.name, %error, "cannot listen on the socket by which it goes out");
                }
                tracing::debug!(arc = %manifest.name, "added");
                if let Err(error) = listeners.add(&gateway, manifest.name.clone(), listener) {
                    tracing::error!(arc = %manifest.name, %error, "cannot listen on the socket on which it calls");
                }
                gateway.registry.add(*manifest, socket.into());
            }
            Event::ArcRemoved(name) => {
                tracing::debug!(arc = %name, "removed");
                gateway.registry.remove(&name);
                listeners.remove(&name);
                egress.remove(&name);
            }
            Event::Secrets(fingerprints) => gateway.curtain.know(&fingerprints),
            Event::Service(service) => gateway.registry.set_service(service),
        }
    }
}

/// Asks init how all services are doing. Its answer comes after all that it told before, so that the Arcs which are
/// there at the start are known when this returns.
async fn take_in_services(gateway: &Gateway) {
    match gateway.control.ask(SERVICES, b"null").await {
        Ok(services) => match serde_json::from_slice::<Vec<ServiceInfo>>(&services) {
            Ok(services) => services.into_iter().for_each(|service| gateway.registry.learn_service(service)),
            Err(error) => tracing::error!(%error, "cannot read how the services are doing"),
        },
        Err(fault) => tracing::error!(reason = fault.message, "init does not say how the services are doing"),
    }
}

fn descriptor(name: &'static str) -> impl Fn(io::Error) -> Reason {
    move |source| Reason::Descriptor { name, source }
}

fn control_stream(descriptor_: OwnedFd) -> Result<UnixStream, Reason> {
    let stream = std::os::unix::net::UnixStream::from(descriptor_);
    stream.set_nonblocking(true).map_err(descriptor("control"))?;
    UnixStream::from_std(stream).map_err(descriptor("control"))
}

fn tcp_listener(descriptor_: OwnedFd) -> Result<TcpListener, Reason> {
    let listener = std::net::TcpListener::from(descriptor_);
    listener.set_nonblocking(true).map_err(descriptor("gateway"))?;
    TcpListener::from_std(listener).map_err(descriptor("gateway"))
}

/// The signals that ask to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says again and again that the gateway is alive, as often as init wants to hear it (`sd_watchdog_enabled(3)`): three
/// times in what it is patient for. It says so from the runtime that serves, so that it falls silent with that.
async fn say_alive() {
    let wanted = std::env::var(spec::control::env::WATCHDOG).ok();
    let Some(micros) = wanted.and_then(|micros| micros.parse().ok()).filter(|&micros: &u64| micros > 0) else { return };
    let mut turns = tokio::time::interval(Duration::from_micros(micros) / 3);
    loop {
        turns.tick().await;
        notify("WATCHDOG=1");
    }
}
