//! The one connection to an Arc: many requests in flight on it, answers in any order.
//!
//! A request is written by whoever makes it, straight to the socket; only what the socket does not take at once waits
//! in a backlog, which the connection's own task writes. No lock is held across an await.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use spec::caller::{DRAINING, code};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio_util::bytes::{Buf, Bytes, BytesMut};

use crate::frame::{Decoder, Newline, Piece};
use crate::message::{self, ARC_LIMIT, Fault, part};
use crate::notice::Progress;

/// Above so many bytes that an Arc has not taken yet, further requests wait until it has.
const BACKLOG: usize = 1 << 20;

/// What an Arc answers: the result as JSON, or its error.
pub(crate) type Answer = Result<Bytes, Fault>;

/// A connection, shared by all who have requests on it.
pub(crate) struct Connection {
    arc: spec::Name,
    stream: UnixStream,
    next_id: AtomicU64,
    state: Mutex<State>,
    /// The task has something to write, or to end.
    wake: Notify,
    /// The backlog went down.
    room: Notify,
    /// The Arc says that its tools are others now.
    on_tools_changed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    pending: HashMap<u64, Pending>,
    backlog: BytesMut,
    /// Takes no further requests; ends once all are answered.
    draining: bool,
    /// Why it ended, once it has.
    ended: Option<String>,
}

struct Pending {
    answer: oneshot::Sender<Answer>,
    progress: Option<Progress>,
}

