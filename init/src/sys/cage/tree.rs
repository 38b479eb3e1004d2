//! The root of a cage: from the parts of a plan to operations, each a few system calls of the child.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use zeroize::Zeroizing;

use super::raw::{self, HERE, call, pointer, word};
use crate::cage::{Part, Sight};

/// mount_setattr(2).
const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// The root itself, once it is complete.
pub(super) const ROOT: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
/// openat2(2).
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;

/// A step in making a root. The working folder is that root; targets are relative to it.
pub(super) enum Operation {
    Folder(CString),
    /// An empty file to mount on.
    Place(CString),
    File {
        target: CString,
        content: Zeroizing<Vec<u8>>,
        owner: Option<u32>,
    },
    Bind {
        source: CString,
        resolve: u64,
        target: CString,
        attributes: u64,
        /// A user namespace that says whose its files are in the cage.
        id_map: Option<RawFd>,
    },
    Memory {
        target: CString,
        options: CString,
    },
    Processes(CString),
}

impl Operation {
    /// Does it. Called in the child: allocates nothing.
    pub(super) fn carry_out(&self) -> nix::Result<()> {
        match self {
            Self::Folder(target) => raw::make_folder(target),
            Self::Place(target) => raw::create(target, 0o444).map(raw::close),
            Self::File { target, content, owner } => {
                let file = raw::create(target, 0o400)?;
                raw::write(file, content)?;
                if let Some(owner) = owner.map(c_long::from) {
                    call(libc::SYS_fchown, [word(file), owner, owner, 0, 0])?;
                }
                raw::close(file);
                Ok(())
            }
            Self::Bind { source, resolve, target, attributes, id_map } => {
                bind(source, *resolve, target, *attributes, *id_map)
            }
            Self::Memory { target, options } => mount(c"tmpfs", target, options),
            Self::Processes(target) => mount(c"proc", target, c"hidepid=invisible"),
        }
    }
}

fn mount(kind: &CStr, target: &CStr, options: &CStr) -> nix::Result<()> {
    let flags = (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC).cast_signed();
    call(libc::SYS_mount, [pointer(kind), pointer(target), pointer(kind), flags, pointer(options)]).map(drop)
}

/// Makes an empty file system in memory, mounts it and makes it the working folder (fsopen(2), fsmount(2)).
pub(super) fn mount_root() -> nix::Result<()> {
    let context = raw::descriptor(call(libc::SYS_fsopen, [pointer(c"tmpfs"), 1, 0, 0, 0])?)?;
    for (key, value) in [(c"mode", c"0755"), (c"size", c"8m"), (c"nr_inodes", c"2048")] {
        call(libc::SYS_fsconfig, [word(context), FSCONFIG_SET_STRING, pointer(key), pointer(value), 0])?;
    }
    call(libc::SYS_fsconfig, [word(context), FSCONFIG_CMD_CREATE, 0, 0, 0])?;
    // Not read-only yet.
    let attributes = (ROOT & !RDONLY).cast_signed();
    let root = raw::descriptor(call(libc::SYS_fsmount, [word(context), 1, attributes, 0, 0])?)?;
    raw::close(context);
    let flags = c_long::from(libc::MOVE_MOUNT_F_EMPTY_PATH);
    call(libc::SYS_move_mount, [word(root), pointer(c""), HERE, pointer(c"/"), flags])?;
    call(libc::SYS_fchdir, [word(root), 0, 0, 0, 0])?;
    raw::close(root);
    Ok(())
}

/// `enum fsconfig_command` of `include/uapi/linux/mount.h`.
const FSCONFIG_SET_STRING: c_long = 1;
const FSCONFIG_CMD_CREATE: c_long = 6;

fn bind(source: &CStr, resolve: u64, target: &CStr, attributes: u64, id_map: Option<RawFd>) -> nix::Result<()> {
    let place = raw::open_place(source, resolve)?;
    let flags = c_long::from(libc::OPEN_TREE_CLONE)
        | c_long::from(libc::OPEN_TREE_CLOEXEC)
        | word(libc::AT_EMPTY_PATH | libc::AT_RECURSIVE);
    let tree = raw::descriptor(call(libc::SYS_open_tree, [word(place), pointer(c""), flags, 0, 0])?)?;
    raw::close(place);
    set_attributes(word(tree), c"", attributes, id_map)?;
    let flags = c_long::from(libc::MOVE_MOUNT_F_EMPTY_PATH);
    call(libc::SYS_move_mount, [word(tree), pointer(c""), HERE, pointer(target), flags])?;
    raw::close(tree);
    Ok(())
}

/// Adds attributes to a mount, and with it to all below.
pub(super) fn set_attributes(folder: c_long, path: &CStr, attributes: u64, id_map: Option<RawFd>) -> nix::Result<()> {
    let id_mapped = if id_map.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let attr = libc::mount_attr {
        attr_set: attributes | id_mapped,
        attr_clr: 0,
        propagation: 0,
        userns_fd: id_map.map_or(0, |descriptor| u64::from(descriptor.unsigned_abs())),
    };
    let flags = word(if path.is_empty() { libc::AT_EMPTY_PATH | libc::AT_RECURSIVE } else { 0 });
    let size = size_of::<libc::mount_attr>() as c_long;
    call(libc::SYS_mount_setattr, [folder, pointer(path), flags, pointer(&attr), size]).map(drop)
}

