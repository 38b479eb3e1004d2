//! Signals, read from a descriptor instead of caught by a handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal wants of init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A child ended.
    Reap,
    /// Stop everything in order (SIGTERM, SIGHUP).
    End,
    /// The same, and at the second time at once (SIGINT: Ctrl-C).
    EndNow,
}

/// The signals that init reads. They stay blocked for the life of the process; a child unblocks them before exec.
pub(crate) struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { descriptor: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// The next signal that has arrived.
    pub(crate) fn next(&self) -> Option<Wish> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        match i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
            Some(Signal::SIGCHLD) => Some(Wish::Reap),
            Some(Signal::SIGINT) => Some(Wish::EndNow),
            _ => Some(Wish::End),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
