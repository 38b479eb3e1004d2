//! File systems: mounted, moved, left.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, umount2};

/// A file system to be mounted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mount<'a> {
    /// A device, or any word where the kind needs none.
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
    /// `ext4`, `tmpfs` …
    pub(crate) kind: &'a str,
    pub(crate) access: Access,
    /// What the file system itself understands.
    pub(crate) options: &'a str,
}

/// What may be done on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading, and running programs: the root.
    ReadOnly,
    /// Reading files that are no programs.
    ReadOnlyFiles,
    /// Devices are used, nothing is executed.
    Devices,
    /// Files are written, nothing is executed.
    Files,
    /// Files are written and may be programs.
    Programs,
}

impl Access {
    fn flags(self) -> MsFlags {
        let no_devices = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        match self {
            Self::ReadOnly => MsFlags::MS_RDONLY | no_devices,
            Self::ReadOnlyFiles => MsFlags::MS_RDONLY | no_devices | MsFlags::MS_NOEXEC,
            Self::Devices => MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            Self::Files => no_devices | MsFlags::MS_NOEXEC,
            Self::Programs => no_devices | MsFlags::MS_NOATIME,
        }
    }
}

impl Mount<'_> {
    /// Mounts it, on a folder that is made where it can be.
    pub(crate) fn mount(&self) -> io::Result<()> {
        // On the root, which is read-only, the folders are there.
        let _ = fs::create_dir_all(self.target);
        let options = Some(self.options).filter(|options| !options.is_empty());
        Ok(nix::mount::mount(Some(self.source), self.target, Some(self.kind), self.access.flags(), options)?)
    }
}

/// Changes what may be done on the file system that is mounted on `target`.
pub(crate) fn remount(target: &Path, access: Access) -> io::Result<()> {
    let flags = MsFlags::MS_REMOUNT | access.flags();
    Ok(nix::mount::mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?)
}

/// Makes `root` the root, with the mounts `kept` moved into it. What was the root before can no longer be reached
/// (Linux, `Documentation/filesystems/ramfs-rootfs-initramfs.rst`).
pub(crate) fn switch_root(root: &Path, kept: &[&str]) -> io::Result<()> {
    let go = |source: &Path, target: &Path| {
        nix::mount::mount(Some(source), target, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
    };
    for mounted in kept {
        go(Path::new(mounted), &root.join(mounted.trim_start_matches('/')))?;
    }
    nix::unistd::chdir(root)?;
    go(Path::new("."), Path::new("/"))?;
    nix::unistd::chroot(".")?;
    Ok(nix::unistd::chdir("/")?)
}

/// Unmounts what is mounted on `target`; where it is in use, makes it read-only, so that it is left clean all the same.
pub(crate) fn unmount(target: &str) -> io::Result<()> {
    match umount2(target, MntFlags::empty()) {
        Err(nix::errno::Errno::EBUSY) => {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            Ok(nix::mount::mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?)
        }
        other => Ok(other?),
    }
}

/// Becomes another program, in this process; answers only why that failed.
pub(crate) fn become_program(program: &Path, arguments: &[&str]) -> io::Error {
    let text = |bytes: &[u8]| std::ffi::CString::new(bytes).unwrap_or_default();
    let arguments: Vec<_> = arguments.iter().map(|argument| text(argument.as_bytes())).collect();
    match nix::unistd::execv(&text(program.as_os_str().as_bytes()), &arguments) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}
