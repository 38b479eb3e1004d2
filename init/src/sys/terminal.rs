//! init's own standard error, which must never hold it up.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Linux says that a pipe is writable when a page fits, so that a piece of this size never blocks (pipe(7)).
const PIECE: usize = 4096;

/// Whether a person looks at it.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes lines to every console of the machine: `/dev/console` is the last of them alone.
pub(crate) fn write_screens(text: &str) {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    // Without the return of the carriage, a serial line that nobody has set up goes down in steps.
    let bytes = text.lines().fold(String::new(), |all, line| all + line + "\r\n");
    for name in active.split_ascii_whitespace() {
        let mut options = File::options();
        options.write(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY);
        // A screen that is not there, or that does not take it at once, must not stop the supervisor.
        let _ = options.open(Path::new("/dev").join(name)).and_then(|mut screen| screen.write_all(bytes.as_bytes()));
    }
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
