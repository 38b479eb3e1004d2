//! Who is at the other end of a connection: told by the socket that it came in on, never by what it says.

mod loopback;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use spec::caller::{Who, code};
use spec::{GatewayStart, Name, Token};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::message::Fault;

/// Who a connection belongs to; an error is what each of its requests is answered with.
pub(crate) type Identity = Result<Who, Fault>;

/// A connection on `gateway.sock`: the owner, who is the user that the gateway runs as, or root.
pub(crate) fn of_owner_socket(stream: &UnixStream) -> Identity {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) => of_user(peer.uid(), own),
        Err(error) => Err(unknown_user(&error)),
    }
}

fn of_user(peer: u32, own: u32) -> Identity {
    if peer == own || peer == 0 {
        return Ok(Who::Owner);
    }
    let message = format!("this socket is for the user with id {own} who runs the system, not for {peer}");
    Err(Fault::new(code::AUTH, message))
}

/// A connection on the socket that init made for one Arc.
pub(crate) fn of_arc_socket(arc: &Name) -> Identity {
    Ok(Who::Arc(arc.clone()))
}

/// A WebSocket connection from `peer` of this machine to `own`: the owner, as on the UNIX socket. Any user of the machine
/// may connect over loopback, so the kernel is asked whose the other end is; it knows ours by its `cookie`.
pub(crate) fn of_loopback(peer: SocketAddr, own: SocketAddr, cookie: u64) -> Identity {
    match loopback::user_of(peer, own, cookie) {
        Ok(user) => of_user(user, rustix::process::geteuid().as_raw()),
        Err(error) => Err(unknown_user(&error)),
    }
}

fn unknown_user(error: &io::Error) -> Fault {
    tracing::warn!(%error, "cannot tell who connected");
    Fault::new(code::AUTH, "the gateway cannot tell which user this connection belongs to")
}

/// What tells the owner from everybody else on the network: the tokens of the system configuration, and the one that a
/// claim gave. Digests are compared, in a time that does not depend on where they differ.
pub(crate) struct Tokens {
    stated: Vec<Known>,
    claimed: RwLock<Option<Known>>,
    /// Cancelled when a claim takes the place of another: connections from before end.
    era: RwLock<CancellationToken>,
    /// Held by whoever enters a code: one at a time.
    turn: Semaphore,
    /// Told when the token of the claim is shown for the first time.
    shown: Notify,
}

/// A token, by the digests of what shows that somebody has it.
struct Known {
    token: blake3::Hash,
    /// Of what a browser keeps in its place: a token cannot be told from it.
    session: blake3::Hash,
    is_shown: AtomicBool,
}

impl Known {
    fn new(token: &Token) -> Self {
        let session = blake3::hash(session_of(token.as_str()).as_bytes());
        Self { token: blake3::hash(token.as_str().as_bytes()), session, is_shown: AtomicBool::new(false) }
    }
}

/// What a browser keeps of a token: it opens the pages of this machine and nothing else.
pub(crate) fn session_of(token: &str) -> String {
    blake3::Hash::from_bytes(blake3::derive_key("llmbasedos 2026-11 pages of the gateway", token.as_bytes()))
        .to_string()
}

impl Tokens {
    /// `stop` is cancelled when the gateway stops.
    pub(crate) fn new(start: &GatewayStart, stop: &CancellationToken) -> Self {
        let stated = start.tokens.iter().map(Known::new).collect();
        Self {
            stated,
            claimed: RwLock::new(start.claimed.as_ref().map(Known::new)),
            era: RwLock::new(stop.child_token()),
            turn: Semaphore::new(1),
            shown: Notify::new(),
        }
    }