/// A request that was sent. Dropping it before it is answered cancels it.
pub(crate) struct InFlight {
    connection: Arc<Connection>,
    id: u64,
    answer: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Connection {
    /// Takes over `stream` and serves it until it ends. `on_tools_changed` is called when the Arc says so.
    pub(crate) fn start(
        arc: spec::Name,
        stream: UnixStream,
        on_tools_changed: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let connection = Arc::new(Self {
            arc,
            stream,
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            wake: Notify::new(),
            room: Notify::new(),
            on_tools_changed: Box::new(on_tools_changed),
        });
        tokio::spawn(Arc::clone(&connection).serve());
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
        write: impl FnOnce(u64, bool) -> Vec<u8>,
    ) -> Option<InFlight> {
        self.wait_for_room().await;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = write(id, progress.is_some());
        let (sender, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.draining || state.ended.is_some() {
            return None;
        }
        state.pending.insert(id, Pending { answer: sender, progress: progress.take() });
        self.write(&mut state, &line);
        Some(InFlight { connection: Arc::clone(self), id, answer, answered: false })
    }

    /// Ends the connection; what is in flight is answered with `reason`.
    pub(crate) fn end(&self, reason: &str) {
        self.lock().ended.get_or_insert_with(|| reason.to_owned());
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

    /// Writes `line` at once as far as the socket takes it, in order with what waits. An error shows when reading.
    fn write(&self, state: &mut State, line: &[u8]) {
        let written = if state.backlog.is_empty() { self.stream.try_write(line).unwrap_or(0) } else { 0 };
        if let Some(rest) = line.get(written..).filter(|rest| !rest.is_empty()) {
            state.backlog.extend_from_slice(rest);
            self.wake.notify_one();
        }
    }

    async fn serve(self: Arc<Self>) {
        let reason = match self.read_and_write().await {
            Ok(reason) => reason,
            Err(error) => {
                tracing::debug!(arc = %self.arc, %error, "the connection broke");
                None
            }
        };
        let reason = reason.unwrap_or_else(|| {
            format!("{} ended while it was working on this call; it is being started again: try again", self.arc)
        });
        let pending = {
            let mut state = self.lock();
            let reason = state.ended.get_or_insert(reason).clone();
            state.backlog.clear();
            mem::take(&mut state.pending).into_values().zip(std::iter::repeat(reason)).collect::<Vec<_>>()
        };
        self.room.notify_waiters();
        // The Arc may wait for this end; whoever still holds this connection does not need it.
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
        for (pending, reason) in pending {
            let _ = pending.answer.send(Err(Fault::new(code::INTERNAL, reason)));
        }
    }

    /// Goes on until the connection ends; why, where it was us who ended it.
    async fn read_and_write(&self) -> io::Result<Option<String>> {
        let mut decoder = Decoder::new(Newline::Always, ARC_LIMIT);
        loop {
            let (has_backlog, is_done) = {
                let state = self.lock();
                if let Some(reason) = &state.ended {
                    return Ok(Some(reason.clone()));
                }
                (!state.backlog.is_empty(), state.draining && state.pending.is_empty() && state.backlog.is_empty())
            };
            if is_done {
                return Ok(None);
            }
            let interest = if has_backlog { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let ready = tokio::select! {
                ready = self.stream.ready(interest) => ready?,
                () = self.wake.notified() => continue,
            };
            if ready.is_writable() && has_backlog {
                self.write_backlog()?;
            }
            if ready.is_readable() && self.read(&mut decoder)? == 0 {
                return Ok(None);
            }
            while let Some(piece) = decoder.next() {
                self.take(piece)?;
            }
        }
    }

    fn read(&self, decoder: &mut Decoder) -> io::Result<usize> {
        match self.stream.try_read_buf(decoder.buffer()) {
            // Not the end of the stream, which is told by 0.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(usize::MAX),
            other => other,
        }
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

    /// Handles what the Arc sent. An error ends the connection: an answer that belongs to nobody known.
    fn take(&self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Frame { text, .. } => self.take_message(&text),
            Piece::TooLong { id, .. } => {
                let limit = ARC_LIMIT >> 20;
                let fault = format!("{} answered with more than {limit} MiB, the most that is taken", self.arc);
                let id = id.and_then(|id| serde_json::from_slice(&id).ok());
                let id = id.ok_or_else(|| io::Error::other(fault.clone()))?;
                self.answer(id, Err(Fault::new(code::INTERNAL, fault)));
                Ok(())
            }
        }
    }

    fn take_message(&self, text: &Bytes) -> io::Result<()> {
        let message: Message<'_> = serde_json::from_slice(text).map_err(|error| {
            tracing::warn!(arc = %self.arc, %error, "sent what is no JSON-RPC message: the connection is closed");
            io::Error::other(error)
        })?;
        match (message.method.as_deref(), message.id) {
            (None, Some(id)) => {
                let id = serde_json::from_str(id.get()).map_err(io::Error::other)?;
                self.answer(id, message.answer(text, &self.arc));
            }
            (Some(method), Some(id)) => {
                let fault = Fault::new(code::METHOD_NOT_FOUND, format!("the gateway does not offer {method} to Arcs"));
                let mut line = message::error(Some(id.get().as_bytes()), &fault);
                line.push(b'\n');
                self.write(&mut self.lock(), &line);
            }
            (Some("notifications/progress"), None) => self.pass_progress(message.params),
            (Some("notifications/tools/list_changed"), None) => (self.on_tools_changed)(),
            (Some(DRAINING), None) => self.lock().draining = true,
            (_, None) => {}
        }
        Ok(())
    }

    fn answer(&self, id: u64, answer: Answer) {
        let pending = self.lock().pending.remove(&id);
        if let Some(pending) = pending {
            let _ = pending.answer.send(answer);
        }
    }

    fn pass_progress(&self, params: Option<&RawValue>) {
        #[derive(Deserialize)]
        struct Token {
            #[serde(rename = "progressToken")]
            token: u64,
        }
        let Some(params) = params else { return };
        let Ok(Token { token }) = serde_json::from_str(params.get()) else { return };
        let state = self.lock();
        if let Some(progress) = state.pending.get(&token).and_then(|pending| pending.progress.as_ref()) {
            progress.pass(params);
        }
    }

    /// Forgets a request that nobody waits for any more, and tells the Arc.
    fn cancel(&self, id: u64) {
        let mut state = self.lock();
        if state.pending.remove(&id).is_some() && state.ended.is_none() {
            let cancelled = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}\n"
            );
            self.write(&mut state, cancelled.as_bytes());
        }
        drop(state);
        self.wake.notify_one();
    }
}

impl InFlight {
    /// The answer; an error after `timeout`.
    pub(crate) async fn answer(mut self, timeout: Duration) -> Option<Answer> {
        let answer = tokio::time::timeout(timeout, &mut self.answer).await.ok()?;
        self.answered = true;
        Some(answer.unwrap_or_else(|_| Err(Fault::new(code::INTERNAL, "the connection ended: try again"))))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.cancel(self.id);
        }
    }
}

/// What an Arc sends.
#[derive(Deserialize)]
struct Message<'m> {
    #[serde(borrow, default)]
    id: Option<&'m RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "message::present")]
    result: Option<&'m RawValue>,
    #[serde(borrow, default)]
    error: Option<ArcError<'m>>,
}

#[derive(Deserialize)]
struct ArcError<'m> {
    code: i32,
    message: String,
    #[serde(borrow, default)]
    data: Option<&'m RawValue>,
}

impl Message<'_> {
    fn answer(&self, frame: &Bytes, arc: &spec::Name) -> Answer {
        match (self.result, &self.error) {
            (Some(result), None) => Ok(part(frame, result)),
            (_, Some(error)) => {
                let data = error.data.map(ToOwned::to_owned);
                Err(Fault { code: error.code, message: error.message.clone(), data })
            }
            (None, None) => Err(Fault::new(code::INTERNAL, format!("{arc} answered neither a result nor an error"))),
        }
    }
}
