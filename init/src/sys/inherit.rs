//! What a service of init's own finds when it starts: descriptors and a name (sd_listen_fds(3)).

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;

/// The first inherited descriptor (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// Takes the inherited descriptor of this name. To be called once for each name, before anything else is opened.
pub(crate) fn inherited(name: &str) -> Option<OwnedFd> {
    let variable = |key: &str| std::env::var(key).ok();
    if variable("LISTEN_PID")? != std::process::id().to_string() {
        return None;
    }
    let count: usize = variable("LISTEN_FDS")?.parse().ok()?;
    let names = variable("LISTEN_FDNAMES")?;
    let index = names.split(':').take(count).position(|candidate| candidate == name)?;
    let number = FIRST.checked_add(RawFd::try_from(index).ok()?)?;
    #[expect(unsafe_code, reason = "a number becomes an owned descriptor in this one place")]
    // SAFETY: LISTEN_PID says that it was handed to this very process, which owns it and takes it once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    // It fails only where the descriptor is not open, which whoever uses it will see.
    let _ = fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    Some(descriptor)
}

/// The name under which the process is listed (`/proc/<pid>/comm`).
pub(crate) fn name_process(name: &CStr) -> io::Result<()> {
    Ok(prctl::set_name(name)?)
}
