//! A socket in somebody else's network.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::launch::{Born, give_birth};
use super::raw::{self, call, word};
use crate::sys::child::Child;
use crate::sys::sockets::receive_attached;

/// A TCP socket in the network of `process`, neither bound nor connected. A child of init goes there to make it (setns(2)),
/// for init itself does not leave its own.
pub(crate) fn socket_in_network_of(process: &Child, in_user_namespace: bool) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let namespaces = if in_user_namespace { libc::CLONE_NEWUSER | libc::CLONE_NEWNET } else { libc::CLONE_NEWNET };
    match give_birth(0, None)? {
        Born::Child => {
            let made = make(process.as_fd().as_raw_fd(), namespaces);
            let errno = made.err().map_or(0, |errno| errno as i32);
            // When init is gone there is nobody to tell.
            let _ = raw::say(theirs.as_raw_fd(), &errno.to_ne_bytes(), &[made.unwrap_or(-1)]);
            raw::exit()
        }
        Born::Parent(child) => {
            drop(theirs);
            child.wait();
            let (mut text, mut attached) = ([0; 4], Vec::<OwnedFd>::new());
            receive_attached(&ours, &mut text, &mut attached)?;
            attached.pop().ok_or_else(|| Errno::from_raw(i32::from_ne_bytes(text)).into())
        }
    }
}

fn make(process: RawFd, namespaces: i32) -> nix::Result<RawFd> {
    call(libc::SYS_setns, [word(process), word(namespaces), 0, 0, 0])?;
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    raw::descriptor(call(libc::SYS_socket, [word(libc::AF_INET), word(kind), 0, 0, 0])?)
}
