//! What a process of ours does between fork and exec: async-signal-safe calls alone (signal-safety(7)). Nothing here
//! allocates, locks or panics.

use std::convert::Infallible;
use std::ffi::{CString, c_char, c_int, c_long};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, getppid, setsid};

use super::launch::{Input, Launch};

/// The first descriptor that is handed over (sd_listen_fds(3)).
const FIRST_FD: RawFd = 3;
/// The variable that only the child can fill in.
pub(super) const LISTEN_PID: &str = "LISTEN_PID=";
/// Ten digits and the zero byte.
pub(super) const LISTEN_PID_DIGITS: usize = 11;

/// What a child does before it is the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Session,
    Parent,
    Group,
    Descriptors,
    Limits,
    Privileges,
    Folder,
    Signals,
    Close,
    Exec,
}

impl Step {
    /// Each with what it is to people.
    pub(super) const ALL: [(Self, &'static str); 10] = [
        (Self::Session, "open a session"),
        (Self::Parent, "tie it to init"),
        (Self::Group, "put it into its cgroup"),
        (Self::Descriptors, "hand over its descriptors"),
        (Self::Limits, "set its limits"),
        (Self::Privileges, "give up new privileges"),
        (Self::Folder, "enter its folder"),
        (Self::Signals, "reset its signals"),
        (Self::Close, "close what is not its own"),
        (Self::Exec, "execute the program"),
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::ALL.iter().find(|(step, _)| step == self).map_or("", |(_, words)| words);
        f.write_str(words)
    }
}

/// All that the child needs, in the form in which the kernel takes it.
pub(super) struct Prepared<'a> {
    pub(super) program: CString,
    pub(super) argv: Vec<*const c_char>,
    pub(super) envp: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for the digits, which only the child knows; `envp` points to it.
    pub(super) listen_pid: *mut u8,
    pub(super) folder: CString,
    /// Copies of what is handed over, parked above all targets; number `i` becomes descriptor `FIRST_FD + i`.
    pub(super) parked: Vec<OwnedFd>,
    pub(super) launch: &'a Launch<'a>,
    pub(super) parent: Pid,
    /// What the pointers above point to.
    pub(super) _texts: (Vec<CString>, Vec<CString>, Vec<u8>),
}

/// The child, from fork to exec: nothing here allocates, locks or panics.
pub(super) fn become_service(prepared: &Prepared<'_>) -> Result<Infallible, (Step, Errno)> {
    let at = |step: Step| move |errno: Errno| (step, errno);
    setsid().map_err(at(Step::Session))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at(Step::Parent))?;
    if getppid() != prepared.parent {
        return Err((Step::Parent, Errno::ESRCH));
    }
    if let Some(group) = prepared.launch.group {
        nix::unistd::write(group, b"0").map_err(at(Step::Group))?;
    }
    hand_over(prepared).map_err(at(Step::Descriptors))?;
    set_limit(libc::RLIMIT_CORE, 0).map_err(at(Step::Limits))?;
    set_limit(libc::RLIMIT_NOFILE, prepared.launch.open_files).map_err(at(Step::Limits))?;
    prctl::set_no_new_privs().map_err(at(Step::Privileges))?;
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    chdir(prepared.folder.as_c_str()).map_err(at(Step::Folder))?;
    reset_signals().map_err(at(Step::Signals))?;
    mark_rest_for_closing(prepared.parked.len()).map_err(at(Step::Close))?;
    write_own_pid(prepared);
    #[expect(unsafe_code, reason = "nix's execve allocates")]
    // SAFETY: the strings and the two arrays, each ended by a null pointer, live in `prepared`.
    unsafe {
        libc::execve(prepared.program.as_ptr(), prepared.argv.as_ptr(), prepared.envp.as_ptr());
    }
    Err((Step::Exec, Errno::last()))
}

fn hand_over(prepared: &Prepared<'_>) -> nix::Result<()> {
    let output = prepared.launch.output;
    let (input, written) = match prepared.launch.input {
        Input::Nothing(null) => (null, output),
        Input::Connection(connection) => (connection, connection),
    };
    duplicate(input.as_raw_fd(), 0)?;
    duplicate(written.as_raw_fd(), 1)?;
    duplicate(output.as_raw_fd(), 2)?;
    for (target, parked) in (FIRST_FD..).zip(&prepared.parked) {
        duplicate(parked.as_raw_fd(), target)?;
    }
    Ok(())
}

fn duplicate(from: RawFd, to: RawFd) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "the target's number is fixed, which no owned type can express")]
    // SAFETY: dup2 takes two integers, and nothing in this process owns the target any more: it is about to exec.
    Errno::result(unsafe { libc::dup2(from, to) }).map(drop)
}

fn set_limit(resource: libc::__rlimit_resource_t, wanted: u64) -> nix::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "nix's wrapper costs a feature for two calls")]
    // SAFETY: both calls get a pointer to a live rlimit.
    unsafe {
        Errno::result(libc::getrlimit(resource, &raw mut limit))?;
        let bound = wanted.min(limit.rlim_max);
        limit = libc::rlimit { rlim_cur: bound, rlim_max: bound };
        Errno::result(libc::setrlimit(resource, &raw const limit)).map(drop)
    }
}

/// What init blocks or ignores, and what it was itself started with ignored, must not reach a service.
fn reset_signals() -> nix::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        #[expect(unsafe_code, reason = "nix knows no real-time signals")]
        // SAFETY: the default action is no function of ours. It fails for SIGKILL, SIGSTOP and libc's own, which is
        // as it should be.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Everything above what was handed over is closed by exec.
fn mark_rest_for_closing(handed_over: usize) -> nix::Result<()> {
    let first = c_long::from(FIRST_FD).saturating_add(c_long::try_from(handed_over).unwrap_or(0));
    #[expect(unsafe_code, reason = "nix has no close_range")]
    // SAFETY: the call takes three integers and only sets a flag on descriptors of this process.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, c_long::from(u32::MAX), c_long::from(libc::CLOSE_RANGE_CLOEXEC))
    };
    Errno::result(result).map(drop)
}

/// Writes this process' number behind `LISTEN_PID=`.
fn write_own_pid(prepared: &Prepared<'_>) {
    let mut rest = Pid::this().as_raw().unsigned_abs();
    let mut divisor = 1_000_000_000;
    let mut at = LISTEN_PID.len();
    while divisor > 0 {
        let digit = rest / divisor;
        rest %= divisor;
        if digit > 0 || at > LISTEN_PID.len() || divisor == 1 {
            let character = char::from_digit(digit, 10).map_or(0, |digit| digit as u8);
            #[expect(unsafe_code, reason = "envp already points to this buffer")]
            // SAFETY: at most ten digits follow the eleven bytes of the name, and eleven were reserved for them.
            unsafe {
                *prepared.listen_pid.add(at) = character;
            }
            at += 1;
        }
        divisor /= 10;
    }
}

pub(super) fn tell_and_exit(writer: &OwnedFd, step: Step, errno: Errno) -> ! {
    let mut message = [0; 5];
    let index = Step::ALL.iter().position(|(candidate, _)| *candidate == step).unwrap_or(0);
    let number = (errno as c_int).to_ne_bytes();
    for (place, byte) in message.iter_mut().zip([u8::try_from(index).unwrap_or(0)].into_iter().chain(number)) {
        *place = byte;
    }
    // When the parent is gone there is nobody to tell.
    let _ = nix::unistd::write(writer, &message);
    #[expect(unsafe_code, reason = "exit would run what belongs to init")]
    // SAFETY: _exit ends the process and touches nothing.
    unsafe {
        libc::_exit(127)
    }
}
