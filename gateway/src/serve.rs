//! Starting, being told by init what there is, and stopping.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spec::GatewayStart;
use spec::control::{SERVICES, ServiceInfo};
use tokio::net::{TcpListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Audit, AuditError};
use crate::catalogue::InvalidTool;
use crate::certificate::{Certificate, CertificateError};
use crate::control::{Control, ControlError, Event, Incoming};
use crate::curtain::Curtain;
use crate::egress::Egress;
use crate::gateway::Gateway;
use crate::identity::Tokens;
use crate::inherit::{Inherited, notify};
use crate::listener::door::{Door, Secure};
use crate::listener::tcp;
use crate::listener::unix::{self, ArcListeners};
use crate::own::Own;
use crate::registry::Registry;
use crate::run::Runs;
use crate::web::tell_of_use;

/// How long sessions may take to end when the gateway stops; above what they give themselves.
const STOP: Duration = Duration::from_secs(5);

/// What the gateway is told at its start.
#[derive(Debug)]
pub struct Settings {
    /// What init handed over.
    pub inherited: Inherited,
    /// The data folder: the audit file is `log/audit.jsonl` in it.
    pub data: PathBuf,
    /// What init tells of the machine and its owner.
    pub start: GatewayStart,
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
    // Beside what others keep: no cage but the gateway's has this folder.
    let own = spec::paths::arc_data(&settings.data, "gateway");
    let ended = runtime.block_on(serve(settings.inherited, settings.start, &own, Arc::clone(&audit)));
    // Ends what is still under way, and so gives back its places in the audit's queue.
    runtime.shutdown_timeout(Duration::from_secs(1));
    audit.close();
    ended.map_err(StartError)
}

async fn serve(inherited: Inherited, start: GatewayStart, folder: &Path, audit: Arc<Audit>) -> Result<(), Reason> {
    let signals = Signals::new().map_err(Reason::Signals)?;
    let (control, incoming) = Control::start(control_stream(inherited.control)?);
    let owner = unix::listener(inherited.owner).map_err(descriptor("gateway.sock"))?;
    let listeners = [inherited.websocket, inherited.https];
    let [plain, https] = listeners.map(|listener| listener.map(tcp_listener).transpose());
    let (plain, https) = (plain?, https?);
    let gateway = Arc::new(Gateway {
        registry: Registry::new(Own::all()?),
        runs: Arc::new(Runs::default()),
        audit,
        control,
        curtain: Curtain::default(),
        stop: CancellationToken::new(),
        sessions: TaskTracker::new(),
    });
    let own = [&plain, &https].map(|listener| listener.as_ref().and_then(|listener| listener.local_addr().ok()));
    let egress = Egress::new(Arc::clone(&gateway), own);
    let told = tokio::spawn(follow(Arc::clone(&gateway), egress, incoming));
    take_in_services(&gateway).await;
    tokio::spawn(unix::serve_owner(Arc::clone(&gateway), owner));
    open_doors(&gateway, plain, https, &start, folder).await;
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

/// Takes in callers over TCP, with TLS and without.
async fn open_doors(
    gateway: &Arc<Gateway>,
    plain: Option<TcpListener>,
    https: Option<TcpListener>,
    start: &GatewayStart,
    folder: &Path,
) {
    let tokens = Arc::new(Tokens::new(start, &gateway.stop));
    tokio::spawn(tell_of_use(Arc::clone(gateway), Arc::clone(&tokens)));
    let mut secure = None;
    if let Some(listener) = https {
        secure = acceptor(gateway, &start.host_name, folder).await.map(|acceptor| (listener, acceptor));
    }
    let known = secure.as_ref().and_then(|(listener, (_, sha256))| {
        let port = listener.local_addr().ok()?.port();
        Some(Secure { port, sha256: sha256.as_str().into() })
    });
    let door = |listener: &TcpListener, is_secure| {
        let address = listener.local_addr().ok()?;
        Some(Door::new(gateway, address, (is_secure, known.clone()), &start.host_name, &tokens))
    };
    if let Some((listener, (acceptor, _))) = secure
        && let Some(door) = door(&listener, true)
    {
        tokio::spawn(tcp::serve(door, listener, Some(acceptor)));
    }
    if let Some(listener) = plain
        && let Some(door) = door(&listener, false)
    {
        tokio::spawn(tcp::serve(door, listener, None));
    }
}

/// What makes TLS of connections, once init knows by which certificate, and its SHA-256. Without one there is no such door,
/// which is said.
async fn acceptor(gateway: &Gateway, host_name: &str, folder: &Path) -> Option<(TlsAcceptor, String)> {
    let said = |error: &CertificateError| tracing::error!(error = error as &dyn Error, "the certificate");
    let made = Certificate::of_machine(folder, host_name, SystemTime::now());
    let (certificate, trouble) = made.inspect_err(|error| said(error)).ok()?;
    trouble.iter().for_each(said);
    let told = spec::control::Certificate { sha256: certificate.sha256() };
    let server = certificate.server().inspect_err(|error| said(error)).ok()?;
    let params = serde_json::to_vec(&told).unwrap_or_default();
    if let Err(fault) = gateway.control.ask(spec::control::CERTIFICATE, &params).await {
        tracing::warn!(reason = fault.message, "init does not take down the certificate");
    }
    Some((TlsAcceptor::from(Arc::new(server)), told.sha256))
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
