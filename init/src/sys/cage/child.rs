//! What a child of init does between its birth and its program: builds its cage around itself, from the inside.
//!
//! Nothing here allocates, locks or panics. All that it needs lies ready in [`Prepared`].

use std::convert::Infallible;
use std::ffi::{CString, c_char, c_int, c_long, c_ulong};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

use super::landlock;
use super::raw::{self, HERE, call, pointer, word};
use super::tree::Operation;

/// The first descriptor that is handed over (sd_listen_fds(3)).
const FIRST_FD: RawFd = 3;
/// The variable that only the child can fill in.
pub(super) const LISTEN_PID: &str = "LISTEN_PID=";
/// Ten digits and the zero byte.
pub(super) const LISTEN_PID_DIGITS: usize = 11;
/// What a child does before it is the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Birth,
    Group,
    UserNamespace,
    Session,
    Descriptors,
    Loopback,
    HostName,
    Root,
    Tree,
    Pivot,
    Rules,
    Limits,
    Capabilities,
    User,
    Parent,
    Privileges,
    Landlock,
    Folder,
    Signals,
    Close,
    Seccomp,
    Exec,
}

impl Step {
    /// Each with what it is to people.
    pub(super) const ALL: [(Self, &'static str); 22] = [
        (Self::Birth, "start a process in namespaces of its own"),
        (Self::Group, "put it into its cgroup"),
        (Self::UserNamespace, "give it a user namespace"),
        (Self::Session, "open a session"),
        (Self::Descriptors, "hand over its descriptors"),
        (Self::Loopback, "set up its own loopback"),
        (Self::HostName, "name its host"),
        (Self::Root, "make its root"),
        (Self::Tree, "show it"),
        (Self::Pivot, "enter its root"),
        (Self::Rules, "make its Landlock rules"),
        (Self::Limits, "set its limits"),
        (Self::Capabilities, "take its capabilities"),
        (Self::User, "become its user"),
        (Self::Parent, "tie it to init"),
        (Self::Privileges, "give up new privileges"),
        (Self::Landlock, "enter its Landlock domain"),
        (Self::Folder, "enter its folder"),
        (Self::Signals, "reset its signals"),
        (Self::Close, "close what is not its own"),
        (Self::Seccomp, "restrict its system calls"),
        (Self::Exec, "execute the program"),
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::ALL.iter().find(|(step, _)| step == self).map_or("", |(_, words)| words);
        f.write_str(words)
    }
}

/// A step that failed; of the steps that are done for many paths, with the path's number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stumble {
    pub(super) step: Step,
    pub(super) number: u16,
    pub(super) errno: Errno,
}

fn at(step: Step) -> impl Fn(Errno) -> Stumble {
    move |errno| Stumble { step, number: 0, errno }
}

/// A rule of Landlock for a path.
pub(super) struct PathRule {
    pub(super) path: CString,
    pub(super) access: u64,
}

/// All that the child needs, in the form in which the kernel takes it.
pub(super) struct Prepared {
    pub(super) argv: Vec<*const c_char>,
    pub(super) envp: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for the digits, which only the child knows; `envp` points to it.
    pub(super) listen_pid: *mut u8,
    pub(super) folder: CString,
    /// Copies of what it inherits: its standard input, output and error, then what comes from descriptor 3 on.
    pub(super) inherited: Vec<OwnedFd>,
    /// Where it hears that it may go on, and says how it goes.
    pub(super) report: OwnedFd,
    /// Init's end of that, of which the child is born with a copy.
    pub(super) init_end: RawFd,
    pub(super) program: OwnedFd,
    /// The numbers under which the child keeps `program` and `report`, above the bound on its open files.
    pub(super) program_at: RawFd,
    pub(super) report_at: RawFd,
    pub(super) is_in_user_namespace: bool,
    /// Whether it has a network of its own, and whether the gateway listens there.
    pub(super) has_network: bool,
    pub(super) proxy_port: Option<u16>,
    /// The name of its host, where it has one of its own.
    pub(super) host_name: Option<CString>,
    /// How its root is put together, where it has one.
    pub(super) tree: Option<Vec<Operation>>,
    pub(super) ruleset: Option<landlock::Ruleset>,
    pub(super) path_rules: Vec<PathRule>,
    pub(super) port_rules: Vec<(u16, u64)>,
    pub(super) limits: Vec<(c_int, u64)>,
    /// The capabilities that it keeps, as bits; `None`: it keeps what init has.
    pub(super) capabilities: Option<u64>,
    pub(super) user: Option<u32>,
    /// Whether memory may become executable once it was written.
    pub(super) may_gain_exec: bool,
    pub(super) filter: Option<Vec<libc::sock_filter>>,
    /// What the pointers above point to.
    pub(super) _texts: (Vec<CString>, Vec<CString>, Vec<u8>),
}

