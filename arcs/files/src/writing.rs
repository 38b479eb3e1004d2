//! Writing a file: whole and at once, or at its end.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fsync, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::error::FilesError;
use crate::folder::Folder;
use crate::virtual_path::VirtualPath;

/// What the name of a file begins with that is being written and has not its own name yet. A crash in that moment
/// leaves it; it is neither listed nor read, and goes with its folder.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// What a new file may be used for, less the process's umask.
const NEW_FILE: u32 = 0o666;

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Folder {
    /// Writes the file at `path` in place of what was there: afterwards it is either the old or the new, whatever
    /// happens. Makes the folders above it.
    pub(crate) fn write(&self, path: &VirtualPath, bytes: &[u8]) -> Result<(), FilesError> {
        let (above, _) = path.split().ok_or_else(|| FilesError::IsFolder { path: path.clone() })?;
        self.make(&above)?;
        let (folder, name) = self.parent(path)?;
        let mode = mode_of(folder.as_fd(), name, path)?;
        let (mut file, unfinished) = create(folder.as_fd()).map_err(FilesError::at(path, "making the file"))?;
        let written = fill(&mut file, bytes, mode)
            .map_err(FilesError::io(path, "writing"))
            .and_then(|()| renameat(&folder, &unfinished, &folder, name).map_err(FilesError::at(path, "writing")));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = unlinkat(&folder, &unfinished, AtFlags::empty());
        }
        written.and_then(|()| fsync(&folder).map_err(FilesError::at(path, "writing")))
    }

    /// Writes at the end of the file at `path`, which is made where there is none, and the folders above it.
    pub(crate) fn append(&self, path: &VirtualPath, bytes: &[u8]) -> Result<(), FilesError> {
        let (above, _) = path.split().ok_or_else(|| FilesError::IsFolder { path: path.clone() })?;
        self.make(&above)?;
        let _one_at_a_time = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut file, stat) = self.file(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)?;
        if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
            // Half of it is worse than nothing; where even that fails, the first error is the one to tell.
            let _ = file.set_len(u64::try_from(stat.st_size).unwrap_or(0));
            return Err(FilesError::io(path, "writing")(error));
        }
        let (folder, _) = self.parent(path)?;
        fsync(&folder).map_err(FilesError::at(path, "writing"))
    }
}

/// The mode of the file that is to be replaced; what is not a file is not replaced.
fn mode_of(folder: BorrowedFd<'_>, name: &str, path: &VirtualPath) -> Result<Option<Mode>, FilesError> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(FilesError::at(path, "looking at the file")(errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(Mode::from_raw_mode(stat.st_mode & 0o777))),
        FileType::Directory => Err(FilesError::IsFolder { path: path.clone() }),
        FileType::Symlink => Err(FilesError::Link { path: path.clone() }),
        _ => Err(FilesError::Special { path: path.clone() }),
    }
}

fn create(folder: BorrowedFd<'_>) -> Result<(File, String), Errno> {
    loop {
        let name = format!("{UNFINISHED}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(folder, &name, flags, Mode::from_raw_mode(NEW_FILE)) {
            Ok(file) => return Ok((file.into(), name)),
            // Left by a crash of a process that had the same id.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn fill(file: &mut File, bytes: &[u8], mode: Option<Mode>) -> std::io::Result<()> {
    file.write_all(bytes)?;
    if let Some(mode) = mode {
        fchmod(&*file, mode)?;
    }
    file.sync_all()
}
