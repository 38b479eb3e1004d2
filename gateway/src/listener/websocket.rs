//! WebSocket: `/ws` on a TCP listener, a JSON text a frame.
//!
//! On a listener that other machines reach, whoever connects must show a token; only the bare status page is for all.
//!
//! On a loopback listener it is enough to be the user that runs the system. A browser that shows a foreign page can reach loopback too. So the `Host` must be a loopback name (else the page
//! came by a DNS name that was pointed here), and an `Origin`, which browsers always send, must be this very listener.
//!
//! A message above [`OUTSIDE_LIMIT`] is answered with an error and the connection goes on; one above
//! [`TRANSPORT_LIMIT`] cannot be passed over, so it is answered and the connection closed with code 1009. A text frame
//! that is not UTF-8 ends the connection with code 1007, as RFC 6455 (8.1) demands; it is answered too.

use std::collections::VecDeque;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::{Sink, Stream};
use spec::Token;
use spec::caller::code;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite;
use tokio_util::bytes::Bytes;

use crate::frame::{End, Piece, stray};
use crate::gateway::Gateway;
use crate::identity::{self, Identity, Tokens};
use crate::link::{Incoming, Link};
use crate::message::{self, Fault, OUTSIDE_LIMIT};
use crate::session::Session;

/// The largest message that is read at all, in bytes.
const TRANSPORT_LIMIT: usize = 32 << 20;

/// How many connections there are at once.
const CONNECTIONS: usize = 256;

struct Door {
    gateway: Arc<Gateway>,
    address: SocketAddr,
    tokens: Tokens,
    seats: Arc<Semaphore>,
}

/// Takes in WebSocket connections until the gateway stops.
pub(crate) async fn serve(gateway: Arc<Gateway>, listener: TcpListener, tokens: Vec<Token>) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let stop = gateway.stop.clone();
    let tokens = Tokens::new(&tokens);
    let door = Arc::new(Door { gateway, address, tokens, seats: Arc::new(Semaphore::new(CONNECTIONS)) });
    let routes = Router::new().route("/ws", any(upgrade)).route("/", any(status)).with_state(door);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small messages may be held back");
        }
    });
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn status(State(door): State<Arc<Door>>, headers: HeaderMap, uri: Uri) -> Response {
    match door.judge(&headers, &uri) {
        Ok(()) => format!("llmbasedos gateway {}: connect to /ws\n", env!("CARGO_PKG_VERSION")).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn upgrade(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let identity = match door.judge(&headers, &uri).map(|()| door.identify(peer, &headers)) {
        Err(refusal) => return refusal.into_response(),
        Ok(Err(fault)) if door.is_open_to_others() => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, format!("{}\n", fault.message)).into_response();
        }
        Ok(identity) => identity,
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(TRANSPORT_LIMIT).max_frame_size(TRANSPORT_LIMIT),
        Err(rejection) => return rejection.into_response(),
    };
    let Ok(seat) = Arc::clone(&door.seats).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections: close one\n").into_response();
    };
    let gateway = Arc::clone(&door.gateway);
    upgrade.on_upgrade(async move |socket| {
        let session = Session::new(Arc::clone(&gateway), identity, gateway.stop.clone());
        // Of the tracked sessions, so that the gateway waits for it when it stops.
        let _ = gateway.sessions.spawn(session.run(WebSocketLink::new(socket))).await;
        drop(seat);
    })
}

impl Door {
    /// Whether other machines reach it.
    fn is_open_to_others(&self) -> bool {
        !self.address.ip().is_loopback()
    }

    /// Who connects: from elsewhere by a token, from this machine by its user.
    fn identify(&self, peer: SocketAddr, headers: &HeaderMap) -> Identity {
        if self.is_open_to_others() {
            let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            return self.tokens.of_bearer(shown);
        }
        identity::of_loopback(peer, self.address)
    }

    /// Whether a request comes from where it may come from.
    fn judge(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(header::HOST).or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
        if self.is_open_to_others() {
            let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(|origin| Some(origin) == host);
            let why = "pages of another origin may not connect\n";
            return if text(header::ORIGIN).is_none_or(is_own) { Ok(()) } else { Err((StatusCode::FORBIDDEN, why)) };
        }
        if !host.is_some_and(is_loopback_host) {
            let why = "the Host must be a loopback name: localhost or 127.0.0.1\n";
            return Err((StatusCode::MISDIRECTED_REQUEST, why));
        }
        if !text(header::ORIGIN).is_none_or(|origin| is_own_origin(origin, self.address.port())) {
            return Err((StatusCode::FORBIDDEN, "pages of another origin may not connect\n"));
        }
        Ok(())
    }
}

