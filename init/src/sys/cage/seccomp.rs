//! The list of system calls: compiled before the child is born, told of what it refused.
//!
//! What is not allowed is answered by init (seccomp_unotify(2)): always with EPERM, and with a word about it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use syscalls::Sysno;

use crate::cage::{Check, Profile};

/// Stands for "ask init" until the program is compiled: the compiler knows no such answer.
const ASK: u32 = 0x7A5C;
/// Numbers above belong to other ways of calling (x32) or to calls that nobody has yet.
const NUMBERS: u32 = 512;
/// Offsets into `struct seccomp_data` (seccomp(2)).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_*` of `include/uapi/linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const OWN: (TargetArch, u32) = (TargetArch::x86_64, 0xC000_003E);
#[cfg(target_arch = "aarch64")]
const OWN: (TargetArch, u32) = (TargetArch::aarch64, 0xC000_00B7);

/// The program of the kernel's filter for `profile`; see [`Profile::rules`] for the two numbers.
///
/// # Errors
/// Only where the profile itself is not sound, which a test rules out.
pub(super) fn compile(profile: &Profile, exec: u32, report: u32) -> Result<Vec<libc::sock_filter>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (name, alternatives) in profile.rules(exec, report) {
        // What this architecture does not have needs no rule.
        let Ok(number) = name.parse::<Sysno>() else { continue };
        let unconditional = alternatives.iter().any(Vec::is_empty);
        let alternatives = if unconditional { Vec::new() } else { alternatives };
        let compiled = alternatives.iter().map(|checks| rule(checks)).collect::<Result<_, _>>();
        rules.insert(i64::from(number.id()), compiled.map_err(|error| format!("{name}: {error}"))?);
    }
    let filter = SeccompFilter::new(rules, SeccompAction::Trace(ASK), SeccompAction::Allow, OWN.0);
    let compiled = filter.and_then(seccompiler::BpfProgram::try_from).map_err(|error| error.to_string())?;
    let ask = libc::SECCOMP_RET_TRACE | ASK;
    let body = compiled.into_iter().map(|line| {
        let k = if line.code == RETURN && line.k == ask { libc::SECCOMP_RET_USER_NOTIF } else { line.k };
        libc::sock_filter { code: line.code, jt: line.jt, jf: line.jf, k }
    });
    Ok(prologue(profile).into_iter().chain(body).collect())
}

fn rule(checks: &[Check]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = checks.iter().map(|check| {
        let is_wide = check.mask > u64::from(u32::MAX);
        let length = if is_wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
        SeccompCondition::new(check.argument, length, SeccompCmpOp::MaskedEq(check.mask), check.value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// Instructions, in the width of `struct sock_filter` (`include/uapi/linux/bpf_common.h`): `BPF_LD | BPF_W | BPF_ABS`,
/// `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_JMP | BPF_JGE | BPF_K`, `BPF_RET | BPF_K`.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Another architecture's calls end the process; calls that are to seem absent are.
fn prologue(profile: &Profile) -> Vec<libc::sock_filter> {
    let line = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let absent = line(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned());
    let mut lines = vec![
        line(LOAD, 0, 0, ARCHITECTURE),
        line(EQUAL, 1, 0, OWN.1),
        line(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        line(LOAD, 0, 0, NUMBER),
        line(AT_LEAST, 0, 1, NUMBERS),
        absent,
    ];
    for number in profile.absent().into_iter().filter_map(|name| name.parse::<Sysno>().ok()) {
        lines.extend([line(EQUAL, 0, 1, number.id().cast_unsigned()), absent]);
    }
    lines
}

/// What a service tried that it may not.
pub(crate) struct Refusals(OwnedFd);

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    /// The system call.
    pub(crate) name: &'static str,
    /// Its first arguments: of a socket its family and type.
    pub(crate) arguments: [u64; 3],
}

nix::ioctl_readwrite!(receive, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(answer, b'!', 1, libc::seccomp_notif_resp);

impl Refusals {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The next call that waits to be refused, and refuses it. `None` when there is none, or nobody who could make one.
    pub(crate) fn next(&self) -> Option<Refusal> {
        // To receive where nothing waits would be to wait.
        let mut wanted = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let is_ready = matches!(poll(&mut wanted, PollTimeout::ZERO), Ok(1..));
        let events = wanted.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if !is_ready || !events.contains(PollFlags::POLLIN) {
            return None;
        }
        #[expect(unsafe_code, reason = "nix has no seccomp notifications")]
        // SAFETY: all zero is what the kernel wants to be given, and both pointers are live.
        unsafe {
            let mut call: libc::seccomp_notif = std::mem::zeroed();
            receive(self.0.as_raw_fd(), &raw mut call).ok()?;
            let mut refused: libc::seccomp_notif_resp = std::mem::zeroed();
            refused.id = call.id;
            refused.error = -libc::EPERM;
            // Whoever has died meanwhile needs no answer.
            let _: nix::Result<_> = answer(self.0.as_raw_fd(), &raw mut refused);
            let [first, second, third, ..] = call.data.args;
            let name =
                usize::try_from(call.data.nr).ok().and_then(Sysno::new).map_or("unknown", |number| number.name());
            Some(Refusal { name, arguments: [first, second, third] })
        }
    }
}

impl AsFd for Refusals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this kernel has it (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`).
pub(crate) fn check_seccomp() -> io::Result<()> {
    let action = libc::SECCOMP_RET_USER_NOTIF;
    let arguments = [i64::from(libc::SECCOMP_GET_ACTION_AVAIL), 0, super::raw::pointer(&action), 0, 0];
    Ok(super::raw::call(libc::SYS_seccomp, arguments).map(drop).map_err(|errno: Errno| errno)?)
}

#[cfg(test)]
mod tests {
    use spec::Extra;

    use super::*;

    #[test]
    fn every_profile_compiles_to_what_the_kernel_takes() {
        let all = Profile {
            is_dynamic: true,
            has_loopback: true,
            has_host_network: true,
            has_channel: true,
            sets_clock: true,
            sets_links: true,
            extras: vec![Extra::Processes, Extra::Openat2, Extra::Runtime],
        };
        for profile in [Profile::default(), all] {
            let program = compile(&profile, 900, 901).expect("compiled");
            assert!(program.len() < 4096, "{} lines", program.len());
            assert!(program.iter().any(|line| line.k == libc::SECCOMP_RET_USER_NOTIF));
            assert!(!program.iter().any(|line| line.code == RETURN && line.k == libc::SECCOMP_RET_TRACE | ASK));
        }
    }
}
