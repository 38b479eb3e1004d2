//! What init is to the processes above and below it.

use std::io;
use std::os::unix::process::parent_id;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::{Mode, umask};

/// Makes every orphan below init a child of init, so that none escapes (prctl(2), `PR_SET_CHILD_SUBREAPER`).
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Has the kernel send SIGTERM to init when the process that started it ends.
pub(crate) fn end_with_parent() -> io::Result<()> {
    let parent = parent_id();
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if parent_id() != parent {
        // It ended before the kernel knew that we want to hear of it.
        raise(Signal::SIGTERM)?;
    }
    Ok(())
}

/// Whether init may make namespaces without a user namespace around them (`CAP_SYS_ADMIN`, capabilities(7)).
pub(crate) fn is_privileged() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SYS_ADMIN != 0)
}

/// Lets init have as many open files as it may: a child keeps what is its own above the bound on its files.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Keeps all of init in memory, its program as well: where memory is short, init is who does something about it. No process
/// that it starts inherits that (mlockall(2)).
pub(crate) fn stay_in_memory() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)?)
}

/// Whatever init creates is for its owner alone.
pub(crate) fn restrict_new_files() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
