//! The channel to init: it tells of Arcs and of services, and does what `system.*` asks.
//!
//! Newline JSON-RPC on a UNIX stream (`spec::control`). With each [`ARC_ADDED`] come two descriptors, with each
//! [`EGRESS_PORT`] one; descriptors and messages arrive in the same order, so the first descriptor that waits belongs to
//! the next such message.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::Deserialize;
use serde_json::value::RawValue;
use spec::caller::code;
use spec::control::{
    ARC_ADDED, ARC_REMOVED, ArcAdded, ByName, EGRESS_PORT, Fingerprints, NETWORK_SOCKET, REDACT, SERVICE_STATE,
    ServiceInfo,
};
use spec::{Manifest, Name, Origin};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::bytes::Bytes;

use crate::arc::Answer;
use crate::frame::{Decoder, Newline, Piece};
use crate::message::{self, ARC_LIMIT, Fault, part};

/// How long init may take for what it is asked: to stop a service and start it again takes the sum of both time-outs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// So many requests wait to be written; who makes more waits.
const QUEUE: usize = 32;

/// So many descriptors come with one read at the most.
const DESCRIPTORS: usize = 8;

/// What init tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// There is an Arc, or it has a new manifest.
    ArcAdded {
        /// Its manifest.
        manifest: Box<Manifest>,
        /// Where it answers.
        socket: String,
        /// The listening socket on which it calls.
        listener: OwnedFd,
        /// The listening socket on which it finds the egress proxy.
        egress: OwnedFd,
    },
    /// An Arc that may call out has started, and this is the listening socket on its own loopback.
    EgressPort {
        /// The Arc.
        name: Name,
        /// The socket.
        listener: OwnedFd,
    },
    /// An Arc is gone.
    ArcRemoved(Name),
    /// By what secrets are found.
    Secrets(Fingerprints),
    /// How a service is doing.
    Service(ServiceInfo),
}

/// Those who wait for an answer, and for the descriptor that may come with it.
type Asker = oneshot::Sender<(Answer, Option<OwnedFd>)>;

#[derive(Default)]
struct Asked {
    by_id: HashMap<u64, Asker>,
    /// Questions whose good answers bring a descriptor; they stay when their asker has gone, for it comes all the same.
    with_descriptor: HashSet<u64>,
}

type Pending = Arc<Mutex<Asked>>;

/// Asks init.
pub(crate) struct Control {
    lines: mpsc::Sender<Vec<u8>>,
    pending: Pending,
    next_id: AtomicU64,
}

/// Why the channel cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("cannot read what init says")]
    Read(#[source] io::Error),
    #[error("init has closed the control channel")]
    Closed,
}

impl Control {
    /// Starts to write on one half of the channel, and hands over the other half to be read.
    pub(crate) fn start(stream: UnixStream) -> (Self, Incoming) {
        let (read, write) = stream.into_split();
        let (lines, to_write) = mpsc::channel(QUEUE);
        let pending = Pending::default();
        tokio::spawn(write_lines(write, to_write));
        let decoder = Decoder::new(Newline::Always, ARC_LIMIT);
        let incoming = Incoming { read, decoder, descriptors: VecDeque::new(), pending: Arc::clone(&pending) };
        (Self { lines, pending, next_id: AtomicU64::new(1) }, incoming)
    }

    /// Asks init for `method`; `params` is JSON.
    pub(crate) async fn ask(&self, method: &str, params: &[u8]) -> Answer {
        self.exchange(method, params, false).await?.0
    }

    /// Asks init for a socket in the network of a service.
    pub(crate) async fn ask_for_socket(&self, service: &Name) -> Result<OwnedFd, Fault> {
        let params = format!("{{\"name\":\"{service}\"}}");
        let (answer, descriptor) = self.exchange(NETWORK_SOCKET, params.as_bytes(), true).await?;
        answer?;
        descriptor.ok_or_else(|| Fault::new(code::INTERNAL, "init sent no socket"))
    }

    async fn exchange(
        &self,
        method: &str,
        params: &[u8],
        with_descriptor: bool,
    ) -> Result<(Answer, Option<OwnedFd>), Fault> {
        let gone = || Fault::new(code::INTERNAL, "init does not answer: see its own log");
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.by_id.insert(id, sender);
            if with_descriptor {
                pending.with_descriptor.insert(id);
            }
        }
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":");
        let line = [head.as_bytes(), params, b"}\n"].concat();
        let _forget = Forget { pending: &self.pending, id };
        self.lines.send(line).await.map_err(|_| gone())?;
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }
}

/// Forgets a request when its asker has gone.
struct Forget<'p> {
    pending: &'p Pending,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&self.id);
    }
}

