//! Quotas of projects on a file system (quotactl_fd(2), Linux 5.14): how much the files of one may take, and take.
//!
//! Which files belong to a project is said in `project`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::fstatvfs;

use super::project;
use crate::cage::Room;

/// Of `include/uapi/linux/quota.h` and `dqblk_xfs.h`: bounds of projects.
const PROJECTS: i32 = 2;
const GET_QUOTA: i32 = 0x80_0007;
const SET_QUOTA: i32 = 0x80_0008;
const GET_STATE: i32 = (b'X' as i32) << 8 | 8;
/// `QIF_BLIMITS` and `QIF_ILIMITS`: the bounds of a `struct if_dqblk` are meant.
const BOUNDS: u32 = 1 | 4;
/// `QIF_DQBLKSIZE`: in such blocks bounds are, of bytes.
const BLOCK: u64 = 1024;
/// `FS_QUOTA_PDQ_ENFD`: bounds of projects hold.
const HOLD: u16 = 1 << 5;
/// `FS_QSTATV_VERSION1`, and the size of `struct fs_quota_statv`, with room to spare.
const STATE_VERSION: u8 = 1;
const STATE: usize = 256;

/// The quotas of a file system.
pub(crate) struct Quotas(File);

/// What a project uses of what it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) used: Room,
    /// Nothing in it is no bound.
    pub(crate) bound: Room,
}

impl Quotas {
    /// Those of the file system of this folder.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        File::open(folder).map(Self)
    }

    /// Finds out whether they hold here: counts a file of a project that is used for nothing else, and sets its bound.
    /// Leaves nothing behind.
    ///
    /// # Errors
    /// What this file system does not do.
    pub(crate) fn try_out(folder: &Path, project: u32) -> io::Result<()> {
        const TRIED: Room = Room { bytes: 1 << 20, files: 100 };
        let quotas = Self::open(folder)?;
        if !quotas.hold()? {
            return Err(io::Error::other("the file system counts, and does not bound: it is mounted without prjquota"));
        }
        quotas.bound(project, TRIED)?;
        let counted = quotas.count(folder, project);
        quotas.bound(project, Room::default())?;
        let read = counted?;
        if read.bound != TRIED || read.used.files > 1 {
            return Err(io::Error::other(format!("what was set is not what was read: {read:?}")));
        }
        Ok(())
    }

    /// What a project uses that has one empty file. On a disk that is full there is none, and no reason to run nothing.
    fn count(&self, folder: &Path, project: u32) -> io::Result<Quota> {
        let mut options = File::options();
        match options.write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder) {
            Ok(file) => {
                project::give(&file, project)?;
                let quota = self.of(project)?;
                let is_counted = quota.used.files == 1;
                if is_counted { Ok(quota) } else { Err(io::Error::other("a file that belongs to it is not counted")) }
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.of(project),
            Err(error) => Err(error),
        }
    }

    /// What a project uses. One that nobody has ever used uses nothing.
    pub(crate) fn of(&self, project: u32) -> io::Result<Quota> {
        let mut block = block();
        match self.ask(GET_QUOTA, project, &mut block) {
            Err(Errno::ENOENT | Errno::ESRCH) => return Ok(Quota::default()),
            other => other?,
        }
        Ok(Quota {
            used: Room { bytes: block.dqb_curspace, files: block.dqb_curinodes },
            bound: Room { bytes: block.dqb_bhardlimit.saturating_mul(BLOCK), files: block.dqb_ihardlimit },
        })
    }

    /// Bounds a project. Nothing is no bound.
    pub(crate) fn bound(&self, project: u32, bound: Room) -> io::Result<()> {
        let mut block = block();
        block.dqb_bhardlimit = bound.bytes / BLOCK;
        block.dqb_ihardlimit = bound.files;
        block.dqb_valid = BOUNDS;
        Ok(self.ask(SET_QUOTA, project, &mut block)?)
    }

    /// What is free for everybody.
    pub(crate) fn free(&self) -> io::Result<Room> {
        let all = fstatvfs(&self.0)?;
        Ok(Room { bytes: all.blocks_available().saturating_mul(all.fragment_size()), files: all.files_available() })
    }

    fn hold(&self) -> io::Result<bool> {
        let mut state = [0_u8; STATE];
        if let Some(version) = state.first_mut() {
            *version = STATE_VERSION;
        }
        self.ask(GET_STATE, 0, &mut state)?;
        let flags = state.get(2..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_ne_bytes(*bytes));
        Ok(flags & HOLD != 0)
    }

    fn ask<T>(&self, command: i32, project: u32, structure: &mut T) -> nix::Result<()> {
        let command = command << 8 | PROJECTS;
        #[expect(unsafe_code, reason = "nix has no quotactl_fd")]
        // SAFETY: each command reads and writes the structure that belongs to it, which is alive and as large as that.
        let result = unsafe {
            libc::syscall(libc::SYS_quotactl_fd, self.0.as_raw_fd(), command, project, std::ptr::from_mut(structure))
        };
        Errno::result(result).map(drop)
    }
}

/// `struct if_dqblk`.
fn block() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// Whether a folder lies in memory: nothing in it outlives the machine.
pub(crate) fn is_in_memory(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|folder| fstatfs(&folder).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC))
}
