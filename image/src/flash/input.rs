//! Reading from what may keep one waiting, a person or a program, such that a signal ends it.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::{Failure, plain};
use crate::signals::Signals;

/// How often the signals are looked at.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Waits until there is something to read, or its end.
///
/// # Errors
/// A signal came.
pub(super) fn wait(input: &impl AsFd, signals: &Signals) -> Result<(), Failure> {
    loop {
        signals.check()?;
        match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&LOOK_EVERY)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::new("cannot wait for input", plain(&error.into()), "run this again")),
        }
    }
}

/// What a program writes. Reading fails once a signal has come.
#[derive(Debug)]
pub(super) struct Output<R> {
    pub(super) pipe: R,
    pub(super) signals: Signals,
}

impl<R: Read + AsFd> Read for Output<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait(&self.pipe, &self.signals).map_err(io::Error::other)?;
        self.pipe.read(buffer)
    }
}