    /// Somebody has claimed the machine and is given this, in the place of what a claim before gave.
    pub(crate) fn claim(&self, token: &Token, stop: &CancellationToken) {
        *self.claimed.write().unwrap_or_else(PoisonError::into_inner) = Some(Known::new(token));
        // Whoever came in by the token of before may not be whose it was.
        let mut era = self.era.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *era, stop.child_token()).cancel();
    }

    /// What a connection that begins now ends with.
    pub(crate) fn era(&self) -> CancellationToken {
        self.era.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// To be held while a code is entered.
    pub(crate) fn turn(&self) -> &Semaphore {
        &self.turn
    }

    /// Waits until whoever claimed the machine shows for the first time that the token has arrived.
    pub(crate) async fn claim_is_used(&self) {
        self.shown.notified().await;
    }

    /// Whose connection it is that shows `authorization`, the header of that name (RFC 6750, 2.1).
    pub(crate) fn of_bearer(&self, authorization: Option<&str>) -> Identity {
        let shown = authorization.and_then(|text| text.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = shown else {
            return Err(Fault::new(code::AUTH, "a token is wanted: Authorization: Bearer TOKEN"));
        };
        self.of_token(token)
    }

    /// Whoever shows `token`.
    pub(crate) fn of_token(&self, token: &str) -> Identity {
        let digest = blake3::hash(token.trim().as_bytes());
        self.owner_if(|known| known.token == digest)
    }

    /// Whoever's browser keeps `session`.
    pub(crate) fn of_session(&self, session: &str) -> Identity {
        let digest = blake3::hash(session.as_bytes());
        self.owner_if(|known| known.session == digest)
    }

    fn owner_if(&self, is: impl Fn(&Known) -> bool) -> Identity {
        let stated = self.stated.iter().fold(false, |found, known| found | is(known));
        let claimed = self.claimed.read().unwrap_or_else(PoisonError::into_inner);
        let claimed = claimed.as_ref().filter(|known| is(known));
        if claimed.is_some_and(|known| !known.is_shown.swap(true, Ordering::Relaxed)) {
            self.shown.notify_one();
        }
        match stated | claimed.is_some() {
            true => Ok(Who::Owner),
            false => Err(Fault::new(code::AUTH, "this token is not the one of this machine")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt::socket_cookie;

    use super::*;

    #[test]
    fn a_connection_over_loopback_is_its_users() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has nothing to tell apart.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let own = listener.local_addr().expect("an address");
            let _other_end = TcpStream::connect(own).expect("connected");
            let (stream, peer) = listener.accept().expect("connected");
            let cookie = socket_cookie(&stream).expect("told");
            assert_eq!(of_loopback(peer, own, cookie).ok(), Some(Who::Owner));
            assert_eq!(of_loopback(own, own, cookie).expect_err("no such connection").code, code::AUTH);
        }
    }

    fn token(text: &str) -> Token {
        text.parse().expect("a token")
    }

    #[test]
    fn the_owner_is_who_shows_a_token() {
        let start = GatewayStart { tokens: vec![token("0123456789abcdef")], ..GatewayStart::default() };
        let stop = CancellationToken::new();
        let tokens = Tokens::new(&start, &stop);
        for shown in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert_eq!(tokens.of_bearer(Some(shown)).ok(), Some(Who::Owner), "{shown}");
        }
        for shown in ["0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg", "Bearer ", "Bearer"] {
            assert_eq!(tokens.of_bearer(Some(shown)).expect_err(shown).code, code::AUTH);
        }
        assert!(tokens.of_bearer(None).is_err());
        let none = Tokens::new(&GatewayStart::default(), &stop);
        assert!(none.of_bearer(Some("Bearer ")).is_err() && none.of_session("").is_err(), "no token is no open door");
    }

    #[tokio::test]
    async fn a_claim_takes_the_place_of_the_one_before_and_is_used_once() {
        let (first, second) = (token("0123456789abcdef"), token("fedcba9876543210"));
        let (start, stop) =
            (GatewayStart { claimed: Some(first.clone()), ..GatewayStart::default() }, CancellationToken::new());
        let tokens = Tokens::new(&start, &stop);
        let era = tokens.era();
        let session = session_of(first.as_str());
        assert!(tokens.of_token(first.as_str()).is_ok() && tokens.of_session(&session).is_ok());
        tokens.claim_is_used().await;
        assert!(
            tokens.of_token(&session).is_err() && tokens.of_session(first.as_str()).is_err(),
            "each is for its place"
        );
        tokens.claim(&second, &stop);
        assert!(era.is_cancelled() && !tokens.era().is_cancelled() && !stop.is_cancelled());
        assert!(tokens.of_token(first.as_str()).is_err() && tokens.of_session(&session).is_err());
        assert!(tokens.of_session(&session_of(second.as_str())).is_ok());
        tokens.claim_is_used().await;
    }

    #[test]
    fn the_owners_socket_is_for_the_owner_and_root() {
        assert_eq!(of_user(1000, 1000).ok(), Some(Who::Owner));
        assert_eq!(of_user(0, 1000).ok(), Some(Who::Owner));
        assert_eq!(of_user(1001, 1000).expect_err("another user").code, code::AUTH);
        assert!(of_user(1001, 0).is_err());
    }
}
