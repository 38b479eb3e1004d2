//! Who is at the other end of a connection: told by the socket that it came in on, never by what it says.

use spec::Name;
use spec::caller::{Who, code};
use tokio::net::UnixStream;

use crate::message::Fault;

/// Who a connection belongs to; an error is what each of its requests is answered with.
pub(crate) type Identity = Result<Who, Fault>;

/// A connection on `gateway.sock`: the owner, who is the user that the gateway runs as, or root.
pub(crate) fn of_owner_socket(stream: &UnixStream) -> Identity {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) => of_user(peer.uid(), own),
        Err(error) => {
            tracing::warn!(%error, "cannot tell who connected");
            Err(Fault::new(code::AUTH, "the gateway cannot tell which user this connection belongs to"))
        }
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

/// A WebSocket connection that came in over loopback.
pub(crate) fn of_loopback() -> Identity {
    Ok(Who::Owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_socket_is_for_the_owner_and_root() {
        assert_eq!(of_user(1000, 1000).ok(), Some(Who::Owner));
        assert_eq!(of_user(0, 1000).ok(), Some(Who::Owner));
        assert_eq!(of_user(1001, 1000).expect_err("another user").code, code::AUTH);
        assert!(of_user(1001, 0).is_err());
    }
}
