//! UNIX sockets: the owner's, and one for each Arc.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use spec::Name;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::sync::CancellationToken;

use crate::frame::{Decoder, End, Newline};
use crate::gateway::Gateway;
use crate::identity::{self, Identity};
use crate::link::{Incoming, Link};
use crate::message::OUTSIDE_LIMIT;
use crate::session::Session;

/// How long to wait when a connection cannot be accepted: most likely descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections the owner has at once; whoever comes later waits to be let in.
const OWNER_CONNECTIONS: usize = 256;
/// How many connections one Arc has at once, so that it cannot use up the descriptors of all.
const ARC_CONNECTIONS: usize = 64;

/// What is read at once from a connection.
const READ: usize = 16 << 10;

/// Makes an inherited descriptor a listener.
pub(crate) fn listener(descriptor: OwnedFd) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(descriptor);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Takes in the owner's connections until the gateway stops.
pub(crate) async fn serve_owner(gateway: Arc<Gateway>, listener: UnixListener) {
    let stop = gateway.stop.clone();
    let seats = Arc::new(Semaphore::new(OWNER_CONNECTIONS));
    serve(&gateway, &listener, &stop, &seats, identity::of_owner_socket).await;
}

async fn serve(
    gateway: &Arc<Gateway>,
    listener: &UnixListener,
    close: &CancellationToken,
    seats: &Arc<Semaphore>,
    identify: impl Fn(&UnixStream) -> Identity,
) {
    loop {
        let accepted = async {
            let seat = Arc::clone(seats).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((seat, listener.accept().await?.0))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = close.cancelled() => return,
        };
        match accepted {
            Ok((seat, stream)) => {
                let session = Session::new(Arc::clone(gateway), identify(&stream), close.clone());
                gateway.sessions.spawn(async move {
                    session.run(UnixLink::new(stream)).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The sockets on which Arcs call.
#[derive(Default)]
pub(crate) struct ArcListeners {
    by_name: Mutex<HashMap<Name, Door>>,
}

/// What closes the socket on which an Arc calls.
struct Door {
    /// The socket and its connections.
    all: CancellationToken,
    /// The socket alone.
    socket: CancellationToken,
    /// Those that are free.
    seats: Arc<Semaphore>,
}

impl ArcListeners {
    /// Takes in what `arc` calls on `descriptor`, in place of any socket that it had before. Connections stay.
    pub(crate) fn add(&self, gateway: &Arc<Gateway>, arc: Name, descriptor: OwnedFd) -> io::Result<()> {
        let listener = listener(descriptor)?;
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let old = by_name.remove(&arc);
        let all = old.as_ref().map_or_else(|| gateway.stop.child_token(), |old| old.all.clone());
        let seats = old.as_ref().map(|old| Arc::clone(&old.seats));
        let seats = seats.unwrap_or_else(|| Arc::new(Semaphore::new(ARC_CONNECTIONS)));
        if let Some(old) = old {
            old.socket.cancel();
        }
        let socket = all.child_token();
        let door = Door { all: all.clone(), socket: socket.clone(), seats: Arc::clone(&seats) };
        by_name.insert(arc.clone(), door);
        drop(by_name);
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move {
            let accept = serve(&gateway, &listener, &all, &seats, |_| identity::of_arc_socket(&arc));
            socket.run_until_cancelled(accept).await;
        });
        Ok(())
    }

    /// Closes the socket of `arc` and all connections on it.
    pub(crate) fn remove(&self, arc: &Name) {
        if let Some(door) = self.by_name.lock().unwrap_or_else(PoisonError::into_inner).remove(arc) {
            door.all.cancel();
        }
    }
}

/// A connection on a UNIX socket.
struct UnixLink {
    stream: UnixStream,
    decoder: Decoder,
    /// Where the socket is read into.
    buffer: Vec<u8>,
    out: BytesMut,
}

impl UnixLink {
    fn new(stream: UnixStream) -> Self {
        let decoder = Decoder::new(Newline::WhenComplete, OUTSIDE_LIMIT);
        Self { stream, decoder, buffer: vec![0; READ], out: BytesMut::new() }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        loop {
            if let Some(piece) = self.decoder.next() {
                return Poll::Ready(Ok(Incoming::Piece(piece)));
            }
            let mut read = ReadBuf::new(&mut self.buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                let rest = self.decoder.finish();
                return Poll::Ready(Ok(rest.map_or(Incoming::End, Incoming::Piece)));
            }
            self.decoder.feed(read.filled());
        }
    }
}

impl Link for UnixLink {
    fn poll(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Incoming> {
        if let Poll::Ready(Err(_)) = self.poll_write(context) {
            return Poll::Ready(Incoming::Gone);
        }
        if !read {
            return Poll::Pending;
        }
        self.poll_read(context).map(|incoming| incoming.unwrap_or(Incoming::Gone))
    }

    fn queue(&mut self, text: &[u8], end: End) {
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(&[end.byte()]);
    }

    fn backlog(&self) -> usize {
        self.out.len()
    }

    fn is_gone(&self) -> bool {
        let ready = self.stream.ready(Interest::WRITABLE).now_or_never();
        // Not ready at all: it takes its time.
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_write_closed()))
    }
}
