//! The granted folder: the one place where paths become descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat2, statat};
use rustix::io::Errno;

use crate::error::FilesError;
use crate::virtual_path::VirtualPath;

/// Nothing above the folder, no symbolic link, no `/proc/self/fd`-like link: `openat2(2)`.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The granted folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: OwnedFd,
    /// Held while a file is appended to, so that a failed append can be taken back.
    pub(crate) appending: Mutex<()>,
}

/// What lies in a folder.
pub(crate) struct Item {
    pub(crate) path: VirtualPath,
    pub(crate) name: String,
    pub(crate) is_folder: bool,
    pub(crate) stat: Stat,
}

impl Folder {
    /// Opens the folder at `path` of this machine, made where there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        if let Some(above) = path.parent() {
            File::open(above)?.sync_all()?;
        }
        let root = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
        // Where the kernel (before 5.6) or a sandbox around it has no openat2, this is the time to say so.
        openat2(&root, ".", FOLDER, Mode::empty(), INSIDE).map_err(|errno| match errno {
            Errno::NOSYS | Errno::PERM => {
                io::Error::other("this kernel, or a sandbox around it, does not offer openat2")
            }
            errno => errno.into(),
        })?;
        Ok(Self { root, appending: Mutex::default() })
    }

    /// Opens the folder at `path`.
    pub(crate) fn folder(&self, path: &VirtualPath) -> Result<OwnedFd, FilesError> {
        self.open_at(path, FOLDER).map_err(FilesError::at(path, "opening the folder"))
    }

    /// Opens the regular file at `path`; nothing else, and without waiting for the other half of a pipe.
    pub(crate) fn file(&self, path: &VirtualPath, flags: OFlags) -> Result<(File, Stat), FilesError> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags).map_err(FilesError::at(path, "opening the file"))?;
        let stat = fstat(&file).map_err(FilesError::at(path, "looking at the file"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file.into(), stat)),
            FileType::Directory => Err(FilesError::IsFolder { path: path.clone() }),
            _ => Err(FilesError::Special { path: path.clone() }),
        }
    }

    /// Opens the folder that `path` lies in and answers it with the name there.
    pub(crate) fn parent<'p>(&self, path: &'p VirtualPath) -> Result<(OwnedFd, &'p str), FilesError> {
        let (folder, name) = path.split().ok_or(FilesError::Root)?;
        let opened = self.open_at(&folder, FOLDER).map_err(FilesError::at(path, "opening its folder"))?;
        Ok((opened, name))
    }

    /// Makes the folder at `path` and those above it, where they are missing.
    pub(crate) fn make(&self, path: &VirtualPath) -> Result<(), FilesError> {
        let mut made = VirtualPath::root();
        for name in path.names() {
            let Some(next) = made.join(name) else { return Err(FilesError::Missing { path: path.clone() }) };
            match self.open_at(&next, OFlags::PATH | FOLDER) {
                Ok(_) => {}
                Err(Errno::NOENT) => self.make_one(&made, name, &next)?,
                Err(errno) => return Err(FilesError::at(&next, "opening the folder")(errno)),
            }
            made = next;
        }
        Ok(())
    }

    fn make_one(&self, parent: &VirtualPath, name: &str, path: &VirtualPath) -> Result<(), FilesError> {
        let parent = self.folder(parent)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => rustix::fs::fsync(&parent).map_err(FilesError::at(path, "making the folder")),
            // Another call made it meanwhile.
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(FilesError::at(path, "making the folder")(errno)),
        }
    }

    /// The files and folders in the folder at `path`, in no order. What is something else, or has a name that no
    /// [`VirtualPath`] can have, is left out. Stops after `most`.
    pub(crate) fn items(&self, path: &VirtualPath, most: usize) -> Result<Vec<Item>, FilesError> {
        let folder = self.folder(path)?;
        let failed = || FilesError::at(path, "listing the folder");
        let mut items = Vec::new();
        for entry in Dir::read_from(&folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if let Some(item) = item(folder.as_fd(), path, name) {
                items.push(item);
            }
            if items.len() == most {
                break;
            }
        }
        Ok(items)
    }

    fn open_at(&self, path: &VirtualPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        // What openat2 creates, it creates with this mode; it refuses a mode where nothing is created.
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
        openat2(&self.root, path.relative(), flags, mode, INSIDE)
    }
}

fn item(folder: BorrowedFd<'_>, path: &VirtualPath, name: &str) -> Option<Item> {
    let joined = path.join(name).filter(|_| name != ".")?;
    // What was deleted meanwhile is not there.
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_folder = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        _ => return None,
    };
    Some(Item { path: joined, name: name.to_owned(), is_folder, stat })
}

#[cfg(test)]
mod tests;
