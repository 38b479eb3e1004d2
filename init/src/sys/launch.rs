//! Starting a process from a prepared launch.
//!
//! Everything that allocates is done before fork; between fork and exec there are only async-signal-safe system calls
//! (`before_exec`). A step that fails is told through a pipe that exec closes.

use std::ffi::{CString, NulError, c_char, c_int};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, Pid, fork};

use super::before_exec::{LISTEN_PID, LISTEN_PID_DIGITS, Prepared, Step, become_service, tell_and_exit};
use super::child::Child;

/// Copies of what is handed over are put above this number, where no target of a dup2(2) lies.
const PARKED: RawFd = 200;
/// How long a child may take from fork to exec. It only hangs when the program lies on a disk that does.
const EXEC_PATIENCE_MS: u16 = 10_000;

/// A process to be.
pub(crate) struct Launch<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// Its arguments, its own name first.
    pub(crate) arguments: &'a [String],
    /// Its whole environment, without `LISTEN_*`.
    pub(crate) environment: &'a [(String, String)],
    /// Where it starts.
    pub(crate) folder: &'a Path,
    /// Descriptors that it inherits, from 3, by name.
    pub(crate) descriptors: Vec<(String, BorrowedFd<'a>)>,
    /// Its standard input, and for a connection its standard output as well.
    pub(crate) input: Input<'a>,
    /// Its standard output and error.
    pub(crate) output: BorrowedFd<'a>,
    /// `cgroup.procs` of the group that it joins.
    pub(crate) group: Option<BorrowedFd<'a>>,
    /// The bound on its open files.
    pub(crate) open_files: u64,
}

/// What a process reads.
pub(crate) enum Input<'a> {
    /// Nothing: `/dev/null`.
    Nothing(BorrowedFd<'a>),
    /// A connection, to which it writes as well.
    Connection(BorrowedFd<'a>),
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("{0} holds a zero byte")]
    ZeroByte(&'static str, #[source] NulError),
    #[error("cannot {step}: {source}")]
    Step { step: Step, source: Errno },
    #[error("cannot start a process: {0}")]
    Fork(#[source] io::Error),
    #[error("the program was not loaded within 10 s")]
    Hung,
}

impl LaunchError {
    /// Whether a second try would fare the same.
    pub(crate) fn is_for_good(&self) -> bool {
        match self {
            Self::ZeroByte(..) => true,
            Self::Step { step, source } => {
                *step == Step::Exec && !matches!(source, Errno::ENOMEM | Errno::EAGAIN | Errno::EIO | Errno::ETXTBSY)
            }
            Self::Fork(_) | Self::Hung => false,
        }
    }
}

/// Starts the process and returns once its program was executed.
///
/// # Errors
/// The step that failed. The process was killed then.
pub(crate) fn launch(launch: &Launch<'_>) -> Result<Child, LaunchError> {
    let prepared = prepare(launch)?;
    let (reader, writer) = io::pipe().map_err(LaunchError::Fork)?;
    // Where it lies now a descriptor of the service may have to go.
    let writer = park(OwnedFd::from(writer).as_fd()).map_err(LaunchError::Fork)?;
    #[expect(unsafe_code, reason = "there is no safe fork")]
    // SAFETY: init has one thread, and the child makes only async-signal-safe calls until exec or _exit.
    let forked = unsafe { fork() }.map_err(|error| LaunchError::Fork(error.into()))?;
    match forked {
        ForkResult::Child => {
            let Err((step, errno)) = become_service(&prepared);
            tell_and_exit(&writer, step, errno)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            await_exec(Child::adopt(child).map_err(LaunchError::Fork)?, reader)
        }
    }
}

fn prepare<'a>(launch: &'a Launch<'a>) -> Result<Prepared<'a>, LaunchError> {
    let text = |bytes: &[u8], what| CString::new(bytes).map_err(|error| LaunchError::ZeroByte(what, error));
    let arguments = launch.arguments.iter().map(|argument| text(argument.as_bytes(), "an argument"));
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = launch.descriptors.iter().map(|(name, _)| name.as_str()).collect();
    let listen = [("LISTEN_FDS".to_owned(), names.len().to_string()), ("LISTEN_FDNAMES".to_owned(), names.join(":"))];
    let listen = if names.is_empty() { &[] } else { &listen[..] };
    let variables = launch.environment.iter().chain(listen);
    let variables = variables.map(|(key, value)| text(format!("{key}={value}").as_bytes(), "the environment"));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;

    let mut listen_pid = LISTEN_PID.as_bytes().to_vec();
    listen_pid.resize(LISTEN_PID.len() + LISTEN_PID_DIGITS, 0);
    let listen_pid_at = listen_pid.as_mut_ptr();
    let mut argv: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    argv.push(ptr::null());
    let mut envp: Vec<*const c_char> = variables.iter().map(|variable| variable.as_ptr()).collect();
    if !names.is_empty() {
        envp.push(listen_pid_at.cast_const().cast());
    }
    envp.push(ptr::null());

    let parked = launch.descriptors.iter().map(|(_, fd)| park(*fd));
    Ok(Prepared {
        program: text(launch.program.as_os_str().as_bytes(), "the program")?,
        folder: text(launch.folder.as_os_str().as_bytes(), "the folder")?,
        argv,
        envp,
        listen_pid: listen_pid_at,
        parked: parked.collect::<io::Result<Vec<_>>>().map_err(LaunchError::Fork)?,
        launch,
        parent: Pid::this(),
        _texts: (arguments, variables, listen_pid),
    })
}

/// A copy above all numbers that the child overwrites.
fn park(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "nix has no F_DUPFD with an owned result")]
    // SAFETY: a successful F_DUPFD_CLOEXEC returns a new descriptor that nobody else owns.
    unsafe {
        let copy = Errno::result(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, PARKED))?;
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

fn await_exec(child: Child, mut reader: PipeReader) -> Result<Child, LaunchError> {
    let mut wanted = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let answered = matches!(poll(&mut wanted, PollTimeout::from(EXEC_PATIENCE_MS)), Ok(1..));
    let mut message = Vec::new();
    if answered && reader.read_to_end(&mut message).is_ok_and(|count| count == 0) {
        return Ok(child);
    }
    child.kill();
    let Some((&index, number)) = message.split_first() else {
        // It may never die if its disk hangs; when it does it is reaped like an orphan.
        return Err(LaunchError::Hung);
    };
    child.wait();
    let step = Step::ALL.get(usize::from(index)).map_or(Step::Exec, |(step, _)| *step);
    let number = number.try_into().map_or(libc::EIO, c_int::from_ne_bytes);
    Err(LaunchError::Step { step, source: Errno::from_raw(number) })
}
