//! Connections over TCP, as they are or in TLS.
//!
//! What others do with a connection holds up nobody else: a TLS handshake is a task of its own, with a bound on how long
//! it takes and on how many there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use axum::serve::{Listener, ListenerExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::door::Door;
use super::websocket;
use crate::web;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many there are at once.
const HANDSHAKES: usize = 64;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Who connects.
    pub(crate) peer: SocketAddr,
    /// Our own.
    pub(crate) own: SocketAddr,
}

/// Serves what comes in as it is until the gateway stops.
pub(crate) async fn serve(door: Arc<Door>, listener: TcpListener) -> std::io::Result<()> {
    serve_from(door, Plain(listener)).await
}

/// Serves what comes in through TLS until the gateway stops.
pub(crate) async fn serve_tls(door: Arc<Door>, listener: TcpListener, acceptor: TlsAcceptor) -> std::io::Result<()> {
    serve_from(door, Tls::start(Plain(listener), acceptor)).await
}

async fn serve_from<L: Listener<Addr = Ends>>(door: Arc<Door>, listener: L) -> std::io::Result<()> {
    let stop = door.gateway.stop.clone();
    let routes = Router::new().route("/ws", any(websocket::upgrade)).merge(web::routes()).with_state(door);
    let routes = routes.into_make_service_with_connect_info::<Ends>();
    // axum tells the ends of a connection to handlers only of a listener that is tapped.
    let listener = listener.tap_io(|_| {});
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

/// Connections as they are.
struct Plain(TcpListener);

impl Plain {
    async fn next(&mut self) -> (TcpStream, Ends) {
        loop {
            // What goes wrong here is said and waited out.
            let (stream, peer) = Listener::accept(&mut self.0).await;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "small messages may be held back");
            }
            match stream.local_addr() {
                Ok(own) => return (stream, Ends { peer, own }),
                Err(error) => tracing::debug!(%error, "a connection is gone before it begins"),
            }
        }
    }
}

impl Listener for Plain {
    type Io = TcpStream;
    type Addr = Ends;

    async fn accept(&mut self) -> (TcpStream, Ends) {
        self.next().await
    }

    fn local_addr(&self) -> std::io::Result<Ends> {
        self.0.local_addr().map(|own| Ends { peer: own, own })
    }
}

/// Connections after their handshake.
struct Tls {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Ends)>,
    own: Ends,
}

impl Tls {
    fn start(mut listener: Plain, acceptor: TlsAcceptor) -> Self {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let own = listener.local_addr().unwrap_or(Ends { peer: unknown, own: unknown });
        let (done, ready) = mpsc::channel(1);
        let seats = Arc::new(Semaphore::new(HANDSHAKES));
        tokio::spawn(async move {
            while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
                let (stream, ends) = tokio::select! {
                    next = listener.next() => next,
                    () = done.closed() => return,
                };
                let (acceptor, done) = (acceptor.clone(), done.clone());
                tokio::spawn(async move {
                    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
                    drop(seat);
                    match shaken {
                        // Nobody takes it any more when the gateway stops.
                        Ok(Ok(stream)) => drop(done.send((stream, ends)).await),
                        Ok(Err(error)) => tracing::debug!(%error, peer = %ends.peer, "no TLS"),
                        Err(_) => tracing::debug!(peer = %ends.peer, "a TLS handshake took too long"),
                    }
                });
            }
        });
        Self { ready, own }
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = Ends;

    async fn accept(&mut self) -> (Self::Io, Ends) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Its task ends after this one.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Ends> {
        Ok(self.own)
    }
}
