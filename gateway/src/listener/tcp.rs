//! Connections over TCP, as they are or in TLS.
//!
//! Whoever connects is a stranger until a token is shown, and what strangers do holds up nobody else for long: each connection
//! is a task of its own, there is a bound on how many there are and on how many of them are one peer's, and a connection that
//! is no WebSocket ends by itself.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::any;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::socket_cookie;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::seats::Seats;
use super::websocket;
use crate::web;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long nothing may be asked.
const HEAD: Duration = Duration::from_secs(10);
/// How old a connection becomes that is no WebSocket: no request begins on it after that.
const AGE: Duration = Duration::from_secs(60);
/// How long its last request may still take: joining a Wi-Fi network is the longest.
const LAST: Duration = Duration::from_secs(90);
/// The most bytes of the head of a request.
const LONGEST_HEAD: usize = 32 << 10;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Who connects.
    pub(crate) peer: SocketAddr,
    /// Our own.
    pub(crate) own: SocketAddr,
    /// What the kernel tells it by from every other, one between the same ends as well.
    pub(crate) cookie: u64,
}

impl Ends {
    fn of(stream: &TcpStream, peer: SocketAddr) -> io::Result<Self> {
        Ok(Self { peer, own: stream.local_addr()?, cookie: socket_cookie(stream)? })
    }
}

/// Serves what comes in until the gateway stops, through TLS where there is an acceptor.
pub(crate) async fn serve(door: Arc<Door>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    let stop = door.gateway.stop.clone();
    let routes = Router::new().route("/ws", any(websocket::upgrade)).merge(web::routes()).with_state(door);
    serve_routes(routes, listener, acceptor, stop).await;
}

async fn serve_routes(
    routes: Router,
    mut listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let seats = Seats::new();
    loop {
        // What goes wrong in accepting is said there and waited out.
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => return,
        };
        let Some(seat) = seats.take(peer.ip()) else {
            tracing::debug!(%peer, "too many connections");
            continue;
        };
        let (routes, acceptor, stop) = (routes.clone(), acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            serve_one(routes, stream, peer, acceptor, stop).await;
            // A WebSocket goes on without it: it has a seat of its own (`Door::seats`).
            drop(seat);
        });
    }
}

async fn serve_one(
    routes: Router,
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small messages may be held back");
    }
    let ends = match Ends::of(&stream, peer) {
        Ok(ends) => ends,
        Err(error) => return tracing::debug!(%error, "a connection is gone before it begins"),
    };
    let Some(acceptor) = acceptor else { return serve_requests(routes, stream, ends, stop).await };
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_requests(routes, stream, ends, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

/// Answers until the peer closes, becomes a WebSocket, or takes too long.
async fn serve_requests(
    routes: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ends: Ends,
    stop: CancellationToken,
) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(ends));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = tokio::time::sleep(AGE) => None,
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, peer = %ends.peer, "a connection ended badly"),
        Err(_) => tracing::debug!(peer = %ends.peer, "a connection became too old"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::listener::seats::OF_ONE_PEER;

    /// A door with one page, which answers what it is sent.
    async fn door() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let routes = Router::new().route("/", post(|body: Bytes| async { body }));
        tokio::spawn(serve_routes(routes, listener, None, stop.clone()));
        (address, stop)
    }

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("it listens")
    }

    /// How long it takes until the connection is closed, and what comes before.
    async fn end(stream: &mut TcpStream) -> (Duration, String) {
        let (begin, mut read) = (Instant::now(), Vec::new());
        // Closed with bytes unread is a reset.
        let _ = stream.read_to_end(&mut read).await;
        (begin.elapsed(), String::from_utf8(read).expect("text"))
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_too_little_is_let_go() {
        let (address, _stop) = door().await;
        let table =
            [("", HEAD), ("POST / HTTP/1.1\r\nHost: a\r\n", HEAD), ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD)];
        let slow = ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nslow", AGE + LAST);
        for (said, expected) in table.into_iter().chain([slow]) {
            let mut stream = connect(address).await;
            stream.write_all(said.as_bytes()).await.expect("written");
            let (time, answer) = end(&mut stream).await;
            let late = Duration::from_secs(1);
            assert!((expected..expected + late).contains(&time), "{said}: {time:?}");
            assert_eq!(answer.starts_with("HTTP/1.1 200"), said.ends_with("a\r\n\r\n"), "{said}: {answer}");
        }
    }

    #[tokio::test]
    async fn one_peer_takes_a_part_of_the_seats_and_gives_them_back() {
        let (address, _stop) = door().await;
        let ask = async |stream: &mut TcpStream| {
            // It may be closed already.
            let _ = stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            end(stream).await.1.starts_with("HTTP/1.1 200")
        };
        let mut all = Vec::new();
        for _ in 0..OF_ONE_PEER {
            all.push(connect(address).await);
        }
        assert!(!ask(&mut connect(address).await).await, "one above what a peer has");
        let other = tokio::net::TcpSocket::new_v4().expect("a socket");
        other.bind("127.0.0.2:0".parse().expect("an address")).expect("free");
        assert!(ask(&mut other.connect(address).await.expect("it listens")).await, "others are served");
        for stream in &mut all {
            assert!(ask(stream).await);
        }
        drop(all);
        while !ask(&mut connect(address).await).await {}
    }

    #[tokio::test]
    async fn a_gateway_that_stops_ends_what_is_idle() {
        let (address, stop) = door().await;
        let mut stream = connect(address).await;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await.expect("written");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.expect("an answer");
        stop.cancel();
        assert!(end(&mut stream).await.0 < HEAD);
    }
}
