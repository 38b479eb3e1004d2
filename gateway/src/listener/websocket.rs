//! WebSocket: `/ws` on a TCP listener, a JSON text a frame. Who may come in is for the door to say (`door`).
//!
//! A message above [`OUTSIDE_LIMIT`] is answered with an error and the connection goes on; one above
//! [`TRANSPORT_LIMIT`] cannot be passed over, so it is answered and the connection closed with code 1009. A text frame
//! that is not UTF-8 ends the connection with code 1007, as RFC 6455 (8.1) demands; it is answered too.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Sink, Stream};
use spec::caller::code;
use tokio_tungstenite::tungstenite;
use tokio_util::bytes::Bytes;

use super::door::Door;
use super::tcp::Ends;
use crate::frame::{End, Piece, stray};
use crate::link::{Incoming, Link};
use crate::message::{self, Fault, OUTSIDE_LIMIT};
use crate::session::Session;

/// The largest message that is read at all, in bytes.
const TRANSPORT_LIMIT: usize = 32 << 20;

/// Takes in a connection.
pub(crate) async fn upgrade(
    State(door): State<Arc<Door>>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    // Before it is looked who comes, so that nobody comes in by a token that is void meanwhile.
    let era = door.tokens.era();
    let identity = match door.judge(&headers, &uri).map(|()| door.identify(ends, &headers)) {
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
        let session = Session::new(Arc::clone(&gateway), identity, era);
        // Of the tracked sessions, so that the gateway waits for it when it stops.
        let _ = gateway.sessions.spawn(session.run(WebSocketLink::new(socket))).await;
        drop(seat);
    })
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
