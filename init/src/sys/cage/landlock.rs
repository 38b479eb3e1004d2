//! Landlock: files and ports a second time, and nothing to the outside by signals or abstract sockets
//! (Linux, `Documentation/userspace-api/landlock.rst`; the numbers are those of `include/uapi/linux/landlock.h`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

use super::raw::{self, pointer, word};
use crate::cage::Sight;

/// The structure of ABI 6; an older kernel is given as much of it as it knows.
#[repr(C)]
#[derive(Default)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

#[repr(C)]
struct NetPortAttr {
    allowed_access: u64,
    port: u64,
}

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Making devices: refused everywhere.
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// All that the first ABI knows.
const FIRST: u64 = (1 << 13) - 1;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const SCOPED: u64 = 3;

const CREATE_VERSION: i64 = 1;
const RULE_PATH: i64 = 1;
const RULE_PORT: i64 = 2;

/// Which version of Landlock this kernel has; 0: none.
pub(crate) fn version() -> u32 {
    let result = raw::call(libc::SYS_landlock_create_ruleset, [0, 0, CREATE_VERSION, 0, 0]);
    result.ok().and_then(|version| u32::try_from(version).ok()).unwrap_or(0)
}

/// The version from which signals and abstract sockets can be held.
pub(crate) const SCOPES: u32 = 6;

/// A set of rules to which nothing is allowed yet.
#[derive(Debug)]
pub(super) struct Ruleset {
    pub(super) descriptor: OwnedFd,
    version: u32,
}

impl Ruleset {
    /// `ports`: whether TCP ports are held as well; `scope`: whether signals and abstract sockets are.
    pub(super) fn create(ports: bool, scope: bool) -> nix::Result<Self> {
        let version = version();
        let attr = RulesetAttr {
            handled_access_fs: handled(version),
            handled_access_net: if ports && version >= 4 { BIND_TCP | CONNECT_TCP } else { 0 },
            scoped: if scope && version >= SCOPES { SCOPED } else { 0 },
        };
        let size = match version {
            0..=3 => 8,
            4..=5 => 16,
            _ => 24,
        };
        let number = raw::call(libc::SYS_landlock_create_ruleset, [pointer(&attr), size, 0, 0, 0])?;
        #[expect(unsafe_code, reason = "a system call answers a number")]
        // SAFETY: the kernel has just opened it, and nobody else knows the number.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw::descriptor(number)?) };
        Ok(Self { descriptor, version })
    }

    /// What is allowed with something of which `sight` is planned.
    pub(super) fn access(&self, sight: Sight, is_folder: bool) -> u64 {
        let of_file = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
        let all = match sight {
            Sight::Read => READ_FILE | READ_DIR,
            Sight::Execute => READ_FILE | READ_DIR | EXECUTE,
            Sight::Write => (FIRST | REFER | TRUNCATE) & !(EXECUTE | MAKE_CHAR | MAKE_BLOCK),
            Sight::Device => READ_FILE | WRITE_FILE,
            Sight::Connect => READ_FILE | WRITE_FILE | READ_DIR,
        };
        all & handled(self.version) & if is_folder { u64::MAX } else { of_file }
    }
}

fn handled(version: u32) -> u64 {
    let more = [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)];
    more.iter().filter(|(since, _)| version >= *since).fold(FIRST, |all, (_, access)| all | access)
}

/// What the one program that is executed needs.
pub(super) const PROGRAM: u64 = EXECUTE | READ_FILE;
/// Listing folders.
pub(super) const LIST: u64 = READ_DIR;
pub(super) const CONNECT: u64 = CONNECT_TCP;
pub(super) const BIND: u64 = BIND_TCP;

/// Allows `access` to the place that is open as `place`. For the child: allocates nothing.
pub(super) fn allow_place(ruleset: RawFd, place: RawFd, access: u64) -> nix::Result<()> {
    let attr = PathBeneathAttr { allowed_access: access, parent_fd: place };
    let arguments = [word(ruleset), RULE_PATH, pointer(&attr), 0, 0];
    raw::call(libc::SYS_landlock_add_rule, arguments).map(drop)
}

/// Allows `access` to a TCP port. A kernel that does not hold ports allows them all.
pub(super) fn allow_port(ruleset: RawFd, port: u16, access: u64) -> nix::Result<()> {
    let attr = NetPortAttr { allowed_access: access, port: u64::from(port) };
    match raw::call(libc::SYS_landlock_add_rule, [word(ruleset), RULE_PORT, pointer(&attr), 0, 0]) {
        Err(Errno::EINVAL) => Ok(()),
        other => other.map(drop),
    }
}

/// Puts the rules into force. For the child: allocates nothing.
pub(super) fn restrict(ruleset: RawFd) -> nix::Result<()> {
    raw::call(libc::SYS_landlock_restrict_self, [word(ruleset), 0, 0, 0, 0]).map(drop)
}
