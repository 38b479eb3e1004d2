//! A client of the gateway: many requests on one connection, each with its own stream of events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use spec::Token;
use spec::caller::Failure;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};

use crate::address::Address;
use crate::catalogue::{Catalogue, Page};
use crate::failure::Error;
use crate::message::{PROTOCOL_VERSION, Progress, Received, Request, notification};
use crate::transport::{self, Incoming, Outgoing};

/// How long a gateway that accepted the connection may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// How long the word that a call is cancelled may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// What happens to a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// It is getting on.
    Progress(Progress),
    /// It ended. Nothing comes after this.
    Answer(Result<Value, Failure>),
}

/// A call under way.
pub(crate) struct Call {
    id: u64,
    events: UnboundedReceiver<Event>,
}

impl Call {
    /// What happens next; `None` when the connection is gone. Loses nothing when dropped half-way.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// A connection that has said hello. Dropping it closes it.
pub(crate) struct Client {
    address: Address,
    /// What the gateway calls itself: name and version.
    server: String,
    outgoing: UnboundedSender<Outbound>,
    next_id: AtomicU64,
    shared: Arc<Shared>,
}

/// A message on its way out.
struct Outbound {
    text: String,
    /// Told when it has left.
    left: Option<oneshot::Sender<()>>,
}

impl From<String> for Outbound {
    fn from(text: String) -> Self {
        Self { text, left: None }
    }
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Calls>,
    /// Told when the catalogue changed, and when the connection ended.
    news: Notify,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u64, UnboundedSender<Event>>,
    /// Why the connection ended, once it has.
    ended: Option<String>,
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every call: their channels close.
    fn end(&self, reason: String) {
        let mut calls = self.calls();
        calls.ended.get_or_insert(reason);
        calls.waiting.clear();
        self.news.notify_one();
    }
}

impl Client {
    /// Connects to the first of `candidates` that answers. `token` is shown where it
    /// is reached over the network; `name` is what the client calls itself.
    ///
    /// # Errors
    /// None answers: that of the first.
    pub(crate) async fn connect(candidates: &[Address], token: Option<&Token>, name: &str) -> Result<Self, Error> {
        let mut first_error = None;
        for address in candidates {
            match Self::greet(address, token, name).await {
                Ok(client) => return Ok(client),
                Err(reason) => {
                    first_error.get_or_insert(Error::Unreachable { address: address.clone(), reason });
                }
            }
        }
        Err(first_error.unwrap_or(Error::NotFound { looked: Vec::new() }))
    }

    async fn greet(address: &Address, token: Option<&Token>, name: &str) -> Result<Self, String> {
        let greeting = async {
            let (incoming, outgoing) = transport::connect(address, token).await?;
            let mut client = Self::start(address.clone(), incoming, outgoing);
            let hello = json!({
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {},
                "clientInfo": {"name": name, "version": env!("CARGO_PKG_VERSION")},
            });
            let result = client.ask("initialize", hello).await.map_err(|error| match error {
                Error::Lost { reason, .. } => reason,
                other => other.to_string(),
            })?;
            let part = |key: &str| result.pointer(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            client.server = format!("{} {}", part("/serverInfo/name"), part("/serverInfo/version"));
            client.send(notification("notifications/initialized", &json!({})));
            Ok(client)
        };
        let late = || Err(format!("no word from it within {} s", HELLO.as_secs()));
        tokio::time::timeout(HELLO, greeting).await.unwrap_or_else(|_| late())
    }

    fn start(address: Address, mut incoming: Incoming, mut outgoing: Outgoing) -> Self {
        let shared = Arc::<Shared>::default();
        let (sender, mut to_send) = unbounded_channel::<Outbound>();
        let of_writer = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(Outbound { text, left }) = to_send.recv().await {
                if let Err(reason) = outgoing.send(text).await {
                    return of_writer.end(reason);
                }
                // Whoever wanted to know may have stopped waiting.
                let _ = left.map(|left| left.send(()));
            }
            outgoing.close().await;
        });
        let (of_reader, replies) = (Arc::clone(&shared), sender.downgrade());
        tokio::spawn(async move {
            loop {
                let received = match incoming.next().await {
                    Ok(Some(text)) => Received::parse(&text),
                    Ok(None) => Err("it closed the connection".to_owned()),
                    Err(reason) => Err(reason),
                };
                match received {
                    Ok(Received::Asked { reply }) => {
                        if let Some(sender) = replies.upgrade() {
                            // The writer is gone only when the connection is.
                            let _ = sender.send(reply.into());
                        }
                    }
                    Ok(received) => of_reader.deliver(received),
                    Err(reason) => return of_reader.end(reason),
                }
            }
        });
        Self { address, server: String::new(), outgoing: sender, next_id: AtomicU64::new(1), shared }
    }

