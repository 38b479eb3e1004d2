//! Which project files belong to (`FS_IOC_FSSETXATTR`; Linux, `include/uapi/linux/fs.h`). What is made in a folder of a
//! project belongs to it as well, and nothing of another is moved or linked into it.
//!
//! Whoever writes in a tree that is given away here may be hostile: no link is followed, no device or pipe is touched,
//! nothing outside of the file system is reached, and each step goes from an open folder to one name in it. A file that
//! has further links belongs to the project with all of them; it is counted, nothing else.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

/// Folders may lie so deep in each other; each takes two descriptors while it is walked.
const DEEPEST: u32 = 128;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_XFLAG_PROJINHERIT`: what is made in this folder belongs to its project.
const INHERIT: u32 = 0x200;

mod requests {
    use super::Attributes;

    nix::ioctl_read!(get, b'X', 31, Attributes);
    nix::ioctl_write_ptr!(set, b'X', 32, Attributes);
}

/// Gives a folder with all that is in it to a project, or a single file. One that is the project's already is left as it
/// is, so that this costs next to nothing but once: the folder itself comes last, after all that is in it, and so a cut in
/// between leaves nothing out.
///
/// # Errors
/// The file system has no projects, or the tree cannot be walked.
pub(crate) fn give_tree(path: &Path, project: u32) -> io::Result<()> {
    let how =
        OpenHow::new().flags(FLAGS).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let top = openat2(nix::fcntl::AT_FDCWD, path, how)?;
    if is_of(&top, project)? {
        return Ok(());
    }
    let status = fstat(&top)?;
    if kind(&status) == SFlag::S_IFDIR {
        walk(&top, status.st_dev, DEEPEST, &|file| give(file, project))?;
    }
    give(&top, project)
}

/// Gives one file or folder that is open to a project.
pub(super) fn give(file: &impl AsFd, project: u32) -> io::Result<()> {
    let mut attributes = attributes(file)?;
    let inherits = if kind(&fstat(file)?) == SFlag::S_IFDIR { INHERIT } else { 0 };
    if (attributes.project, attributes.flags & INHERIT) == (project, inherits) {
        return Ok(());
    }
    attributes.project = project;
    attributes.flags |= inherits;
    #[expect(unsafe_code, reason = "nix makes ioctls unsafe functions")]
    // SAFETY: the kernel reads one structure of this layout.
    unsafe { requests::set(file.as_fd().as_raw_fd(), &raw const attributes) }?;
    Ok(())
}

fn is_of(file: &impl AsFd, project: u32) -> io::Result<bool> {
    let attributes = attributes(file)?;
    let is_folder = kind(&fstat(file)?) == SFlag::S_IFDIR;
    Ok(attributes.project == project && (!is_folder || attributes.flags & INHERIT != 0))
}

fn attributes(file: &impl AsFd) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    #[expect(unsafe_code, reason = "nix makes ioctls unsafe functions")]
    // SAFETY: the kernel writes one structure of this layout.
    unsafe { requests::get(file.as_fd().as_raw_fd(), &raw mut attributes) }?;
    Ok(attributes)
}

/// Neither waits for anybody nor follows a link.
const FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// Does something to each file and folder below one; to a folder before what is in it, so that what is made meanwhile is
/// not missed.
fn walk(folder: &OwnedFd, device: u64, deepest: u32, act: &impl Fn(&OwnedFd) -> io::Result<()>) -> io::Result<()> {
    let deeper = deepest.checked_sub(1).ok_or_else(|| {
        io::Error::other(format!("folders lie in each other more than {DEEPEST} deep: move what is in there up"))
    })?;
    for entry in Dir::openat(folder, c".", FLAGS | OFlag::O_DIRECTORY, Mode::empty())?.into_iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Some((file, is_folder)) = open_entry(folder, name, device)? else { continue };
        act(&file)?;
        if is_folder {
            walk(&file, device, deeper, act)?;
        }
    }
    Ok(())
}

/// A file or folder of that name on the same file system. Whatever else it is, or if it has gone meanwhile: `None`.
fn open_entry(folder: &OwnedFd, name: &CStr, device: u64) -> io::Result<Option<(OwnedFd, bool)>> {
    let is_meant =
        |status: &FileStat| status.st_dev == device && matches!(kind(status), SFlag::S_IFDIR | SFlag::S_IFREG);
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(None),
        Ok(status) if !is_meant(&status) => return Ok(None),
        other => other?,
    };
    let file = match openat(folder, name, FLAGS, Mode::empty()) {
        // It was replaced since: by nothing, by a link, by a socket or a device.
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EACCES) => return Ok(None),
        other => other?,
    };
    let status = fstat(&file)?;
    let is_folder = kind(&status) == SFlag::S_IFDIR;
    Ok(is_meant(&status).then_some((file, is_folder)))
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn walked(folder: &Path) -> io::Result<BTreeSet<u64>> {
        let seen = RefCell::new(BTreeSet::new());
        let top: OwnedFd = fs::File::open(folder)?.into();
        let device = fstat(&top)?.st_dev;
        walk(&top, device, DEEPEST, &|file| {
            seen.borrow_mut().insert(fstat(file)?.st_ino);
            Ok(())
        })?;
        Ok(seen.into_inner())
    }

    #[test]
    fn a_walk_reaches_files_and_folders_and_nothing_else() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("secret"), "x").expect("written");
        let folder = tempfile::tempdir().expect("a folder");
        let inside = |name: &str| folder.path().join(name);
        fs::create_dir_all(inside("a/b")).expect("made");
        fs::write(inside("a/b/file"), "x").expect("written");
        std::os::unix::fs::symlink(outside.path(), inside("link")).expect("linked");
        std::os::unix::fs::symlink(outside.path().join("secret"), inside("a/link")).expect("linked");
        nix::unistd::mkfifo(&inside("pipe"), Mode::S_IRWXU).expect("made");
        let _socket = UnixListener::bind(inside("socket")).expect("bound");
        let numbers = |names: &[&str]| -> BTreeSet<u64> {
            names.iter().map(|name| fs::symlink_metadata(inside(name)).expect("there").ino()).collect()
        };
        assert_eq!(walked(folder.path()).expect("walked"), numbers(&["a", "a/b", "a/b/file"]));
    }

    #[test]
    fn what_lies_too_deep_is_an_error_and_no_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = "d/".repeat(DEEPEST as usize + 1);
        fs::create_dir_all(folder.path().join(deep)).expect("made");
        let error = walked(folder.path()).expect_err("too deep").to_string();
        assert!(error.contains("more than 128 deep"), "{error}");
    }

    #[test]
    fn the_structure_is_that_of_the_header_file() {
        assert_eq!(size_of::<Attributes>(), 28);
    }
}
