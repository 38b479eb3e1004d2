//! What init is to the processes above and below it.

use std::io;
use std::os::unix::process::parent_id;

use nix::sys::prctl;
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

/// Whatever init creates is for its owner alone.
pub(crate) fn restrict_new_files() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
