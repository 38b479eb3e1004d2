//! Where callers come in: UNIX sockets, and over TCP, with and without TLS, WebSocket and the pages of the machine.

pub(crate) mod door;
mod seats;
pub(crate) mod tcp;
pub(crate) mod unix;
pub(crate) mod websocket;
