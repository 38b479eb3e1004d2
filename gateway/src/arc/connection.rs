//! The one connection to an Arc: many requests in flight on it, answers in any order.
//!
//! A request is written by whoever makes it, straight to the socket; only what the socket does not take at once waits
//! in a backlog, which the connection's own task writes. No lock is held across an await. One alarm serves the
//! time-outs of all requests: a timer for each would wake the runtime's driver at each call.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::Shutdown;
use spec::caller::code;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::bytes::{Buf, BytesMut};

use super::received::{self, Answer, Received};
use crate::frame::{Decoder, Newline, Piece};
use crate::message::{self, ARC_LIMIT, Fault};
use crate::notice::Progress;

/// Above so many bytes that an Arc has not taken yet, further requests wait until it has.
const BACKLOG: usize = 1 << 20;

/// What is read at once; a socket's buffer holds about 200 KB.
const READ: usize = 64 << 10;

/// A connection, shared by all who have requests on it.
pub(crate) struct Connection {
    arc: spec::Name,
    stream: OwnedWriteHalf,
    next_id: AtomicU64,
    state: Mutex<State>,
    /// The task has something to write, to wait for, or to end.
    wake: Notify,
    /// The backlog went down.
    room: Notify,
    /// The Arc says that its tools are others now.
    on_tools_changed: Box<dyn Fn() + Send + Sync>,
    peer: Peer,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An Arc that knows the protocol inside, on a socket of its own.
    Ours,
    /// A server on its standard input and output, which may write there what is no message. It does not know how to end
    /// when nobody needs it: the gateway ends the connection when there was nothing to do for `idle`.
    Foreign { idle: Option<Duration> },
}

/// So many lines that are no messages are passed over on one connection.
const NOISE: u32 = 1000;
/// So many of them are said.
const NOISE_SAID: u32 = 3;

struct State {
    pending: HashMap<u64, Pending>,
    backlog: BytesMut,
    /// When to look for requests that are late: no later than the first of them is.
    alarm: Option<Instant>,
    /// Takes no further requests; ends once all are answered.
    draining: bool,
    /// Who ended it, once somebody has.
    ended: Option<Ended>,
    /// How many lines were no messages.
    noise: u32,
    /// When it was last asked for something or answered.
    used: Instant,
}

/// Who ended a connection.
enum Ended {
    Peer,
    /// The gateway, with why.
    Us(String),
}

struct Pending {
    answer: oneshot::Sender<Option<Answer>>,
    progress: Option<Progress>,
    deadline: Instant,
}

/// A request that was sent. Dropping it before it is answered cancels it.
pub(crate) struct InFlight {
    connection: Arc<Connection>,
    id: u64,
    answer: oneshot::Receiver<Option<Answer>>,
    is_over: bool,
}

impl Connection {
    /// Takes over `stream` and serves it until it ends. `on_tools_changed` is called when the Arc says so.
    pub(crate) fn start(
        arc: spec::Name,
        stream: UnixStream,
        peer: Peer,
        on_tools_changed: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (read, stream) = stream.into_split();
        let connection = Arc::new(Self {
            arc,
            stream,
            next_id: AtomicU64::new(1),
            state: Mutex::new(State {
                pending: HashMap::new(),
                backlog: BytesMut::new(),
                alarm: None,
                draining: false,
                ended: None,
                noise: 0,
                used: Instant::now(),
            }),
            wake: Notify::new(),
            room: Notify::new(),
            on_tools_changed: Box::new(on_tools_changed),
            peer,
        });
        tokio::spawn(Arc::clone(&connection).serve(read));
        connection
    }

