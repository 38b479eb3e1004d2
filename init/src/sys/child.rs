//! Processes of ours: asked to stop, killed, waited for.

use std::ffi::{c_int, c_long};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A process of ours that was not reaped yet.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    descriptor: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With a code.
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
}

impl Child {
    /// Takes hold of a process that was just forked. One that cannot be watched must not run: it is killed.
    pub(super) fn adopt(pid: Pid) -> io::Result<Self> {
        match open_pidfd(pid) {
            Ok(descriptor) => Ok(Self { pid, descriptor }),
            Err(error) => {
                // It is there, for nobody has waited for it.
                let _ = kill(pid, Signal::SIGKILL);
                wait(libc::P_PID, pid.as_raw().unsigned_abs(), libc::WEXITED);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Asks it and its process group to stop.
    pub(crate) fn terminate(&self) {
        // A group that is gone already is what is wanted.
        let _ = killpg(self.pid, Signal::SIGTERM);
        let _ = killpg(self.pid, Signal::SIGCONT);
    }

    /// Kills it and its process group.
    pub(crate) fn kill(&self) {
        let _ = killpg(self.pid, Signal::SIGKILL);
        let _ = kill(self.pid, Signal::SIGKILL);
    }

    /// How it ended, once it has; it is reaped then and must not be asked or killed again.
    pub(crate) fn try_wait(&self) -> Option<Exit> {
        wait(libc::P_PIDFD, self.descriptor.as_raw_fd().unsigned_abs(), libc::WEXITED | libc::WNOHANG)
            .map(|ended| ended.exit)
    }

    /// Waits until it has ended.
    pub(super) fn wait(&self) {
        wait(libc::P_PIDFD, self.descriptor.as_raw_fd().unsigned_abs(), libc::WEXITED);
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "nix has no pidfd_open")]
    // SAFETY: the call takes two integers; a result that is not negative is a new descriptor that nobody else owns.
    unsafe {
        let flags: c_long = 0;
        let result = Errno::result(libc::syscall(libc::SYS_pidfd_open, c_long::from(pid.as_raw()), flags))?;
        let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

struct Ended {
    pid: libc::pid_t,
    exit: Exit,
}

/// waitid(2) itself: nix refuses a process that was killed by a real-time signal.
fn wait(kind: libc::idtype_t, id: libc::id_t, flags: c_int) -> Option<Ended> {
    #[expect(unsafe_code, reason = "see above")]
    // SAFETY: an all-zero siginfo_t is a valid one, the pointer is live, and its fields for a child are read only
    // where waitid filled them in.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        loop {
            match Errno::result(libc::waitid(kind, id, &raw mut info, flags)) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        let (pid, status) = (info.si_pid(), info.si_status());
        let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
        (pid != 0).then_some(Ended { pid, exit })
    }
}

/// Reaps every child that has ended, but for those that `is_main` claims: these are waited for by their own descriptor.
pub(crate) fn reap_orphans(is_main: impl Fn(u32) -> bool) {
    while let Some(ended) = wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
        if is_main(ended.pid.unsigned_abs()) {
            // Its own event is due, and after it this is called again.
            return;
        }
        wait(libc::P_PID, ended.pid.unsigned_abs(), libc::WEXITED | libc::WNOHANG);
    }
}

impl Exit {
    /// Whether it ended as it should.
    pub(crate) fn is_clean(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by signal {number} ({signal})"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}
