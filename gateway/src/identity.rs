//! Who is at the other end of a connection: told by the socket that it came in on, never by what it says.

use std::net::{IpAddr, SocketAddr};

use spec::caller::{Who, code};
use spec::{Name, Token};
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

/// A WebSocket connection from `peer` of this machine to `own`: the owner, as on the UNIX socket. Any user of the machine
/// may connect over loopback, so the kernel's table of connections tells whose the other end is.
pub(crate) fn of_loopback(peer: SocketAddr, own: SocketAddr) -> Identity {
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    match tables.iter().find_map(|table| user_of(table, peer, own)) {
        Some(user) => of_user(user, rustix::process::geteuid().as_raw()),
        None => Err(Fault::new(code::AUTH, "the gateway cannot tell which user this connection belongs to")),
    }
}

/// What tells the owner from everybody else on the network: a token of the system configuration.
pub(crate) struct Tokens(Vec<blake3::Hash>);

impl Tokens {
    pub(crate) fn new(tokens: &[Token]) -> Self {
        Self(tokens.iter().map(|token| blake3::hash(token.as_str().as_bytes())).collect())
    }

    /// Whose connection it is that shows `authorization`, the header of that name (RFC 6750, 2.1). Digests are compared,
    /// in a time that does not depend on where they differ.
    pub(crate) fn of_bearer(&self, authorization: Option<&str>) -> Identity {
        let shown = authorization.and_then(|text| text.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = shown else {
            return Err(Fault::new(code::AUTH, "a token is wanted: Authorization: Bearer TOKEN"));
        };
        let digest = blake3::hash(token.trim().as_bytes());
        match self.0.iter().fold(false, |known, own| known | (*own == digest)) {
            true => Ok(Who::Owner),
            false => Err(Fault::new(code::AUTH, "this token is not the one of this machine")),
        }
    }
}

/// The state of an open connection (`TCP_ESTABLISHED` of the kernel's tcp_states.h).
const ESTABLISHED: &str = "01";

/// The user id in the row of the connection from `local` to `remote`, in a table as proc_net_tcp.rst of the kernel
/// describes it.
fn user_of(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|row| {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == row_end(local, row) && fields.next()? == row_end(remote, row);
        // One that its owner has closed is nobody's, and the table calls nobody 0.
        let is_open = fields.next()? == ESTABLISHED;
        (is_it && is_open).then(|| fields.nth(3)?.parse().ok()).flatten()
    })
}

/// An end of a connection as in `row`, where an IPv4 address may be written as an IPv6 one: words in the byte order of
/// the machine.
fn row_end(address: SocketAddr, row: &str) -> String {
    let is_wide = row.split_ascii_whitespace().nth(1).is_some_and(|end| end.len() > "7F000001:1F40".len());
    let octets = match address.ip() {
        IpAddr::V4(ip) if is_wide => ip.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words: String =
        octets.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_over_loopback_is_its_users() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has nothing to tell apart.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let own = listener.local_addr().expect("an address");
            let stream = TcpStream::connect(own).expect("connected");
            let peer = stream.local_addr().expect("an address");
            assert_eq!(of_loopback(peer, own).ok(), Some(Who::Owner));
            drop((stream, listener));
            assert_eq!(of_loopback(own, peer).expect_err("no such connection").code, code::AUTH);
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_user_stands_in_the_row_of_the_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F40 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 11 1\n   \
                     1: 0100007F:C350 0100007F:1F40 01 00000000:00000000 00:00000000 00000000  1001        0 12 1\n   \
                     2: 0000000000000000FFFF00000100007F:C351 0000000000000000FFFF00000100007F:1F40 01 0:0 00:0 0 7 0 1\n";
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(user_of(table, at(50000), at(8000)), Some(1001));
        assert_eq!(user_of(table, at(50001), at(8000)), Some(7));
        assert_eq!(user_of(table, at(50002), at(8000)), None);
    }

    #[test]
    fn the_owner_is_who_shows_a_token() {
        let tokens = Tokens::new(&["0123456789abcdef".parse().expect("a token")]);
        for shown in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert_eq!(tokens.of_bearer(Some(shown)).ok(), Some(Who::Owner), "{shown}");
        }
        for shown in ["0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg", "Bearer ", "Bearer"] {
            assert_eq!(tokens.of_bearer(Some(shown)).expect_err(shown).code, code::AUTH);
        }
        assert!(tokens.of_bearer(None).is_err());
        assert!(Tokens::new(&[]).of_bearer(Some("Bearer ")).is_err(), "no token is no open door");
    }

    #[test]
    fn the_owners_socket_is_for_the_owner_and_root() {
        assert_eq!(of_user(1000, 1000).ok(), Some(Who::Owner));
        assert_eq!(of_user(0, 1000).ok(), Some(Who::Owner));
        assert_eq!(of_user(1001, 1000).expect_err("another user").code, code::AUTH);
        assert!(of_user(1001, 0).is_err());
    }
}
