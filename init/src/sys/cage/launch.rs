//! Init's part in starting a process in a cage: everything that allocates, and what is done from outside.

use std::ffi::{CString, NulError, c_char, c_int};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use spec::control::EGRESS_PORT_NUMBER;
use spec::{Capability, Layer};

use super::child::{FAILED, LISTEN_PID, LISTEN_PID_DIGITS, PathRule, Prepared, READY, Step, become_service};
use super::landlock::{self, Ruleset};
use super::seccomp::{self, Refusals};
use super::tree::{self, Found, PartError};
use super::{id_map, raw};
use crate::cage::{Cage, Part, Sight};
use crate::sys::child::Child;
use crate::sys::sockets::receive_attached;

/// Copies of what is handed over are put above this number, where nothing lies that the child is given.
const PARKED: RawFd = 200;
/// How long a child may take until its program runs. It only hangs when a disk does.
const PATIENCE_MS: u16 = 10_000;

/// A process to be.
pub(crate) struct Launch<'a> {
    /// The program, on the machine.
    pub(crate) program: &'a Path,
    /// Its arguments, its own name first.
    pub(crate) arguments: &'a [String],
    /// Its whole environment, without `LISTEN_*`.
    pub(crate) environment: &'a [(String, String)],
    /// Where it starts, in its cage.
    pub(crate) folder: &'a Path,
    /// Descriptors that it inherits, from 3, by name.
    pub(crate) descriptors: Vec<(String, BorrowedFd<'a>)>,
    /// Its standard input, and for a connection its standard output as well.
    pub(crate) input: Input<'a>,
    /// Its standard output and error.
    pub(crate) output: BorrowedFd<'a>,
    /// The folder of the cgroup that it is born into.
    pub(crate) group: Option<BorrowedFd<'a>>,
    /// The name of its host, where it has one of its own.
    pub(crate) name: &'a str,
    pub(crate) cage: &'a Cage,
}