/// What the child says before it executes its program.
pub(super) const READY: u8 = 0;
pub(super) const FAILED: u8 = 1;

/// The child, from its birth to its program.
pub(super) fn become_service(prepared: &Prepared) -> ! {
    let Err(stumble) = build(prepared);
    let index = Step::ALL.iter().position(|(step, _)| *step == stumble.step).unwrap_or(0);
    let [number, more] = stumble.number.to_ne_bytes();
    let [a, b, c, d] = (stumble.errno as c_int).to_ne_bytes();
    let text = [FAILED, u8::try_from(index).unwrap_or(0), number, more, a, b, c, d];
    // Before it was moved it is where it was; when init is gone there is nobody to tell.
    let _ = raw::say(prepared.report_at, &text, &[]).or_else(|_| raw::say(prepared.report.as_raw_fd(), &text, &[]));
    raw::exit()
}

fn build(prepared: &Prepared) -> Result<Infallible, Stumble> {
    move_aside(prepared).map_err(at(Step::Descriptors))?;
    wait_for_leave(prepared).map_err(at(Step::UserNamespace))?;
    call(libc::SYS_setsid, [0; 5]).map_err(at(Step::Session))?;
    hand_over(prepared).map_err(at(Step::Descriptors))?;
    let proxy = if prepared.has_network { set_up_loopback(prepared).map_err(at(Step::Loopback))? } else { None };
    if let Some(name) = &prepared.host_name {
        let length = name.count_bytes() as c_long;
        call(libc::SYS_sethostname, [pointer(name.as_c_str()), length, 0, 0, 0]).map_err(at(Step::HostName))?;
    }
    if let Some(tree) = &prepared.tree {
        // What it sees is not its own, but it must be able to go there.
        call(libc::SYS_umask, [0o022, 0, 0, 0, 0]).map_err(at(Step::Root))?;
        make_root(tree)?;
    }
    if let Some(ruleset) = &prepared.ruleset {
        make_rules(prepared, ruleset.descriptor.as_raw_fd())?;
    }
    for (resource, bound) in &prepared.limits {
        raw::limit(*resource, *bound).map_err(at(Step::Limits))?;
    }
    take_capabilities(prepared).map_err(at(Step::Capabilities))?;
    raw::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong, 0).map_err(at(Step::Parent))?;
    raw::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(at(Step::Privileges))?;
    if !prepared.may_gain_exec {
        // Linux 6.3; before it the list of system calls alone holds that.
        let _ = raw::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0);
    }
    call(libc::SYS_umask, [0o077, 0, 0, 0, 0]).map_err(at(Step::Folder))?;
    raw::chdir(&prepared.folder).map_err(at(Step::Folder))?;
    if let Some(ruleset) = &prepared.ruleset {
        landlock::restrict(ruleset.descriptor.as_raw_fd()).map_err(at(Step::Landlock))?;
    }
    reset_signals().map_err(at(Step::Signals))?;
    let first = word(FIRST_FD) + prepared.inherited.len().saturating_sub(3) as c_long;
    let to_the_end = c_long::from(u32::MAX);
    let close = [first, to_the_end, c_long::from(libc::CLOSE_RANGE_CLOEXEC), 0, 0];
    call(libc::SYS_close_range, close).map_err(at(Step::Close))?;
    write_own_pid(prepared);
    let refusals = prepared.filter.as_deref().map(restrict_calls).transpose().map_err(at(Step::Seccomp))?;
    let attached = [refusals.unwrap_or(-1), proxy.unwrap_or(-1)];
    let flags = [READY, u8::from(refusals.is_some()), u8::from(proxy.is_some())];
    raw::say(prepared.report_at, &flags, &attached).map_err(at(Step::Exec))?;
    let exec = [
        word(prepared.program_at),
        pointer(c""),
        prepared.argv.as_ptr().expose_provenance().cast_signed() as c_long,
        prepared.envp.as_ptr().expose_provenance().cast_signed() as c_long,
        c_long::from(libc::AT_EMPTY_PATH),
    ];
    Err(match call(libc::SYS_execveat, exec) {
        Ok(_) => at(Step::Exec)(Errno::EINVAL),
        Err(errno) => at(Step::Exec)(errno),
    })
}

