//! The one way out: a proxy on two sockets per Arc, one in the file system of its cage and one on its own loopback. Who
//! calls is known by the socket; what is granted stands in the manifest.
//!
//! | module | what it is |
//! | --- | --- |
//! | `address`, `grant` | which addresses and hosts may be reached: pure |
//! | `resolve` | names, asked of this machine's own servers |
//! | `proxy` | the proxy as HTTP sees it |
//! | `tunnel` | the bytes: the name in TLS is checked, then they are counted |
//! | `traffic` | how much an Arc may move |

mod address;
mod grant;
mod proxy;
mod resolve;
mod traffic;
mod tunnel;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::json;
use spec::caller::{RunId, Who, code};
use spec::{HostPort, Manifest, Name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::listener::unix;
use crate::message::Fault;
use grant::Target;
use proxy::Record;
use resolve::Names;
use traffic::Meter;

/// How long to wait when a connection cannot be accepted: most likely descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// The proxy.
pub(crate) struct Egress {
    gateway: Arc<Gateway>,
    names: Names,
    doors: Mutex<HashMap<Name, Door>>,
    /// Where the gateway itself listens: who came from there by its proxy would be taken for the owner.
    own: [Option<SocketAddr>; 2],
}

/// An Arc's way in.
struct Door {
    account: Arc<Account>,
    /// Closes the socket in its cage, and the one on its loopback.
    socket: CancellationToken,
    port: CancellationToken,
    serves: Option<u16>,
}

/// What an Arc may do here.
struct Account {
    name: Name,
    grants: Vec<HostPort>,
    meter: Meter,
    /// Ends all that goes on.
    closed: CancellationToken,
}

/// Why a host is not reached.
#[derive(Debug, thiserror::Error)]
enum Denial {
    #[error(
        "{arc} may not reach {target}: add \"{target}\" to egress in [cage] of its arc.toml, or in [grants.{arc}] of \
         llmbasedos.toml"
    )]
    NotGranted { arc: String, target: String },
    #[error(
        "{arc} may not reach {target}: its name leads to {address}, which is not in the open Internet. If that is meant, \
         add \"{address}:{port}\" to egress in [cage] of its arc.toml and ask for that address"
    )]
    Inside { arc: String, target: String, address: String, port: u16 },
    #[error("{arc} has used up {key}: raise it in [cage.traffic] of its arc.toml")]
    Exhausted { arc: String, key: &'static str },
    #[error("{target} cannot be found: {why}")]
    NotResolved { target: String, why: String },
    #[error("{0} may not reach the gateway by its proxy: it calls on $MCP_GATEWAY, where it is known")]
    Gateway(String),
    #[error("{0} cannot be reached")]
    Unreachable(String),
    #[error("{0} does not answer")]
    TimedOut(String),
}

