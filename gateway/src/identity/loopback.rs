//! Whose a TCP connection over loopback is: sock_diag(7) looks that one up. The tables below `/proc/net` hold all of them,
//! and while others open connections one reading takes seconds.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// `INET_DIAG_NOCOOKIE` of the kernel's inet_diag.h: whatever its cookie is.
const ANY: u64 = u64::MAX;
/// Longer than an answer is, which has no more than a few attributes.
const ANSWER: usize = 4096;

/// The id of the user at the other end of the connection that we have from `peer` at `own`. `cookie` is what the kernel tells
/// ours by (`SO_COOKIE`).
///
/// # Errors
/// It is closed at either end, or this kernel has no `INET_DIAG`.
pub(super) fn user_of(peer: SocketAddr, own: SocketAddr, cookie: u64) -> io::Result<u32> {
    let kernel =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    let other_end = look_up(&kernel, peer, own, ANY)?;
    // As long as ours is open there is no second connection between these ends: it was the other end of ours.
    look_up(&kernel, own, peer, cookie)?;
    Ok(other_end.uid)
}

/// The end at `local` of the connection to `remote`.
fn look_up(kernel: &OwnedFd, local: SocketAddr, remote: SocketAddr, cookie: u64) -> io::Result<InetResponseHeader> {
    send(kernel, &question(local, remote, cookie), SendFlags::empty())?;
    let mut answer = [0; ANSWER];
    // The kernel has answered by the time that it was asked.
    let (length, _) = recv(kernel, &mut answer[..], RecvFlags::DONTWAIT)?;
    let answer = answer.get(..length).unwrap_or_default();
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) if is_open(&found.header) => {
            Ok(found.header)
        }
        NetlinkPayload::Error(error) if error.raw_code() != -Errno::NOENT.raw_os_error() => Err(error.to_io()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "the kernel finds no such connection, or has no INET_DIAG")),
    }
}

/// Whether somebody has it open: what was closed is nobody's, and older kernels call nobody 0. They look at the state, the
/// user and the inode in that order, so the inode, of which then there is none, tells whether the user was one. Where no
/// connection is found it may be who listens.
fn is_open(found: &InetResponseHeader) -> bool {
    found.state == TCP_ESTABLISHED && found.inode != 0
}

fn question(local: SocketAddr, remote: SocketAddr, cookie: u64) -> Vec<u8> {
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        // Of no account where one is asked for: `is_open`.
        states: StateFlags::ESTABLISHED,
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: words_of(cookie),
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// A cookie as the kernel writes it: two words in the byte order of the machine, the lower first.
fn words_of(cookie: u64) -> [u8; 8] {
    let halves = if cfg!(target_endian = "big") { cookie.rotate_left(32) } else { cookie };
    halves.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::net::sockopt::socket_cookie;

    use super::*;

    #[test]
    fn an_open_connection_is_its_users_and_nothing_else_is() {
        let own = rustix::process::geteuid().as_raw();
        // By the way of the third, an IPv6 socket speaks IPv4.
        for (listens, way) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("127.0.0.1:0", "::ffff:127.0.0.1")] {
            let open = || {
                let listener = TcpListener::bind(listens)?;
                let stream = TcpStream::connect((way, listener.local_addr()?.port()))?;
                Ok::<_, io::Error>((stream, listener))
            };
            let (stream, listener) = match open() {
                // A machine may have no IPv6.
                Err(_) if way.contains(':') => continue,
                opened => opened.expect("connected"),
            };
            let remote = listener.local_addr().expect("an address");
            let (accepted, peer) = listener.accept().expect("connected");
            let cookie = socket_cookie(&accepted).expect("told");
            assert_eq!(user_of(peer, remote, cookie).ok(), Some(own), "{way}");
            assert!(user_of(peer, remote, cookie + 1).is_err(), "another one of ours between the same ends");
            assert!(user_of(remote, remote, cookie).is_err(), "who listens is at the end of no connection");
            let mut other = peer;
            other.set_port(if peer.port() == 1 { 2 } else { 1 });
            assert!(user_of(other, remote, cookie).is_err());
            drop(stream);
            assert!(user_of(peer, remote, cookie).is_err(), "it is closed: nobody's");
        }
        // Not a test of its own: what is forked has for a moment the connections of other threads open as well.
        what_another_user_opened_is_that_users();
    }

    /// Where the tests run as root, who alone can become somebody else.
    fn what_another_user_opened_is_that_users() {
        const NOBODY: u32 = 65534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let remote = listener.local_addr().expect("an address");
        let opens = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read -r -u 3", remote.port());
        let mut other = Command::new("bash").args(["-c", &opens]).uid(NOBODY).spawn().expect("bash runs");
        let (accepted, peer) = listener.accept().expect("connected");
        let cookie = socket_cookie(&accepted).expect("told");
        assert_eq!(user_of(peer, remote, cookie).ok(), Some(NOBODY));
        drop(accepted);
        other.wait().expect("it ends");
    }
}