/// prctl(2), `PR_SET_MDWE`.
const PR_SET_MDWE: c_int = 65;
const PR_MDWE_REFUSE_EXEC_GAIN: c_ulong = 1;

/// Puts what the child itself uses where nothing that it inherits goes.
fn move_aside(prepared: &Prepared) -> nix::Result<()> {
    raw::close(prepared.init_end);
    raw::duplicate(prepared.program.as_raw_fd(), prepared.program_at, libc::O_CLOEXEC)?;
    raw::duplicate(prepared.report.as_raw_fd(), prepared.report_at, libc::O_CLOEXEC)
}

/// Waits until init has done its part from outside: who is who in the user namespace.
fn wait_for_leave(prepared: &Prepared) -> nix::Result<()> {
    let mut leave = 0_u8;
    let place = (&raw mut leave).expose_provenance().cast_signed() as c_long;
    loop {
        match call(libc::SYS_read, [word(prepared.report_at), place, 1, 0, 0]) {
            Err(Errno::EINTR) => {}
            Ok(1) => break,
            Ok(_) => return Err(Errno::ESRCH),
            Err(errno) => return Err(errno),
        }
    }
    if prepared.is_in_user_namespace {
        // Privileges over what the new namespace owns came with it; the user stays the same.
        raw::prctl(libc::PR_SET_DUMPABLE, 1, 0)?;
    }
    Ok(())
}

fn hand_over(prepared: &Prepared) -> nix::Result<()> {
    for (target, parked) in (0..).zip(&prepared.inherited) {
        raw::duplicate(parked.as_raw_fd(), target, 0)?;
    }
    Ok(())
}

/// `IFF_UP` and `IFF_RUNNING` (netdevice(7)), and `AF_INET` in the width of an address.
const UP: i16 = 0x41;
const FAMILY: libc::sa_family_t = 2;

/// Brings up `lo` and, where the gateway is to listen there, opens its socket: a socket stays in the network in which it
/// was made, whoever accepts on it.
fn set_up_loopback(prepared: &Prepared) -> nix::Result<Option<RawFd>> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let control = raw::descriptor(call(libc::SYS_socket, [word(libc::AF_INET), word(kind), 0, 0, 0])?)?;
    #[expect(unsafe_code, reason = "the structure has no constructor")]
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed() as c_char;
    }
    request.ifr_ifru.ifru_flags = UP;
    call(libc::SYS_ioctl, [word(control), libc::SIOCSIFFLAGS.cast_signed() as c_long, pointer(&request), 0, 0])?;
    raw::close(control);
    let Some(port) = prepared.proxy_port else { return Ok(None) };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let listener = raw::descriptor(call(libc::SYS_socket, [word(libc::AF_INET), word(kind), 0, 0, 0])?)?;
    let address = libc::sockaddr_in {
        sin_family: FAMILY,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as c_long;
    call(libc::SYS_bind, [word(listener), pointer(&address), length, 0, 0])?;
    call(libc::SYS_listen, [word(listener), 128, 0, 0, 0])?;
    Ok(Some(listener))
}

/// Puts the new root together and leaves the old one.
fn make_root(tree: &[Operation]) -> Result<(), Stumble> {
    let private = (libc::MS_REC | libc::MS_PRIVATE).cast_signed();
    call(libc::SYS_mount, [0, pointer(c"/"), 0, private, 0]).map_err(at(Step::Root))?;
    // Mounted over the root it hides nothing: absolute paths still begin below it.
    super::tree::mount_root().map_err(at(Step::Root))?;
    for (number, operation) in (0..).zip(tree) {
        operation.carry_out().map_err(|errno| Stumble { step: Step::Tree, number, errno })?;
    }
    // Over itself, then the old root, which lies below now, goes (pivot_root(2)).
    call(libc::SYS_pivot_root, [pointer(c"."), pointer(c"."), 0, 0, 0]).map_err(at(Step::Pivot))?;
    call(libc::SYS_umount2, [pointer(c"."), word(libc::MNT_DETACH), 0, 0, 0]).map_err(at(Step::Pivot))?;
    raw::chdir(c"/").map_err(at(Step::Pivot))?;
    super::tree::set_attributes(HERE, c"/", super::tree::ROOT, None).map_err(at(Step::Pivot))
}

