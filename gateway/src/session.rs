//! One connection of one caller: takes requests, has them answered concurrently, and writes the answers as they come.
//!
//! A session is one task. Its calls are futures of that task, so what many of them answer at once is written at once,
//! and a session that ends takes its calls with it, which cancels them at the Arcs.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use spec::caller::{Who, code};
use tokio::sync::{mpsc, watch};
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::frame::{End, Piece};
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::link::{Incoming, Link};
use crate::message::{self, Fault, OUTSIDE_LIMIT, Request};
use crate::notice::{self, Notice, TOOLS_CHANGED};
use crate::request::{self, Asker, Peer, Reply};

/// So many calls may be in flight on one connection.
const CALLS: usize = 64;

/// Above so many bytes that a client has not taken, nothing more is read from it.
const BACKLOG: usize = 1 << 20;

/// How long calls may go on when the gateway stops, and how long a client may take for the last answers.
const GRACE: Duration = Duration::from_secs(2);

/// How often a client that sends no more is looked after.
const LOOK: Duration = Duration::from_millis(250);

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A request that was worked on.
struct Done {
    number: u64,
    /// `None`: nothing is to be said.
    reply: Option<Vec<u8>>,
    end: End,
}

/// A request that is being worked on.
struct UnderWay {
    number: u64,
    id: Option<Bytes>,
    abort: AbortHandle,
}

/// A connection of one caller.
pub(crate) struct Session {
    gateway: Arc<Gateway>,
    identity: Identity,
    close: CancellationToken,
    peer: Peer,
    work: FuturesUnordered<Work>,
    under_way: Vec<UnderWay>,
    count: u64,
    notices: (mpsc::Sender<Notice>, mpsc::Receiver<Notice>),
    changes: watch::Receiver<u64>,
}

impl Session {
    /// A session that ends when `close` is cancelled.
    pub(crate) fn new(gateway: Arc<Gateway>, identity: Identity, close: CancellationToken) -> Self {
        let changes = gateway.registry.changes();
        Self {
            gateway,
            identity,
            close,
            peer: Peer::default(),
            work: FuturesUnordered::new(),
            under_way: Vec::new(),
            count: 0,
            notices: mpsc::channel(notice::QUEUE),
            changes,
        }
    }

    /// Serves the connection until it ends.
    pub(crate) async fn run(mut self, mut link: impl Link) {
        let close = self.close.clone();
        let closed = close.cancelled();
        tokio::pin!(closed);
        loop {
            let reads = link.backlog() <= BACKLOG;
            // Biased: everything that is ready is queued before the link writes, which it does once for all.
            tokio::select! {
                biased;
                Some(notice) = self.notices.1.recv(), if reads => link.queue(&notice.text, notice.end),
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    self.pass_notices(&mut link);
                    self.finish(done, &mut link);
                }
                Ok(()) = self.changes.changed(), if reads && self.peer.wants_changes() => {
                    link.queue(TOOLS_CHANGED, End::Newline);
                }
                () = &mut closed => break,
                incoming = poll_fn(|context| link.poll(context, reads)) => match incoming {
                    Incoming::Piece(piece) => self.take(piece, &mut link),
                    Incoming::End => break,
                    Incoming::Gone => return,
                },
            }
        }
        self.wind_up(link).await;
    }

    /// Nothing more is read: what is under way may end, and what is queued may leave.
    async fn wind_up(&mut self, mut link: impl Link) {
        let close = self.close.clone();
        let patience = async {
            close.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(patience);
        let mut look = tokio::time::interval(LOOK);
        while !self.work.is_empty() || link.backlog() > 0 {
            let writes = link.backlog() <= BACKLOG;
            tokio::select! {
                biased;
                Some(notice) = self.notices.1.recv(), if writes => link.queue(&notice.text, notice.end),
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    self.pass_notices(&mut link);
                    self.finish(done, &mut link);
                }
                () = &mut patience => return,
                _ = poll_fn(|context| link.poll(context, false)) => return,
                _ = look.tick() => if !close.is_cancelled() && link.is_gone() { return },
            }
        }
    }

    /// Queues the notices that came before an answer: they may have come, with it, since they were last looked for.
    fn pass_notices(&mut self, link: &mut impl Link) {
        while let Ok(notice) = self.notices.1.try_recv() {
            link.queue(&notice.text, notice.end);
        }
    }

    fn take(&mut self, piece: Piece, link: &mut impl Link) {
        match piece {
            Piece::TooLong { id, end } => {
                link.queue(&message::error(id.as_deref(), &Fault::too_long(OUTSIDE_LIMIT)), end);
            }
            Piece::Frame { text, end } => match message::parse(&text) {
                Ok(Some(request)) => self.handle(request, end, link),
                Ok(None) => {}
                Err(refused) => link.queue(&message::error(refused.id.as_deref(), &refused.fault), end),
            },
        }
    }

    fn handle(&mut self, request: Request, end: End, link: &mut impl Link) {
        let who = match &self.identity {
            Ok(who) => who.clone(),
            Err(fault) => return refuse(&request, fault, end, link),
        };
        if let Some(id) = request::cancelled(&request) {
            return self.cancel(&id);
        }
        match self.answer(&request, who, end) {
            Ok(Some(reply)) => link.queue(&reply, end),
            Ok(None) => {}
            Err(fault) => refuse(&request, &fault, end, link),
        }
    }

    /// Answers at once what can be, and begins to work on what takes longer.
    fn answer(&mut self, request: &Request, who: Who, end: End) -> Result<Option<Vec<u8>>, Fault> {
        let asker = Asker { gateway: &self.gateway, who, notices: &self.notices.0, end };
        let id = request.id.clone();
        let work = match request::answer(request, &mut self.peer, asker)? {
            Reply::Now(result) => return Ok(id.map(|id| message::result(&id, &result))),
            Reply::Nothing => return Ok(None),
            Reply::Later(work) => work,
        };
        if self.under_way.len() >= CALLS {
            let fault = format!("{CALLS} requests are under way on this connection: wait until one is answered");
            return Err(Fault::new(code::RATE, fault));
        }
        self.count += 1;
        let number = self.count;
        let (abort, registration) = AbortHandle::new_pair();
        self.under_way.push(UnderWay { number, id: id.clone(), abort });
        self.work.push(Box::pin(async move {
            let answered = Abortable::new(work, registration).await;
            let reply = answered.ok().zip(id).map(|(answer, id)| match answer {
                Ok(result) => message::result(&id, &result),
                Err(fault) => message::error(Some(&id), &fault),
            });
            Done { number, reply, end }
        }));
        Ok(None)
    }

    fn finish(&mut self, done: Done, link: &mut impl Link) {
        if let Some(at) = self.under_way.iter().position(|under_way| under_way.number == done.number) {
            self.under_way.swap_remove(at);
        }
        if let Some(reply) = done.reply {
            link.queue(&reply, done.end);
        }
    }

    fn cancel(&self, id: &[u8]) {
        let of_id = |under_way: &&UnderWay| under_way.id.as_deref() == Some(id);
        self.under_way.iter().filter(of_id).for_each(|under_way| under_way.abort.abort());
    }
}

fn refuse(request: &Request, fault: &Fault, end: End, link: &mut impl Link) {
    if let Some(id) = &request.id {
        link.queue(&message::error(Some(id), fault), end);
    }
}
