//! Processes of ours: asked to stop, killed, waited for.

use std::ffi::c_int;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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
    /// A process that was just born, and its descriptor (clone(2), `CLONE_PIDFD`).
    pub(super) fn new(pid: Pid, descriptor: OwnedFd) -> Self {
        Self { pid, descriptor }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Asks it and its process group to stop. The first process of a pid namespace is not ended by a signal that it does
    /// not catch (pid_namespaces(7)), so one that would be ended elsewhere is ended here.
    pub(crate) fn terminate(&self) {
        if !self.minds(Signal::SIGTERM) {
            return self.kill();
        }
        // A group that is gone already is what is wanted.
        let _ = killpg(self.pid, Signal::SIGTERM);
        let _ = killpg(self.pid, Signal::SIGCONT);
    }

    /// Whether it catches or ignores a signal, or blocks it to read it from a descriptor (proc_pid_status(5)).
    fn minds(&self, signal: Signal) -> bool {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", self.pid)) else { return true };
        let has = |field: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
            let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(u64::MAX);
            mask & (1 << (signal as c_int - 1)) != 0
        };
        has("SigCgt:") || has("SigIgn:") || has("SigBlk:")
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

    /// Kills it and waits until it is gone.
    pub(crate) fn end(&self) {
        self.kill();
        self.wait();
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        // One that has ended already is what is wanted.
        let _ = kill(self.pid, signal);
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