    /// Whether further requests can be made.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        !state.draining && state.ended.is_none()
    }

    /// Sends the line that `write` writes, given the id and whether progress is wanted. `None`: the connection takes no
    /// more, which may have become so a moment ago.
    pub(crate) async fn request(
        self: &Arc<Self>,
        progress: &mut Option<Progress>,
        timeout: Duration,
        write: impl FnOnce(u64, bool) -> Vec<u8>,
    ) -> Option<InFlight> {
        let deadline = Instant::now() + timeout;
        let has_room = timeout_at(deadline, self.wait_for_room()).await.is_ok();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = write(id, progress.is_some());
        let (sender, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.draining || state.ended.is_some() {
            return None;
        }
        if has_room {
            if !self.write(&mut state, &line) {
                // The other end is gone, which was not read yet: the Arc has heard nothing of it.
                state.draining = true;
                self.wake.notify_one();
                return None;
            }
            state.used = Instant::now();
            state.pending.insert(id, Pending { answer: sender, progress: progress.take(), deadline });
            if state.alarm.is_none_or(|alarm| deadline < alarm) {
                state.alarm = Some(deadline);
                self.wake.notify_one();
            }
        } else {
            // Its time was up before the Arc could hear of it.
            let _ = sender.send(None);
        }
        Some(InFlight { connection: Arc::clone(self), id, answer, is_over: false })
    }

    /// Why the gateway ended it, if it has.
    pub(crate) fn why_ended(&self) -> Option<String> {
        let state = self.lock();
        let Some(Ended::Us(why)) = &state.ended else { return None };
        Some(why.clone())
    }

    /// Sends a line to which no answer is expected.
    pub(crate) fn tell(&self, line: &[u8]) {
        self.write(&mut self.lock(), line);
    }

    /// Ends the connection; what is in flight is answered with `reason`.
    pub(crate) fn end(&self, reason: &str) {
        self.lock().ended.get_or_insert_with(|| Ended::Us(reason.to_owned()));
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            if self.lock().backlog.len() <= BACKLOG {
                return;
            }
            room.await;
        }
    }

    /// Writes `line` at once as far as the socket takes it, in order with what waits; `false`: it took nothing and never
    /// will. What goes wrong later shows when reading.
    fn write(&self, state: &mut State, line: &[u8]) -> bool {
        let written = match state.backlog.is_empty().then(|| self.stream.try_write(line)) {
            None => 0,
            Some(Ok(written)) => written,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Some(Err(_)) => return false,
        };
        if let Some(rest) = line.get(written..).filter(|rest| !rest.is_empty()) {
            state.backlog.extend_from_slice(rest);
            self.wake.notify_one();
        }
        true
    }

    async fn serve(self: Arc<Self>, read: OwnedReadHalf) {
        if let Err(error) = self.read_and_write(read).await {
            tracing::debug!(arc = %self.arc, %error, "the connection broke");
        }
        let mut state = self.lock();
        let reason = match state.ended.get_or_insert(Ended::Peer) {
            Ended::Us(why) => why.clone(),
            Ended::Peer => {
                format!("{} ended while it was working on this call; it is being started again: try again", self.arc)
            }
        };
        let pending = mem::take(&mut state.pending);
        state.backlog.clear();
        drop(state);
        self.room.notify_waiters();
        // The Arc may wait for this end; whoever still holds this connection does not need it.
        let stream: &UnixStream = self.stream.as_ref();
        let _ = rustix::net::shutdown(stream, Shutdown::Both);
        for pending in pending.into_values() {
            let _ = pending.answer.send(Some(Err(Fault::new(code::INTERNAL, reason.clone()))));
        }
    }

    /// Goes on until the connection ends.
    async fn read_and_write(&self, mut read: OwnedReadHalf) -> io::Result<()> {
        let mut decoder = Decoder::new(Newline::Always, ARC_LIMIT);
        let mut buffer = vec![0; READ];
        let alarm = sleep_until(Instant::now());
        tokio::pin!(alarm);
        let mut alarm_at = None;
        while let Some((has_backlog, wanted)) = self.what_to_do() {
            if alarm_at != wanted {
                alarm_at = wanted;
                wanted.into_iter().for_each(|at| Sleep::reset(alarm.as_mut(), at));
            }
            tokio::select! {
                length = read.read(&mut buffer) => {
                    let Some(bytes @ [_, ..]) = buffer.get(..length?) else { return Ok(()) };
                    decoder.feed(bytes);
                    while let Some(piece) = decoder.next() {
                        self.take(piece)?;
                    }
                    if decoder.is_endless() {
                        tracing::warn!(arc = %self.arc, "sends a message without an end: the connection is closed");
                        self.end(&format!("{} sent an answer without an end, and its connection was closed", self.arc));
                    }
                }
                writable = self.stream.writable(), if has_backlog => {
                    writable?;
                    self.write_backlog()?;
                }
                () = self.wake.notified() => {}
                () = &mut alarm, if alarm_at.is_some() => self.end_late_requests(),
            }
        }
        Ok(())
    }

    /// Whether there is something to write, and when the alarm goes off; `None` when the connection is over.
    fn what_to_do(&self) -> Option<(bool, Option<Instant>)> {
        let state = self.lock();
        let is_done = state.draining && state.pending.is_empty() && state.backlog.is_empty();
        let alarm = state.alarm.into_iter().chain(self.idle_end(&state)).min();
        (state.ended.is_none() && !is_done).then(|| (!state.backlog.is_empty(), alarm))
    }

    /// When nothing was to be done for long enough; `None` while something is.
    fn idle_end(&self, state: &State) -> Option<Instant> {
        let Peer::Foreign { idle: Some(idle) } = self.peer else { return None };
        state.pending.is_empty().then(|| state.used + idle)
    }

    fn write_backlog(&self) -> io::Result<()> {
        let mut state = self.lock();
        while !state.backlog.is_empty() {
            match self.stream.try_write(&state.backlog) {
                Ok(written) => state.backlog.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if state.backlog.len() <= BACKLOG {
            self.room.notify_waiters();
        }
        Ok(())
    }

    /// Ends the requests whose time is up, and sets the alarm for the next; ends the connection where it was idle.
    fn end_late_requests(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        if self.idle_end(&state).is_some_and(|end| end <= now) {
            state.draining = true;
        }
        let late: Vec<u64> =
            state.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.withdraw(&mut state, id) {
                let _ = pending.answer.send(None);
            }
        }
        state.alarm = state.pending.values().map(|pending| pending.deadline).min();
    }

    /// Forgets a request that nobody waits for any more, and tells the Arc.
    fn withdraw(&self, state: &mut State, id: u64) -> Option<Pending> {
        let pending = state.pending.remove(&id)?;
        let cancelled = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}\n"
        );
        self.write(state, cancelled.as_bytes());
        Some(pending)
    }

    /// Handles what the Arc sent. An error ends the connection: an answer that belongs to nobody known.
    fn take(&self, piece: Piece) -> io::Result<()> {
        let text = match piece {
            Piece::Frame { text, .. } => text,
            Piece::TooLong { id, .. } => {
                let limit = ARC_LIMIT >> 20;
                let fault = format!("{} answered with more than {limit} MiB, the most that is taken", self.arc);
                let id = id.and_then(|id| serde_json::from_slice(&id).ok());
                self.answer(id.ok_or_else(|| io::Error::other(fault.clone()))?, Err(Fault::new(code::INTERNAL, fault)));
                return Ok(());
            }
        };
        match received::read(&text) {
            Ok(Received::Answer { id, answer }) => self.answer(id, answer),
            Ok(Received::Request { id, method }) => {
                let id = id.get().as_bytes();
                let mut line = if method == "ping" {
                    message::result(id, b"{}")
                } else {
                    let method: String = method.chars().take(100).collect();
                    let words = format!("the gateway does not offer {method} to Arcs");
                    message::error(Some(id), &Fault::new(code::METHOD_NOT_FOUND, words))
                };
                line.push(b'\n');
                let mut state = self.lock();
                self.write(&mut state, &line);
                if state.backlog.len() > 2 * BACKLOG {
                    return Err(io::Error::other("it asks and does not read"));
                }
            }
            Ok(Received::Progress { token, params }) => {
                let state = self.lock();
                let progress = state.pending.get(&token).and_then(|pending| pending.progress.as_ref());
                progress.into_iter().for_each(|progress| progress.pass(params));
            }
            Ok(Received::ToolsChanged) => (self.on_tools_changed)(),
            Ok(Received::Draining) => self.lock().draining = true,
            Ok(Received::Other) => {}
            Err(_) if self.peer != Peer::Ours => return self.pass_over(&text),
            Err(error) => {
                tracing::warn!(arc = %self.arc, %error, "sent what is no JSON-RPC message: the connection is closed");
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Passes over a line that is no message: a greeting, or a log that belongs on standard error.
    fn pass_over(&self, line: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.noise += 1;
        if state.noise <= NOISE_SAID {
            let line: String = String::from_utf8_lossy(line).trim_end().chars().take(200).collect();
            tracing::warn!(arc = %self.arc, line, "wrote what is no MCP message to its standard output: passed over");
        }
        if state.noise <= NOISE {
            return Ok(());
        }
        let words = format!(
            "{} wrote {NOISE} lines to its standard output that are no MCP messages: it must write its log to standard error",
            self.arc
        );
        tracing::warn!(arc = %self.arc, "{words}");
        state.ended.get_or_insert_with(|| Ended::Us(words.clone()));
        Err(io::Error::other(words))
    }

    fn answer(&self, id: u64, answer: Answer) {
        let mut state = self.lock();
        state.used = Instant::now();
        let pending = state.pending.remove(&id);
        drop(state);
        if let Some(pending) = pending {
            let _ = pending.answer.send(Some(answer));
        }
    }
}

impl InFlight {
    /// The answer; `None` when it does not come in time.
    pub(crate) async fn answer(mut self) -> Option<Answer> {
        let answer = (&mut self.answer).await;
        self.is_over = true;
        answer.unwrap_or_else(|_| Some(Err(Fault::new(code::INTERNAL, "the connection ended: try again"))))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_over {
            let connection = &self.connection;
            connection.withdraw(&mut connection.lock(), self.id);
            // It may have been the last that a connection about to end was waiting for.
            connection.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_arc_that_is_gone_cannot_have_heard_is_for_the_next_connection() {
        let (own, other) = UnixStream::pair().expect("a pair");
        let connection = Connection::start("kv".parse().expect("a name"), own, Peer::Ours, || ());
        let request = async || {
            let line = |id, _| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n").into_bytes();
            connection.request(&mut None, Duration::from_secs(10), line).await
        };
        let first = request().await.expect("it is open");
        other.readable().await.expect("the first has arrived");
        drop(other);
        // Nothing has read yet that it is gone.
        assert!(connection.is_open());
        assert!(request().await.is_none(), "the second cannot arrive");
        assert!(!connection.is_open());
        let answer = first.answer().await.expect("in time").expect_err("nobody answers");
        assert!(answer.message.contains("while it was working on this call"), "{}", answer.message);
    }
}
