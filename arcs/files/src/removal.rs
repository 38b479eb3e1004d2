//! Deleting files and folders.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, fsync, statat, unlinkat};
use rustix::io::Errno;

use crate::error::FilesError;
use crate::folder::Folder;
use crate::virtual_path::VirtualPath;

impl Folder {
    /// Deletes what is at `path`: a file, a symbolic link (itself, not what it points to), an empty folder; with
    /// `recursive` a folder with all that is in it.
    pub(crate) fn delete(&self, path: &VirtualPath, recursive: bool) -> Result<(), FilesError> {
        let (parent, name) = self.parent(path)?;
        let failed = || FilesError::at(path, "deleting");
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed())?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if recursive {
                self.empty(path)?;
            }
            unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(failed())?;
        } else {
            unlinkat(&parent, name, AtFlags::empty()).map_err(failed())?;
        }
        fsync(&parent).map_err(failed())
    }

    /// Deletes all that is in the folder at `path`. Every folder is opened from the granted one by its whole path, so
    /// that one that is swapped for a symbolic link meanwhile is an error and not a way out.
    fn empty(&self, path: &VirtualPath) -> Result<(), FilesError> {
        // A folder is looked at twice: first what is in it goes, then, when those below it are empty, it goes itself.
        let mut waiting = vec![(path.clone(), false)];
        while let Some((folder, emptied)) = waiting.pop() {
            if emptied {
                let (parent, name) = self.parent(&folder)?;
                unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(FilesError::at(&folder, "deleting"))?;
                continue;
            }
            if folder != *path {
                waiting.push((folder.clone(), true));
            }
            let below = delete_files(&self.folder(&folder)?).map_err(FilesError::at(&folder, "deleting"))?;
            for name in below {
                let name = name.to_str().ok().and_then(|name| folder.join(name));
                let below = name.ok_or_else(|| unnameable(&folder))?;
                waiting.push((below, false));
            }
        }
        Ok(())
    }
}

/// Deletes what is no folder in `folder`; answers the names of the folders.
fn delete_files(folder: &OwnedFd) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut below = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => below.push(name.to_owned()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(below)
}

fn unnameable(folder: &VirtualPath) -> FilesError {
    FilesError::Io {
        path: folder.clone(),
        what: "deleting",
        source: std::io::Error::other("a folder in it has a name that cannot be written as a path"),
    }
}
