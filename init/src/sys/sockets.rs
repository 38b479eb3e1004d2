//! Sockets: made, handed out, mended.

use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// How many descriptors come with one message at the most.
const MOST_ATTACHED: usize = 4;

/// A listening socket at `path`, for its owner alone (0600), in the place of what lies there.
pub(crate) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    remove(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A datagram socket at `path` that does not block, in the place of what lies there.
pub(crate) fn bind_datagram(path: &Path) -> io::Result<UnixDatagram> {
    remove(path)?;
    let socket = UnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a listening socket will never accept again: a service may have shut down the one that it inherited, and
/// listen(2) does not heal that.
pub(crate) fn is_broken(listener: impl AsFd) -> bool {
    let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::empty())];
    matches!(poll(&mut wanted, PollTimeout::ZERO), Ok(1..))
}

/// Clears or sets O_NONBLOCK, which belongs to the open file and so to everybody who inherited it.
pub(crate) fn set_blocking(fd: BorrowedFd<'_>, blocking: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, !blocking);
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Two connected stream sockets: ours, which does not block, and the other side's.
pub(crate) fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs.into()))
}

/// Sends as much of `bytes` as fits, and with its first byte the descriptors `attached` (unix(7), `SCM_RIGHTS`).
pub(crate) fn send(socket: &UnixStream, bytes: &[u8], attached: &[OwnedFd]) -> io::Result<usize> {
    let descriptors: Vec<RawFd> = attached.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    Ok(sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?)
}

/// Reads what is there, without waiting, and adds the descriptors that came with it.
pub(crate) fn receive_attached(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    attached: &mut impl Extend<OwnedFd>,
) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MOST_ATTACHED]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            #[expect(unsafe_code, reason = "nix hands received descriptors over as numbers")]
            // SAFETY: the kernel has just opened each of them for this process, and nobody else knows the numbers.
            attached.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    #[test]
    fn a_socket_takes_the_place_of_an_older_one_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        drop(bind_unix(&path).expect("bound"));
        let new = bind_unix(&path).expect("bound again over what was left");
        UnixStream::connect(&path).expect("somebody listens");
        new.accept().expect("the new one got the call");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_listener_that_was_shut_down_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = bind_unix(&folder.path().join("a.sock")).expect("bound");
        assert!(!is_broken(&listener));
        UnixStream::from(OwnedFd::from(listener.try_clone().expect("a copy")))
            .shutdown(Shutdown::Both)
            .expect("shut down");
        assert!(is_broken(&listener));
    }
    #[test]
    fn descriptors_travel_with_a_message() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (reader, writer) = io::pipe().expect("a pipe");
        let attached = [OwnedFd::from(reader), OwnedFd::from(writer)];
        assert_eq!(send(&ours, b"two", &attached).expect("sent"), 3);
        let (mut buffer, mut received) = ([0; 16], Vec::new());
        assert_eq!(receive_attached(&theirs, &mut buffer, &mut received).expect("received"), 3);
        assert_eq!(received.len(), 2);
        let later = receive_attached(&theirs, &mut buffer, &mut received).expect_err("nothing more");
        assert_eq!(later.kind(), io::ErrorKind::WouldBlock);
    }
}