async fn write_lines(mut write: OwnedWriteHalf, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if let Err(error) = write.write_all(&line).await {
            tracing::error!(%error, "cannot write to init");
            return;
        }
    }
}

/// The half on which init speaks.
pub(crate) struct Incoming {
    read: OwnedReadHalf,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    pending: Pending,
}

#[derive(Deserialize)]
struct Message<'m> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "message::present")]
    result: Option<&'m RawValue>,
    #[serde(default)]
    error: Option<InitError>,
}

#[derive(Deserialize)]
struct InitError {
    code: i32,
    message: String,
}

impl Incoming {
    /// What init tells next. Answers go to those who asked, on the way.
    ///
    /// # Errors
    /// The channel ended or broke.
    pub(crate) async fn next(&mut self) -> Result<Event, ControlError> {
        loop {
            while let Some(piece) = self.decoder.next() {
                let Piece::Frame { text, .. } = piece else {
                    tracing::error!("init sent a message that is too long");
                    continue;
                };
                match self.take(&text) {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => {}
                    Err(problem) => tracing::error!(problem, "init sent what the gateway cannot use"),
                }
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), ControlError> {
        let mut buffer = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let stream: &UnixStream = self.read.as_ref();
        let descriptors = &mut self.descriptors;
        let length = stream
            .async_io(Interest::READABLE, || {
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let mut parts = [IoSliceMut::new(&mut buffer)];
                let received = rustix::net::recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        descriptors.extend(rights);
                    }
                }
                Ok(received.bytes)
            })
            .await
            .map_err(ControlError::Read)?;
        if length == 0 {
            return Err(ControlError::Closed);
        }
        self.decoder.feed(buffer.get(..length).unwrap_or_default());
        Ok(())
    }

    fn take(&mut self, text: &Bytes) -> Result<Option<Event>, String> {
        let message: Message<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let params = message.params.map_or("null", RawValue::get);
        match (message.method.as_deref(), message.id) {
            (None, Some(id)) => {
                let answer = message.answer(text);
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                let brings_one = pending.with_descriptor.remove(&id) && answer.is_ok();
                let asker = pending.by_id.remove(&id);
                drop(pending);
                let descriptor = if brings_one { Some(self.attached()?) } else { None };
                if let Some(asker) = asker {
                    // Who has gone meanwhile wants no answer.
                    let _ = asker.send((answer, descriptor));
                }
                Ok(None)
            }
            (Some(ARC_ADDED), _) => self.arc_added(params).map(Some),
            (Some(EGRESS_PORT), _) => {
                let listener = self.attached()?;
                let ByName { name } = serde_json::from_str(params).map_err(|error| error.to_string())?;
                Ok(Some(Event::EgressPort { name, listener }))
            }
            (Some(ARC_REMOVED), _) => {
                let ByName { name } = serde_json::from_str(params).map_err(|error| error.to_string())?;
                Ok(Some(Event::ArcRemoved(name)))
            }
            (Some(REDACT), _) => {
                let fingerprints = serde_json::from_str(params).map_err(|error| error.to_string())?;
                Ok(Some(Event::Secrets(fingerprints)))
            }
            (Some(SERVICE_STATE), _) => {
                let service = serde_json::from_str(params).map_err(|error| error.to_string())?;
                Ok(Some(Event::Service(service)))
            }
            _ => Ok(None),
        }
    }

    fn arc_added(&mut self, params: &str) -> Result<Event, String> {
        let listener = self.attached()?;
        let egress = self.attached()?;
        let ArcAdded { manifest, socket, egress: granted, serves } =
            serde_json::from_str(params).map_err(|error| error.to_string())?;
        // init has judged it already, and knows whose it is.
        let mut manifest = Manifest::parse("arc.toml", &manifest, Origin::System).map_err(|error| error.to_string())?;
        manifest.cage.egress.extend(granted);
        // Who takes a port takes what others send there.
        manifest.cage.serves = manifest.cage.serves.filter(|_| serves);
        Ok(Event::ArcAdded { manifest: Box::new(manifest), socket, listener, egress })
    }

    /// The descriptor that belongs to the message at hand.
    fn attached(&mut self) -> Result<OwnedFd, String> {
        self.descriptors.pop_front().ok_or_else(|| "a message without its descriptor".to_owned())
    }
}

impl Message<'_> {
    fn answer(&self, text: &Bytes) -> Answer {
        match (&self.error, self.result) {
            (Some(error), _) => Err(Fault::new(error.code, error.message.clone())),
            (None, Some(result)) => Ok(part(text, result)),
            (None, None) => Err(Fault::new(code::INTERNAL, "init answered neither a result nor an error")),
        }
    }
}
