//! How work on a file fails, in the caller's words: virtual paths only.

use std::io;

use kit::code;
use rustix::io::Errno;

use crate::virtual_path::VirtualPath;

/// Why a file or folder could not be worked on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("{path}: there is no such file or folder")]
    Missing { path: VirtualPath },
    #[error("{path}: leads through a symbolic link, and links are not followed")]
    Link { path: VirtualPath },
    #[error("{path}: is a folder")]
    IsFolder { path: VirtualPath },
    #[error("{path}: is not a folder")]
    NotFolder { path: VirtualPath },
    #[error("{path}: is neither a file nor a folder (a device, a pipe or a socket)")]
    Special { path: VirtualPath },
    #[error("{path}: the folder is not empty: give recursive = true to delete what is in it as well")]
    NotEmpty { path: VirtualPath },
    #[error("/: the folder that was granted cannot be deleted itself")]
    Root,
    #[error("{path}: is not UTF-8 text: read it with encoding = \"base64\"")]
    NotText { path: VirtualPath },
    #[error("{path}: has {size} bytes and one call answers at most {most}: give offset and limit")]
    TooLong { path: VirtualPath, size: u64, most: u64 },
    #[error("{path}: has more than {most} entries: too many for one list; use search")]
    TooMany { path: VirtualPath, most: usize },
    #[error("{path}: {what} failed: {reason}", reason = described(.source))]
    Io { path: VirtualPath, what: &'static str, source: io::Error },
}

impl FilesError {
    /// The error of one system call on `path`.
    pub(crate) fn at(path: &VirtualPath, what: &'static str) -> impl FnOnce(Errno) -> Self {
        let path = path.clone();
        move |errno| match errno {
            Errno::NOENT => Self::Missing { path },
            // LOOP: a symbolic link was met. XDEV: the path led out of the granted folder (`RESOLVE_BENEATH`).
            Errno::LOOP | Errno::XDEV => Self::Link { path },
            Errno::ISDIR => Self::IsFolder { path },
            Errno::NOTDIR => Self::NotFolder { path },
            Errno::NOTEMPTY => Self::NotEmpty { path },
            // What opening a pipe or a device without its other half answers.
            Errno::NXIO | Errno::NODEV => Self::Special { path },
            errno => Self::Io { path, what, source: errno.into() },
        }
    }

    /// The error of reading or writing an open file.
    pub(crate) fn io(path: &VirtualPath, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.clone();
        move |source| Self::Io { path, what, source }
    }
}

fn described(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            "no space left on the disk; nothing was changed, free some and try again".to_owned()
        }
        io::ErrorKind::QuotaExceeded => "the disk quota is used up; nothing was changed".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only".to_owned(),
        io::ErrorKind::FileTooLarge => "the file may not grow so large; nothing was changed".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidFilename => "the path or a name in it is too long for this disk".to_owned(),
        _ => error.to_string(),
    }
}

impl From<FilesError> for kit::Error {
    fn from(error: FilesError) -> Self {
        let answer = Self::new(error.to_string());
        match error {
            FilesError::Link { .. } | FilesError::Root => answer.with_code(code::PERMISSION),
            FilesError::Io { source, .. } => answer.caused_by(source),
            _ => answer,
        }
    }
}
