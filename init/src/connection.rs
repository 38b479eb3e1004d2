//! One peer of init: a client of its socket, or the gateway at the other end of the control channel. Messages are lines;
//! everything is bounded, and nothing waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use spec::Name;

use crate::sys::{self, Interest};

/// The longest request.
pub(crate) const LONGEST_LINE: usize = 64 * 1024;
/// The longest answer of `logd`: all lines that it keeps, a quarter of this in memory, with what JSON adds.
pub(crate) const LONGEST_ANSWER: usize = 1024 * 1024;
/// What is read from one peer in one turn of the loop.
const TURN: usize = 64 * 1024;
/// What may wait to be read by the peer. The largest answer, all log lines that are kept, is below it.
const LARGEST_QUEUE: usize = 4 * 1024 * 1024;

/// How many descriptors of one peer wait to be taken.
const MOST_ATTACHED: usize = 4;

/// What a peer said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Line(Vec<u8>),
    /// A line that was too long, which is not kept.
    TooLong,
}

/// The peer is to be let go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("it does not read what it is sent")]
    DoesNotRead,
    #[error("its connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Which log lines a peer follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Follows {
    Nothing,
    Everything,
    One(Name),
}

struct Message {
    bytes: Vec<u8>,
    sent: usize,
    attached: Vec<OwnedFd>,
}

/// A connection to a peer.
pub(crate) struct Connection {
    socket: UnixStream,
    /// The longest line that is heard.
    longest: usize,
    begun: Vec<u8>,
    /// Whether the line that is being read is too long and thrown away.
    skips: bool,
    /// Descriptors that came and that no message was answered for yet.
    attached: VecDeque<OwnedFd>,
    /// The peer will say no more.
    pub(crate) is_finished: bool,
    queue: VecDeque<Message>,
    queued: usize,
    pub(crate) follows: Follows,
    /// What is being waited for.
    pub(crate) registered: Interest,
}

impl Connection {
    /// A connection over a socket that does not block, whose lines are not longer than `longest`.
    pub(crate) fn new(socket: UnixStream, longest: usize) -> Self {
        Self {
            socket,
            longest,
            begun: Vec::new(),
            skips: false,
            attached: VecDeque::new(),
            is_finished: false,
            queue: VecDeque::new(),
            queued: 0,
            follows: Follows::Nothing,
            registered: Interest::READ,
        }
    }

    /// What is to be waited for.
    pub(crate) fn interest(&self) -> Interest {
        Interest { read: !self.is_finished, write: !self.queue.is_empty(), notice: false }
    }

    /// Whether nothing is left to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Reads what is there, within the bounds of one turn.
    pub(crate) fn hear(&mut self) -> Result<Vec<Heard>, Lost> {
        let mut buffer = vec![0; TURN];
        let count = match sys::receive_attached(&self.socket, &mut buffer, &mut self.attached) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            other => other?,
        };
        self.is_finished = count == 0;
        self.attached.truncate(MOST_ATTACHED);
        let bytes = buffer.get(..count).unwrap_or_default();
        Ok(bytes.split_inclusive(|&byte| byte == b'\n').filter_map(|piece| self.take(piece)).collect())
    }

    /// The descriptor that came first and was not taken yet. They come in the order of the messages that they belong to;
    /// a peer that attaches them to others confuses nobody but itself.
    pub(crate) fn take_attached(&mut self) -> Option<OwnedFd> {
        self.attached.pop_front()
    }

    /// Adds a piece that holds no more than one line's end, at its own end.
    fn take(&mut self, piece: &[u8]) -> Option<Heard> {
        if !self.skips {
            self.begun.extend_from_slice(piece);
        }
        if self.begun.len() > self.longest {
            self.begun = Vec::new();
            self.skips = true;
        }
        if !piece.ends_with(b"\n") {
            return None;
        }
        if std::mem::take(&mut self.skips) {
            return Some(Heard::TooLong);
        }
        let line = std::mem::take(&mut self.begun);
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        (!is_blank).then_some(Heard::Line(line))
    }

    /// Sends `text`, a line or several, with descriptors attached to its first byte; what does not fit now follows
    /// when the peer has read.
    pub(crate) fn send(&mut self, text: String, attached: Vec<OwnedFd>) -> Result<(), Lost> {
        if self.queued.saturating_add(text.len()) > LARGEST_QUEUE {
            return Err(Lost::DoesNotRead);
        }
        self.queued += text.len();
        self.queue.push_back(Message { bytes: text.into_bytes(), sent: 0, attached });
        self.flush()
    }

    /// Sends what waits, as far as it fits.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        while let Some(message) = self.queue.front_mut() {
            let rest = message.bytes.get(message.sent..).unwrap_or_default();
            match sys::send(&self.socket, rest, &message.attached) {
                Ok(count) => {
                    message.attached.clear();
                    message.sent += count;
                    self.queued = self.queued.saturating_sub(count);
                    if message.sent >= message.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn connected() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        (Connection::new(ours, LONGEST_LINE), theirs)
    }

    #[test]
    fn lines_come_whole_and_blank_ones_do_not_count() {
        let (mut connection, mut peer) = connected();
        peer.write_all(b"one\n\n  \ntw").expect("written");
        assert_eq!(connection.hear().expect("heard"), [Heard::Line(b"one\n".to_vec())]);
        peer.write_all(b"o\n").expect("written");
        assert_eq!(connection.hear().expect("heard"), [Heard::Line(b"two\n".to_vec())]);
        drop(peer);
        assert_eq!(connection.hear().expect("heard"), []);
        assert!(connection.is_finished);
    }

    #[test]
    fn a_line_that_is_too_long_costs_no_memory_and_the_next_one_is_heard() {
        let (mut connection, mut peer) = connected();
        let writer = std::thread::spawn(move || {
            peer.write_all(&vec![b'x'; 3 * 1024 * 1024]).expect("written");
            peer.write_all(b"\nnext\n").expect("written");
            peer
        });
        let mut heard = Vec::new();
        while heard.len() < 2 {
            heard.extend(connection.hear().expect("heard"));
            assert!(connection.begun.len() <= LONGEST_LINE);
        }
        assert_eq!(heard, [Heard::TooLong, Heard::Line(b"next\n".to_vec())]);
        writer.join().expect("joined");
    }

    #[test]
    fn a_peer_that_does_not_read_is_let_go() {
        let (mut connection, mut peer) = connected();
        let text = "y".repeat(1024 * 1024);
        let lost = (0..10).find_map(|_| connection.send(text.clone(), Vec::new()).err());
        assert!(matches!(lost, Some(Lost::DoesNotRead)));
        let mut buffer = vec![0; 100];
        peer.read_exact(&mut buffer).expect("what was sent before is there");
        connection.flush().expect("goes on as far as it fits");
    }
}
