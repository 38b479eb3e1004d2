//! Where callers come in: UNIX sockets, and WebSocket over loopback TCP.

pub(crate) mod unix;
pub(crate) mod websocket;
