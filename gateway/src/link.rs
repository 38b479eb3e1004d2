//! A client's connection as a session sees it, whatever carries it.

use std::task::{Context, Poll};

use crate::frame::{End, Piece};

/// What comes in on a link.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message.
    Piece(Piece),
    /// The client sends no more, but may still read.
    End,
    /// The client is gone.
    Gone,
}

/// A connection that carries messages both ways.
pub(crate) trait Link: Send {
    /// Writes what is queued as far as the client takes it and, if `read`, reads the next message.
    fn poll(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Incoming>;

    /// Queues a message for the client.
    fn queue(&mut self, text: &[u8], end: End);

    /// How many bytes the client has not taken yet.
    fn backlog(&self) -> usize;

    /// Whether the client is known to be gone; asked after [`Incoming::End`].
    fn is_gone(&self) -> bool;
}