    /// Where it is connected to.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Name and version of the gateway.
    pub(crate) fn server(&self) -> &str {
        self.server.trim()
    }

    /// Whether the connection has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared.calls().ended.is_some()
    }

    /// Comes back when the catalogue changed; `false`: when the connection ended.
    pub(crate) async fn tools_changed(&self) -> bool {
        self.shared.news.notified().await;
        !self.is_lost()
    }

    /// Sends a request.
    pub(crate) fn begin(&self, request: &Request) -> Call {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = unbounded_channel();
        {
            let mut calls = self.shared.calls();
            if calls.ended.is_none() {
                calls.waiting.insert(id, sender);
            }
        }
        self.send(request.to_json(id));
        Call { id, events }
    }

    /// Tells the gateway that nobody waits for the call any more. Comes back when that has left, or cannot.
    pub(crate) async fn cancel(&self, call: &Call, reason: &str) {
        self.shared.calls().waiting.remove(&call.id);
        let text = notification("notifications/cancelled", &json!({"requestId": call.id, "reason": reason}));
        let (left, has_left) = oneshot::channel();
        // The writer is gone only when the connection is, and with it the call.
        let _ = self.outgoing.send(Outbound { text, left: Some(left) });
        let _ = tokio::time::timeout(FAREWELL, has_left).await;
    }

    /// Why a call's events ended without an answer.
    pub(crate) fn lost(&self) -> Error {
        let reason = self.shared.calls().ended.clone().unwrap_or_else(|| "it closed the connection".to_owned());
        Error::Lost { address: self.address.clone(), reason }
    }

    /// Sends a request of the protocol's own and waits for its result.
    async fn ask(&self, method: &str, params: Value) -> Result<Value, Error> {
        let request = Request::Method { name: method.to_owned(), params };
        let mut call = self.begin(&request);
        while let Some(event) = call.next().await {
            if let Event::Answer(outcome) = event {
                return outcome.map_err(|failure| Error::of_tool(method, failure));
            }
        }
        Err(self.lost())
    }

    /// All tools that there are. This wakes every Arc.
    ///
    /// # Errors
    /// The gateway refused, or is gone.
    pub(crate) async fn catalogue(&self) -> Result<Catalogue, Error> {
        /// A gateway that goes on giving pages is broken.
        const PAGES_MAX: usize = 100;
        let mut catalogue = Catalogue::default();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let params = cursor.map_or_else(|| json!({}), |cursor: String| json!({"cursor": cursor}));
            let page = Page::parse(self.ask("tools/list", params).await?);
            catalogue.extend(page.tools);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(catalogue)
    }

    fn send(&self, text: String) {
        // The writer is gone only when the connection is, and then the call's events end.
        let _ = self.outgoing.send(text.into());
    }
}

impl Shared {
    fn deliver(&self, received: Received) {
        let mut calls = self.calls();
        match received {
            Received::Answer { id, outcome } => {
                if let Some(call) = calls.waiting.remove(&id) {
                    // Nobody listens to a call that was dropped.
                    let _ = call.send(Event::Answer(outcome));
                }
            }
            Received::Progress { id, progress } => {
                if let Some(call) = calls.waiting.get(&id) {
                    let _ = call.send(Event::Progress(progress));
                }
            }
            Received::ToolsChanged => self.news.notify_one(),
            Received::Asked { .. } | Received::Other => {}
        }
    }
}