/// What a process reads.
pub(crate) enum Input<'a> {
    /// Nothing: `/dev/null`.
    Nothing(BorrowedFd<'a>),
    /// A connection, to which it writes as well.
    Connection(BorrowedFd<'a>),
}

/// A process whose program runs.
pub(crate) struct Launched {
    pub(crate) child: Child,
    /// What it tries that it may not.
    pub(crate) refusals: Option<Refusals>,
    /// The listening socket on its own loopback where the gateway is its way out.
    pub(crate) proxy: Option<OwnedFd>,
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("{0} holds a zero byte")]
    ZeroByte(&'static str, #[source] NulError),
    #[error("cannot {step}: {source}")]
    Step { step: Step, source: Errno },
    #[error("cannot {step}: {path}: {source}")]
    Path { step: Step, path: String, source: Errno, lacks_id_maps: bool },
    #[error("{0}")]
    Part(#[from] PartError),
    #[error("cannot start a process: {0}")]
    Prepare(#[source] io::Error),
    #[error("its list of system calls is not sound: {0}")]
    Filter(String),
    #[error("cannot tell whose its files are: {0}")]
    IdMap(#[source] io::Error),
    #[error("it ended while its cage was built")]
    Ended,
    #[error("the program was not loaded within 10 s")]
    Hung,
}

impl LaunchError {
    /// The step that failed, where it was one.
    pub(crate) fn step(&self) -> Option<Step> {
        match self {
            Self::Step { step, .. } | Self::Path { step, .. } => Some(*step),
            _ => None,
        }
    }

    /// Whether it is for want of id-mapped mounts.
    pub(crate) fn is_for_id_maps(&self) -> bool {
        matches!(self, Self::IdMap(_) | Self::Path { lacks_id_maps: true, .. })
    }

    /// Whether a second try would fare the same.
    pub(crate) fn is_for_good(&self) -> bool {
        match self {
            Self::ZeroByte(..) | Self::Filter(_) => true,
            Self::Step { step, source } => {
                *step == Step::Exec && !matches!(source, Errno::ENOMEM | Errno::EAGAIN | Errno::EIO | Errno::ETXTBSY)
            }
            _ => false,
        }
    }
}

/// Starts the process and returns once its program was executed.
///
/// # Errors
/// The step that failed. The process was killed then.
pub(crate) fn launch(launch: &Launch<'_>) -> Result<Launched, LaunchError> {
    let cage = launch.cage;
    let user = Some(cage.user).filter(|_| cage.has(Layer::User));
    let id_map = user.filter(|_| cage.has(Layer::Files)).map(id_map::owned_by).transpose();
    let id_map = id_map.map_err(LaunchError::IdMap)?;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(prepare_error)?;
    let prepared = prepare(launch, user, id_map.as_ref().map(AsFd::as_fd), (&ours, theirs))?;
    let born = give_birth(namespaces(cage), launch.group).map_err(|error| {
        let source = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        LaunchError::Step { step: Step::Birth, source }
    })?;
    match born {
        Born::Child => become_service(&prepared),
        Born::Parent(child) => {
            let program = &prepared.tree;
            let named = |number| program.as_deref().map_or(String::new(), |tree| tree::name(tree, number));
            let rules = &prepared.path_rules;
            let ruled = |number: u16| {
                rules.get(usize::from(number)).map_or(String::new(), |rule| rule.path.to_string_lossy().into_owned())
            };
            let outcome = finish(
                cage,
                &child,
                ours,
                |step, number, errno| match step {
                    Step::Tree => {
                        let lacks = program.as_deref().is_some_and(|tree| tree::lacks_id_maps(tree, number, errno));
                        LaunchError::Path { step, path: named(number), source: errno, lacks_id_maps: lacks }
                    }
                    Step::Rules => LaunchError::Path { step, path: ruled(number), source: errno, lacks_id_maps: false },
                    _ => LaunchError::Step { step, source: errno },
                },
                prepared.report,
            );
            match outcome {
                Ok((refusals, proxy)) => Ok(Launched { child, refusals, proxy }),
                Err(error) => {
                    child.kill();
                    if !matches!(error, LaunchError::Hung) {
                        child.wait();
                    }
                    Err(error)
                }
            }
        }
    }
}

fn prepare_error(error: impl Into<io::Error>) -> LaunchError {
    LaunchError::Prepare(error.into())
}

/// The namespaces that the child is born into (clone(2)).
fn namespaces(cage: &Cage) -> u64 {
    let of_layer = [
        (Layer::Files, libc::CLONE_NEWNS),
        (Layer::Processes, libc::CLONE_NEWPID),
        (Layer::Network, libc::CLONE_NEWNET),
        (Layer::Names, libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWCGROUP),
    ];
    let wanted = of_layer.iter().filter(|(layer, _)| cage.has(*layer)).map(|(_, flags)| *flags);
    let user = if cage.in_user_namespace { libc::CLONE_NEWUSER } else { 0 };
    u64::from(wanted.fold(user, |all, flags| all | flags).cast_unsigned())
}

/// `CLONE_INTO_CGROUP` (clone(2)); libc's constant is too narrow for it.
const INTO_CGROUP: u64 = 1 << 33;

/// Which of the two a process is.
pub(super) enum Born {
    Child,
    Parent(Child),
}

/// clone3(2) as fork(2), with namespaces and a cgroup. The child may make raw system calls alone.
pub(super) fn give_birth(namespaces: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Born> {
    let mut descriptor: c_int = -1;
    #[expect(unsafe_code, reason = "the structure may grow and has no constructor")]
    // SAFETY: all zero is a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    arguments.pidfd = (&raw mut descriptor).expose_provenance() as u64;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(group) = group {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    }
    let size = size_of::<libc::clone_args>() as i64;
    let pid = raw::call(libc::SYS_clone3, [raw::pointer(&arguments), size, 0, 0, 0])?;
    if pid == 0 {
        return Ok(Born::Child);
    }
    #[expect(unsafe_code, reason = "a system call answers a number")]
    // SAFETY: the kernel has just opened it for this process, and nobody else knows the number.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Ok(Born::Parent(Child::new(Pid::from_raw(pid), descriptor)))
}

fn prepare(
    launch: &Launch<'_>,
    user: Option<u32>,
    id_map: Option<BorrowedFd<'_>>,
    (ours, theirs): (&OwnedFd, OwnedFd),
) -> Result<Prepared, LaunchError> {
    let cage = launch.cage;
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

    let parts = tree::present(&cage.parts)?;
    let ruleset = cage.has(Layer::Landlock).then(|| {
        // A service in the machine's network is not held to ports; nor is one whose processes speak to each other at any, in
        // a network where there is nothing else.
        let is_held = cage.has(Layer::Network) && !cage.profile.extras.contains(&spec::Extra::Loopback);
        Ruleset::create(is_held, cage.has(Layer::Scope))
    });
    let ruleset = ruleset.transpose().map_err(|source| LaunchError::Step { step: Step::Rules, source })?;
    let path_rules = ruleset.as_ref().map_or(Vec::new(), |ruleset| path_rules(ruleset, &parts, cage));
    let (program_at, report_at) = (cage.limits.open_files.cast_signed(), cage.limits.open_files.cast_signed() + 1);
    let filter = cage.has(Layer::Seccomp).then(|| {
        seccomp::compile(&cage.profile, program_at.unsigned_abs(), report_at.unsigned_abs())
            .map_err(LaunchError::Filter)
    });
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let program =
        open(launch.program, flags, Mode::empty()).map_err(|source| LaunchError::Step { step: Step::Exec, source })?;
    let proxy_port = Some(EGRESS_PORT_NUMBER).filter(|_| cage.has(Layer::Network) && !cage.egress.is_empty());
    Ok(Prepared {
        folder: text(launch.folder.as_os_str().as_bytes(), "the folder")?,
        argv,
        envp,
        listen_pid: listen_pid_at,
        inherited: inherited(launch).map_err(prepare_error)?,
        report: park(theirs.as_fd()).map_err(prepare_error)?,
        init_end: ours.as_raw_fd(),
        program: park(program.as_fd()).map_err(prepare_error)?,
        program_at,
        report_at,
        is_in_user_namespace: cage.in_user_namespace,
        has_network: cage.has(Layer::Network),
        proxy_port,
        host_name: cage.has(Layer::Names).then(|| text(launch.name.as_bytes(), "the name")).transpose()?,
        tree: cage.has(Layer::Files).then(|| tree::operations(&parts, user, id_map)),
        ruleset,
        path_rules,
        port_rules: [
            proxy_port.map(|port| (port, landlock::CONNECT)),
            cage.serves.map(|port| (port, landlock::BIND | landlock::CONNECT)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        limits: limits(cage),
        capabilities: cage.has(Layer::Privileges).then(|| capabilities(&cage.capabilities)),
        user,
        may_gain_exec: cage.profile.extras.contains(&spec::Extra::Jit) || !cage.has(Layer::Seccomp),
        filter: filter.transpose()?,
        _texts: (arguments, variables, listen_pid),
    })
}

/// Copies of the three standard descriptors and of what is handed over, above all numbers that the child overwrites.
fn inherited(launch: &Launch<'_>) -> io::Result<Vec<OwnedFd>> {
    let (input, written) = match launch.input {
        Input::Nothing(null) => (null, launch.output),
        Input::Connection(connection) => (connection, connection),
    };
    let handed = launch.descriptors.iter().map(|(_, descriptor)| *descriptor);
    [input, written, launch.output].into_iter().chain(handed).map(park).collect()
}

fn path_rules(ruleset: &Ruleset, parts: &[Found<'_>], cage: &Cage) -> Vec<PathRule> {
    let is_apart = cage.has(Layer::Files);
    let rule = |found: &Found<'_>| {
        let (path, sight) = match found.part {
            Part::Bound { source, sight, .. } if !is_apart => (source.path.as_path(), *sight),
            Part::Bound { target, sight, .. } => (Path::new(target), *sight),
            Part::File { target, .. } => (Path::new(target), Sight::Read),
            Part::Scratch { target, .. } if is_apart => (Path::new(target), Sight::Write),
            Part::Scratch { .. } => return None,
            Part::Processes => (Path::new("/proc"), Sight::Read),
        };
        let path = CString::new(path.as_os_str().as_bytes()).ok()?;
        Some(PathRule { path, access: ruleset.access(sight, found.is_folder) })
    };
    // The folders on the way hold nothing but what it sees anyway.
    let root = is_apart.then(|| PathRule { path: c"/".to_owned(), access: landlock::LIST });
    root.into_iter().chain(parts.iter().filter_map(rule)).collect()
}

/// `getrlimit(2)`.
fn limits(cage: &Cage) -> Vec<(c_int, u64)> {
    let limits = cage.limits;
    let number = |resource: libc::__rlimit_resource_t| resource.cast_signed();
    let mut all = vec![
        (number(libc::RLIMIT_CORE), 0),
        (number(libc::RLIMIT_NOFILE), u64::from(limits.open_files)),
        (number(libc::RLIMIT_MEMLOCK), 0),
        (number(libc::RLIMIT_MSGQUEUE), 0),
        (number(libc::RLIMIT_SIGPENDING), 1024),
    ];
    all.extend(limits.file.map(|bytes| (number(libc::RLIMIT_FSIZE), bytes)));
    // They count per user: among all who share one they would bound the wrong thing.
    if cage.has(Layer::User) || cage.in_user_namespace {
        all.push((number(libc::RLIMIT_NPROC), u64::from(limits.processes)));
    }
    if !cage.has(Layer::Memory) {
        // A second best: what is reserved counts as well, so there is room for that.
        all.push((number(libc::RLIMIT_DATA), limits.memory.saturating_mul(4)));
    }
    all
}

/// capabilities(7), by the numbers of `include/uapi/linux/capability.h`.
fn capabilities(kept: &[Capability]) -> u64 {
    let bit = |capability: &Capability| match capability {
        Capability::NetBindService => 1 << 10,
        Capability::NetAdmin => 1 << 12,
        Capability::NetRaw => 1 << 13,
        Capability::SysTime => 1 << 25,
    };
    kept.iter().map(bit).fold(0, |all, bit: u64| all | bit)
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

type Gained = (Option<Refusals>, Option<OwnedFd>);

/// What init does once the child is there: says who is who, lets it go on, and hears how it went.
fn finish(
    cage: &Cage,
    child: &Child,
    report: OwnedFd,
    failed: impl Fn(Step, u16, Errno) -> LaunchError,
    theirs: OwnedFd,
) -> Result<Gained, LaunchError> {
    drop(theirs);
    prepare_from_outside(cage, child).map_err(|errno| failed(Step::UserNamespace, 0, errno))?;
    send(report.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL).map_err(prepare_error)?;
    let mut gained: Option<Gained> = None;
    loop {
        let mut wanted = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut wanted, PollTimeout::from(PATIENCE_MS)), Ok(1..)) {
            return Err(LaunchError::Hung);
        }
        let (mut text, mut attached) = ([0; 8], Vec::<OwnedFd>::new());
        let length = receive_attached(&report, &mut text, &mut attached).map_err(prepare_error)?;
        match (text, length) {
            // Closed by the execution of the program, or by the child's end.
            (_, 0) => return gained.ok_or(LaunchError::Ended),
            ([READY, has_refusals, has_proxy, ..], 3) => {
                let mut attached = attached.into_iter();
                let refusals = if has_refusals == 1 { attached.next() } else { None };
                let proxy = if has_proxy == 1 { attached.next() } else { None };
                gained = Some((refusals.map(Refusals::new), proxy));
            }
            ([FAILED, index, low, high, a, b, c, d], 8) => {
                let step = Step::ALL.get(usize::from(index)).map_or(Step::Exec, |(step, _)| *step);
                let errno = Errno::from_raw(i32::from_ne_bytes([a, b, c, d]));
                return Err(failed(step, u16::from_ne_bytes([low, high]), errno));
            }
            _ => return Err(LaunchError::Ended),
        }
    }
}

/// The user and group that init runs as.
fn own_ids() -> (u32, u32) {
    #[expect(unsafe_code, reason = "nix has them behind a feature that brings all of users and groups")]
    // SAFETY: both take nothing and always succeed.
    unsafe {
        (libc::geteuid(), libc::getegid())
    }
}

fn prepare_from_outside(cage: &Cage, child: &Child) -> Result<(), Errno> {
    let folder = format!("/proc/{}", child.pid());
    if cage.in_user_namespace {
        let write = |name: &str, text: String| {
            let written = fs::write(format!("{folder}/{name}"), text);
            written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
        };
        write("setgroups", "deny".to_owned())?;
        let (user, group) = own_ids();
        write("uid_map", format!("{user} {user} 1\n"))?;
        write("gid_map", format!("{group} {group} 1\n"))?;
    }
    // Refused to who has no privileges and wants less than it has; the kernel's own choice is sound then.
    let _ = fs::write(format!("{folder}/oom_score_adj"), cage.limits.oom_score.to_string());
    Ok(())
}