/// Whether `authority`, `host[:port]`, names this machine to itself.
fn is_loopback_host(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_own_origin(origin: &str, port: u16) -> bool {
    let Some(authority) = origin.strip_prefix("http://") else { return false };
    let given_port = authority.rsplit_once(':').map_or(Some(80), |(_, port)| port.parse().ok());
    given_port == Some(port) && is_loopback_host(authority)
}

/// A WebSocket connection.
struct WebSocketLink {
    socket: WebSocket,
    out: VecDeque<Message>,
    backlog: usize,
    /// Whether the socket holds what it has not written yet.
    unwritten: bool,
    /// The farewell is queued; nothing more is read.
    closing: bool,
}

impl WebSocketLink {
    fn new(socket: WebSocket) -> Self {
        Self { socket, out: VecDeque::new(), backlog: 0, unwritten: false, closing: false }
    }

    /// Hands messages to the socket as it takes them; ready when all are written, or when it broke.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        let mut socket = std::pin::Pin::new(&mut self.socket);
        while !self.out.is_empty() {
            std::task::ready!(socket.as_mut().poll_ready(context))?;
            if let Some(message) = self.out.pop_front() {
                self.backlog = self.backlog.saturating_sub(length(&message));
                socket.as_mut().start_send(message)?;
                self.unwritten = true;
            }
        }
        std::task::ready!(socket.poll_flush(context))?;
        self.unwritten = false;
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, received: Option<Result<Message, axum::Error>>) -> Option<Incoming> {
        let text = match received {
            None | Some(Ok(Message::Close(_))) => return Some(Incoming::Gone),
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return None,
            Some(Err(error)) => return self.say_farewell(&error),
        };
        if text.len() > OUTSIDE_LIMIT {
            let id = stray::id(&text).map(|id| text.slice_ref(id));
            return Some(Incoming::Piece(Piece::TooLong { id, end: End::Newline }));
        }
        Some(Incoming::Piece(Piece::Frame { text, end: End::Newline }))
    }

    /// After what the protocol cannot go on from: says why, where that is something that the client did.
    fn say_farewell(&mut self, error: &axum::Error) -> Option<Incoming> {
        let (fault, code) = match error.source().and_then(|source| source.downcast_ref::<tungstenite::Error>()) {
            Some(tungstenite::Error::Capacity(_)) => (Fault::too_long(OUTSIDE_LIMIT), close_code::SIZE),
            Some(tungstenite::Error::Utf8(_)) => {
                (Fault::new(code::PARSE, "the message is not UTF-8"), close_code::INVALID)
            }
            _ => return Some(Incoming::Gone),
        };
        self.queue(&message::error(None, &fault), End::Newline);
        let reason = Utf8Bytes::from(fault.message.chars().take(100).collect::<String>());
        self.out.push_back(Message::Close(Some(CloseFrame { code, reason })));
        self.closing = true;
        None
    }
}

impl Link for WebSocketLink {
    fn poll(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Incoming> {
        loop {
            match self.poll_write(context) {
                Poll::Ready(Err(_)) => return Poll::Ready(Incoming::Gone),
                Poll::Ready(Ok(())) if self.closing => return Poll::Ready(Incoming::Gone),
                _ if self.closing || !read => return Poll::Pending,
                _ => {}
            }
            let received = std::task::ready!(std::pin::Pin::new(&mut self.socket).poll_next(context));
            if let Some(incoming) = self.take(received) {
                return Poll::Ready(incoming);
            }
        }
    }

    fn queue(&mut self, text: &[u8], _: End) {
        match std::str::from_utf8(text) {
            Ok(text) => {
                self.backlog += text.len();
                self.out.push_back(Message::text(text));
            }
            Err(_) => tracing::error!("an answer that is not UTF-8 was dropped"),
        }
    }

    fn backlog(&self) -> usize {
        self.backlog.max(usize::from(self.unwritten))
    }

    fn is_gone(&self) -> bool {
        true
    }
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_loopback_or_refused() {
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.1.2.3:1", "[::1]:8000", "[::1]"]
        {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["", "example.com", "127.0.0.1.example.com:8000", "localhost.example.com", "10.0.0.1:8000", "[::2]", "a:b"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn origins_are_this_listener_or_refused() {
        for origin in ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"] {
            assert!(is_own_origin(origin, 8000), "{origin}");
        }
        let foreign = [
            "null",
            "",
            "http://localhost",
            "http://localhost:8001",
            "https://localhost:8000",
            "http://example.com:8000",
            "http://127.0.0.1.example.com:8000",
            "http://localhost:8000.example.com",
            "http://a@localhost:8000",
            "http://localhost:8000/x",
            "file://",
        ];
        for origin in foreign {
            assert!(!is_own_origin(origin, 8000), "{origin}");
        }
        assert!(is_own_origin("http://localhost", 80));
    }
}
