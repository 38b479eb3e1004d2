//! What init waits for, in one place: epoll, with a name for each source instead of a number.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Millis;

/// Somebody who may have something to say. The number is that of a service or of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Signals.
    Signals,
    /// The folder of the owner's manifests.
    Manifests,
    /// The listening socket of init.
    Server,
    /// A client of init's socket.
    Client(u32),
    /// A listening socket of a service.
    Demand(u32),
    /// The readiness socket of a service.
    Notify(u32),
    /// What a service writes.
    Output(u32),
    /// The process of a service.
    Process(u32),
    /// The control channel of a service.
    Channel(u32),
    /// What a service tries that it may not.
    Refusals(u32),
    /// The connection that is the standard input and output of a service.
    Conversation(u32),
    /// The kernel, when memory runs short.
    Pressure,
}

impl Source {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Self::Signals => (0, 0),
            Self::Manifests => (1, 0),
            Self::Server => (2, 0),
            Self::Client(number) => (3, number),
            Self::Demand(number) => (4, number),
            Self::Notify(number) => (5, number),
            Self::Output(number) => (6, number),
            Self::Process(number) => (7, number),
            Self::Channel(number) => (8, number),
            Self::Refusals(number) => (9, number),
            Self::Conversation(number) => (10, number),
            Self::Pressure => (11, 0),
        };
        (kind << 32) | u64::from(number)
    }

    fn decode(data: u64) -> Option<Self> {
        let number = u32::try_from(data & u64::from(u32::MAX)).ok()?;
        Some(match data >> 32 {
            0 => Self::Signals,
            1 => Self::Manifests,
            2 => Self::Server,
            3 => Self::Client(number),
            4 => Self::Demand(number),
            5 => Self::Notify(number),
            6 => Self::Output(number),
            7 => Self::Process(number),
            8 => Self::Channel(number),
            9 => Self::Refusals(number),
            10 => Self::Conversation(number),
            11 => Self::Pressure,
            _ => return None,
        })
    }
}

/// What is wanted of a source. A hang-up is always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// What the kernel itself has to say (`EPOLLPRI`).
    pub(crate) notice: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false, notice: false };
    /// Nothing but a hang-up.
    pub(crate) const END: Self = Self { read: false, write: false, notice: false };
    pub(crate) const NOTICE: Self = Self { read: false, write: false, notice: true };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, self.read);
        flags.set(EpollFlags::EPOLLOUT, self.write);
        flags.set(EpollFlags::EPOLLPRI, self.notice);
        flags
    }
}

/// A source that has something to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) source: Source,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The other side is gone for both directions, or the descriptor is broken.
    pub(crate) hung_up: bool,
}

/// The set of sources.
pub(crate) struct Poll {
    epoll: Epoll,
}

/// How many sources are told of in one turn; the others wait for the next.
const BATCH: usize = 64;

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    pub(crate) fn add(&self, fd: impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(interest.flags(), source.encode()))?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(interest.flags(), source.encode()))?)
    }

    /// Waits for a source to be readable, or no more.
    pub(crate) fn switch(&self, fd: impl AsFd, source: Source, on: bool) -> io::Result<()> {
        if on {
            return self.add(fd, source, Interest::READ);
        }
        self.remove(fd);
        Ok(())
    }

    /// Must be called before a descriptor is closed of which a child may hold a copy: epoll watches the open file,
    /// not the descriptor.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It fails only for a descriptor that is not in the set, which is what is wanted.
        let _ = self.epoll.delete(fd);
    }

    /// Waits at most `timeout` milliseconds, `None` for ever.
    pub(crate) fn wait(&self, timeout: Option<Millis>) -> io::Result<Vec<Ready>> {
        let mut events = [EpollEvent::empty(); BATCH];
        let bounded = timeout.map(|ms| i32::try_from(ms).unwrap_or(i32::MAX));
        let timeout = bounded.and_then(|ms| EpollTimeout::try_from(ms).ok()).unwrap_or(EpollTimeout::NONE);
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let ready = |event: &EpollEvent| {
            let flags = event.events();
            Some(Ready {
                source: Source::decode(event.data())?,
                readable: flags.contains(EpollFlags::EPOLLIN),
                writable: flags.contains(EpollFlags::EPOLLOUT),
                hung_up: flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            })
        };
        Ok(events.iter().take(count).filter_map(ready).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_survives_the_kernel() {
        for source in [Source::Signals, Source::Server, Source::Client(7), Source::Channel(u32::MAX), Source::Pressure]
        {
            assert_eq!(Source::decode(source.encode()), Some(source));
        }
        assert_eq!(Source::decode(99 << 32), None);
    }
}
