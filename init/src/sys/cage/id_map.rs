//! Whose the files in a cage are: a user namespace for id-mapped mounts (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use nix::libc;
use nix::sys::signal::Signal;

use super::launch::{Born, give_birth};
use super::raw;

/// A user namespace in which root, whose everything on the disk is, is `user`.
pub(super) fn owned_by(user: u32) -> io::Result<OwnedFd> {
    // SAFETY of the child: it does nothing but wait to be killed.
    match give_birth(u64::from(libc::CLONE_NEWUSER.cast_unsigned()), None)? {
        Born::Child => loop {
            let _ = raw::call(libc::SYS_ppoll, [0; 5]);
        },
        Born::Parent(child) => {
            let folder = format!("/proc/{}", child.pid());
            let map = format!("0 {user} 1\n");
            let opened = fs::write(format!("{folder}/uid_map"), &map)
                .and_then(|()| fs::write(format!("{folder}/gid_map"), &map))
                .and_then(|()| File::open(format!("{folder}/ns/user")));
            child.signal(Signal::SIGKILL);
            child.wait();
            opened.map(OwnedFd::from)
        }
    }
}
