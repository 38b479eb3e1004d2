//! Watching a folder and its subfolders for files that come, change or go: inotify(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Tells that something happened in a folder or in one of the folders directly below it.
pub(crate) struct FolderWatch {
    inotify: Inotify,
}

impl FolderWatch {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)? })
    }

    /// Watches `folder` and the folders in it. To be called again after each change: a folder that is watched
    /// already is not watched twice.
    pub(crate) fn cover(&self, folder: &Path) -> io::Result<()> {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        self.inotify.add_watch(folder, flags)?;
        for entry in folder.read_dir()?.flatten().filter(|entry| entry.path().is_dir()) {
            // One that went away in between is told of by the watch on its parent.
            let _ = self.inotify.add_watch(&entry.path(), flags);
        }
        Ok(())
    }

    /// Forgets what has been told so far.
    pub(crate) fn drain(&self) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

impl AsFd for FolderWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