/// Why a root cannot be put together.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be shown to it: {source}")]
pub(crate) struct PartError {
    path: String,
    source: io::Error,
}

/// A part that is there.
pub(super) struct Found<'a> {
    pub(super) part: &'a Part,
    pub(super) is_folder: bool,
    /// Whether its files are to be the service's own: what is ours, and what others than its owner may not read, for the
    /// manifest says that this one may.
    is_mapped: bool,
}

/// What of the parts is there. What a distribution does not have is not seen; what is ours must be there.
pub(super) fn present(parts: &[Part]) -> Result<Vec<Found<'_>>, PartError> {
    let mut found = Vec::new();
    for part in parts {
        let Part::Bound { source, .. } = part else {
            found.push(Found { part, is_folder: !matches!(part, Part::File { .. }), is_mapped: false });
            continue;
        };
        let metadata = if source.is_ours { source.path.symlink_metadata() } else { source.path.metadata() };
        match metadata {
            Ok(metadata) => {
                let is_private = metadata.mode() & 0o004 == 0;
                found.push(Found { part, is_folder: metadata.is_dir(), is_mapped: source.is_ours || is_private });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !source.is_ours => {}
            Err(error) => return Err(PartError { path: source.path.display().to_string(), source: error }),
        }
    }
    // A folder comes before what is mounted in it.
    found.sort_by(|a, b| a.part.target().cmp(b.part.target()));
    Ok(found)
}

/// The operations that put a root together. `owner` is the user of the service where it has one of its own, `id_map` a
/// user namespace in which the owner of everything on the disk is that user.
pub(super) fn operations(parts: &[Found<'_>], owner: Option<u32>, id_map: Option<BorrowedFd<'_>>) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut made = BTreeSet::new();
    let mut bound: Vec<&str> = Vec::new();
    for found in parts {
        let (part, target) = (found.part, found.part.target());
        let is_below = |folder: &&str| target.strip_prefix(*folder).is_some_and(|rest| rest.starts_with('/'));
        // Below something that is bound lies what is there already.
        if !bound.iter().any(is_below) {
            let above = Path::new(target).ancestors().skip(1).filter(|path| path.parent().is_some());
            let above: Vec<&Path> = above.collect();
            let missing = above.into_iter().rev().filter(|path| made.insert(path.to_path_buf()));
            operations.extend(missing.map(|path| Operation::Folder(relative(path))));
            let place = relative(Path::new(target));
            match part {
                Part::File { .. } => {}
                _ if found.is_folder => {
                    if made.insert(target.into()) {
                        operations.push(Operation::Folder(place));
                    }
                }
                _ => operations.push(Operation::Place(place)),
            }
        }
        operations.push(operation(part, owner, id_map.filter(|_| found.is_mapped)));
        if matches!(part, Part::Bound { .. }) {
            bound.push(target);
        }
    }
    operations
}

fn operation(part: &Part, owner: Option<u32>, id_map: Option<BorrowedFd<'_>>) -> Operation {
    let target = relative(Path::new(part.target()));
    match part {
        Part::Bound { source, sight, .. } => Operation::Bind {
            source: text(source.path.as_os_str().as_bytes()),
            resolve: if source.is_ours { RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS } else { RESOLVE_NO_MAGICLINKS },
            target,
            attributes: attributes(*sight),
            id_map: id_map.map(|id_map| id_map.as_raw_fd()),
        },
        Part::Scratch { bytes, .. } => {
            let owner = owner.map_or(String::new(), |owner| format!(",uid={owner},gid={owner}"));
            let options = format!("mode=0700,size={bytes},nr_inodes=4096{owner}");
            Operation::Memory { target, options: text(options.as_bytes()) }
        }
        Part::File { content, .. } => Operation::File { target, content: content.0.clone(), owner },
        Part::Processes => Operation::Processes(target),
    }
}

fn attributes(sight: Sight) -> u64 {
    match sight {
        Sight::Read | Sight::Connect => RDONLY | NOSUID | NODEV | NOEXEC,
        Sight::Execute => RDONLY | NOSUID | NODEV,
        Sight::Write => NOSUID | NODEV | NOEXEC | NOSYMFOLLOW,
        Sight::Device => NOSUID | NOEXEC,
    }
}

fn relative(path: &Path) -> CString {
    text(path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes())
}

/// Paths come from manifests and from our own layout, which hold no zero bytes; an empty one is refused by the kernel.
fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

/// What failed, of the operation with this number.
pub(super) fn name(operations: &[Operation], number: u16) -> String {
    let shown = operations.get(usize::from(number)).map(|operation| match operation {
        Operation::Bind { source, .. } => source.to_string_lossy().into_owned(),
        Operation::Folder(target) | Operation::Place(target) | Operation::Processes(target) => {
            format!("/{}", target.to_string_lossy())
        }
        Operation::File { target, .. } | Operation::Memory { target, .. } => format!("/{}", target.to_string_lossy()),
    });
    shown.unwrap_or_default()
}

/// Whether an operation failed because its file system knows no id-mapped mounts.
pub(super) fn lacks_id_maps(operations: &[Operation], number: u16, errno: Errno) -> bool {
    let is_mapped = matches!(operations.get(usize::from(number)), Some(Operation::Bind { id_map: Some(_), .. }));
    is_mapped && matches!(errno, Errno::EINVAL | Errno::EPERM | Errno::EOPNOTSUPP)
}
