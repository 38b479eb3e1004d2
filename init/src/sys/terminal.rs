//! init's own standard error, which must never hold it up.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Linux says that a pipe is writable when a page fits, so that a piece of this size never blocks (pipe(7)).
const PIECE: usize = 4096;

/// Whether a person looks at it.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes a line, or as much of it as fits: a reader that does not read must not stop the supervisor.
pub(crate) fn write_stderr(text: &str) {
    let mut line = text.to_owned();
    line.push('\n');
    for piece in line.as_bytes().chunks(PIECE) {
        let stderr = io::stderr();
        let mut wanted = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        if !matches!(poll(&mut wanted, PollTimeout::ZERO), Ok(1..)) || stderr.lock().write_all(piece).is_err() {
            return;
        }
    }
}