fn make_rules(prepared: &Prepared, ruleset: RawFd) -> Result<(), Stumble> {
    landlock::allow_place(ruleset, prepared.program_at, landlock::PROGRAM).map_err(at(Step::Rules))?;
    for (number, rule) in (0..).zip(&prepared.path_rules) {
        let stumble = |errno| Stumble { step: Step::Rules, number, errno };
        let place = raw::open_place(&rule.path, 0).map_err(stumble)?;
        landlock::allow_place(ruleset, place, rule.access).map_err(stumble)?;
        raw::close(place);
    }
    for (port, access) in &prepared.port_rules {
        landlock::allow_port(ruleset, *port, *access).map_err(at(Step::Rules))?;
    }
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3` (capget(2)).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `SECBIT_*` of `include/uapi/linux/securebits.h`: root is nobody special, and that cannot be changed back.
const SECURE_BITS: c_ulong = 0b1110_1111;

/// Becomes its user and keeps nothing of what root may, but for what the manifest of a service of the system names.
fn take_capabilities(prepared: &Prepared) -> nix::Result<()> {
    let Some(kept) = prepared.capabilities else { return become_user(prepared.user) };
    for capability in 0..64_u32 {
        let is_kept = kept & (1 << capability) != 0;
        // Numbers that this kernel does not know are refused, which is as good.
        if !is_kept && raw::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability), 0) == Err(Errno::EPERM) {
            // Nothing to drop it with, so nothing that could be got by it either.
            break;
        }
    }
    become_user(prepared.user)?;
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let half = |shift: u32| {
        let bits = u32::try_from(kept >> shift & u64::from(u32::MAX)).unwrap_or(0);
        CapabilityData { effective: bits, permitted: bits, inheritable: bits }
    };
    if kept != 0 {
        call(libc::SYS_capset, [pointer(&header), pointer(&[half(0), half(32)]), 0, 0, 0])?;
        for capability in (0..64_u32).filter(|capability| kept & (1 << capability) != 0) {
            raw::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as c_ulong, c_ulong::from(capability))?;
        }
    }
    // Without CAP_SETPCAP there is no privilege left that this would keep away.
    let _ = raw::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0);
    call(libc::SYS_capset, [pointer(&header), pointer(&[half(0), half(32)]), 0, 0, 0]).map(drop)
}

fn become_user(user: Option<u32>) -> nix::Result<()> {
    let Some(user) = user.map(c_long::from) else { return Ok(()) };
    call(libc::SYS_setgroups, [0; 5])?;
    call(libc::SYS_setresgid, [user, user, user, 0, 0])?;
    call(libc::SYS_setresuid, [user, user, user, 0, 0]).map(drop)
}

/// What init blocks or ignores, and what it was itself started with ignored, must not reach a service.
fn reset_signals() -> nix::Result<()> {
    /// The kernel's `struct sigaction`, all zero: the default. It is not larger on any architecture.
    const DEFAULT: [u64; 8] = [0; 8];
    /// In bytes: 64 signals.
    const SET: c_long = 8;
    for number in 1..=64 {
        // Refused for SIGKILL and SIGSTOP, as it should be.
        let _ = call(libc::SYS_rt_sigaction, [number, pointer(&DEFAULT), 0, SET, 0]);
    }
    let none = 0_u64;
    call(libc::SYS_rt_sigprocmask, [word(libc::SIG_SETMASK), pointer(&none), 0, SET, 0]).map(drop)
}

/// Restricts the system calls; answers the descriptor on which refusals are heard.
fn restrict_calls(filter: &[libc::sock_filter]) -> nix::Result<RawFd> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        filter: filter.as_ptr().cast_mut(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as c_long;
    let arguments = [c_long::from(libc::SECCOMP_SET_MODE_FILTER), flags, pointer(&program), 0, 0];
    raw::descriptor(call(libc::SYS_seccomp, arguments)?)
}

/// Writes this process' number behind `LISTEN_PID=`.
fn write_own_pid(prepared: &Prepared) {
    let mut rest = call(libc::SYS_getpid, [0; 5]).map_or(0, |pid| u32::try_from(pid).unwrap_or(0));
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