impl Denial {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotGranted { .. } | Self::Inside { .. } | Self::Gateway(_) => StatusCode::FORBIDDEN,
            Self::Exhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotResolved { .. } | Self::Unreachable(_) => StatusCode::BAD_GATEWAY,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl Egress {
    /// `own` is where the gateway itself listens, if it does.
    pub(crate) fn new(gateway: Arc<Gateway>, own: [Option<SocketAddr>; 2]) -> Arc<Self> {
        Arc::new(Self { gateway, names: Names::default(), doors: Mutex::default(), own })
    }

    /// Whether an address is where the gateway listens on this machine's loopback, by whatever name.
    fn is_gateway(&self, address: SocketAddr) -> bool {
        let is_here = address.ip().is_loopback() || address.ip().is_unspecified();
        let is_own = |own: &SocketAddr| own.port() == address.port() && (is_here || own.ip() == address.ip());
        self.own.iter().flatten().any(is_own)
    }

    /// Opens the proxy to an Arc, on the socket in its cage; what it had before is closed.
    pub(crate) fn add(self: &Arc<Self>, manifest: &Manifest, descriptor: OwnedFd) -> io::Result<()> {
        let listener = unix::listener(descriptor)?;
        let cage = &manifest.cage;
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = doors.remove(&manifest.name) {
            old.account.closed.cancel();
        }
        let closed = self.gateway.stop.child_token();
        let account = Arc::new(Account {
            name: manifest.name.clone(),
            grants: cage.egress.clone(),
            meter: Meter::new(cage.traffic.clone()),
            closed: closed.clone(),
        });
        let socket = closed.child_token();
        let door = Door {
            account: Arc::clone(&account),
            socket: socket.clone(),
            port: closed.child_token(),
            serves: cage.serves,
        };
        doors.insert(manifest.name.clone(), door);
        drop(doors);
        let accept = async move || listener.accept().await.map(|(stream, _)| stream);
        tokio::spawn(Arc::clone(self).accept_all(account, socket, accept));
        Ok(())
    }

    /// Opens it on the Arc's own loopback, in the place of the one that ended with its last process.
    pub(crate) fn open_port(self: &Arc<Self>, name: &Name, descriptor: OwnedFd) -> io::Result<()> {
        let listener = std::net::TcpListener::from(descriptor);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(door) = doors.get_mut(name) else { return Ok(()) };
        door.port.cancel();
        door.port = door.account.closed.child_token();
        let (account, port) = (Arc::clone(&door.account), door.port.clone());
        drop(doors);
        let accept = async move || listener.accept().await.map(|(stream, _)| stream);
        tokio::spawn(Arc::clone(self).accept_all(account, port, accept));
        Ok(())
    }

    /// Closes it to an Arc that is gone.
    pub(crate) fn remove(&self, name: &Name) {
        if let Some(door) = self.doors.lock().unwrap_or_else(PoisonError::into_inner).remove(name) {
            door.socket.cancel();
            door.account.closed.cancel();
        }
    }

    async fn accept_all<S>(
        self: Arc<Self>,
        account: Arc<Account>,
        close: CancellationToken,
        accept: impl AsyncFn() -> io::Result<S>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Besides the seats of the manifest, which count what goes out: heads that never end, and refusals.
        let seats = Arc::new(tokio::sync::Semaphore::new(
            usize::try_from(account.meter.limits().connections).unwrap_or(0).saturating_mul(2).max(1),
        ));
        loop {
            let accepted = async {
                let seat = Arc::clone(&seats).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((seat, accept().await?))
            };
            match close.run_until_cancelled(accepted).await {
                None => return,
                Some(Ok((seat, stream))) => {
                    let (egress, account) = (Arc::clone(&self), Arc::clone(&account));
                    self.gateway.sessions.spawn(async move {
                        let closed = account.closed.clone();
                        closed.run_until_cancelled(proxy::serve(egress, account, stream)).await;
                        drop(seat);
                    });
                }
                Some(Err(error)) => {
                    tracing::warn!(arc = %account.name, %error, "cannot accept an egress connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The service that serves at a port of loopback, where one does: it goes before what the machine itself has there.
    fn server_at(&self, target: &Target) -> Option<Name> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let serving = doors.iter().filter(|(_, door)| target.is_loopback() && door.serves == Some(target.port));
        serving.map(|(name, _)| name).min().cloned()
    }

    /// Connects to a port on the loopback of a service, with a socket that init makes there.
    async fn connect_inside(&self, service: &Name, port: u16) -> Option<TcpStream> {
        let socket = self.gateway.control.ask_for_socket(service).await;
        let socket = socket.inspect_err(|fault| tracing::warn!(%service, reason = fault.message, "no socket")).ok()?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(address).await.inspect_err(|error| tracing::debug!(%service, %error, "cannot connect")).ok()
    }

    fn open(self: &Arc<Self>, account: &Account, target: &Target) -> Record {
        Record {
            egress: Arc::clone(self),
            arc: account.name.clone(),
            target: target.to_string(),
            address: None,
            moved: Arc::default(),
            begun: Instant::now(),
        }
    }

    /// Writes down a connection, with the runs in which it may have been made: what the Arc works on now.
    async fn write_down(&self, record: &Record, up: u64, down: u64, trouble: Option<&str>) {
        let runs: Vec<RunId> = self.gateway.runs.worked_on_by(&record.arc);
        let shown: Vec<&str> = runs.iter().map(|run| run.0.as_str()).collect();
        let (arc, host, address) = (&record.arc, &record.target, record.address.as_deref().unwrap_or("-"));
        let ms = record.begun.elapsed().as_millis();
        match trouble {
            None => tracing::info!(%arc, host, address, up, down, ms, runs = shown.join(" "), "egress"),
            Some(why) => tracing::warn!(%arc, host, address, up, down, ms, runs = shown.join(" "), why, "egress"),
        }
        let mut entry = self.gateway.audit.open(&Who::Arc(arc.clone()), &format!("egress {host}"));
        let what = json!({ "host": host, "address": address, "runs": shown }).to_string();
        let run = runs.first().cloned().unwrap_or_else(|| RunId(String::new()));
        entry.describe(&format!("egress {host}"), what.as_bytes(), &run, &self.gateway.runs.labels_of(&run));
        let outcome = match trouble {
            None => Ok(Bytes::from(json!({ "up": up, "down": down }).to_string())),
            Some(why) => Err(Fault::new(code::PERMISSION, why)),
        };
        entry.finish(&outcome).await;
    }
}
