//! Why a command did not end well: what failed, why, what to do, and the exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// The end of a command that did not go well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Something could not be done.
    #[error("{what}{}", because(why))]
    Error {
        /// What failed, with the file, key or name that it concerns.
        what: String,
        /// Why; empty where `what` says it all.
        why: String,
        /// What to do.
        advice: String,
        /// The exit code.
        exit: u8,
    },
    /// The user ended it.
    #[error("stopped{}", because(kept))]
    Interrupted {
        /// The signal.
        signal: i32,
        /// What is kept and how to go on.
        kept: String,
    },
}

fn because(why: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| if why.is_empty() { Ok(()) } else { write!(f, ": {why}") })
}

impl Failure {
    /// Something failed; exit code 1.
    pub(crate) fn new(what: impl Into<String>, why: impl fmt::Display, advice: impl Into<String>) -> Self {
        Self::Error { what: what.into(), why: why.to_string(), advice: advice.into(), exit: 1 }
    }

    /// `verb` (as in "cannot write") failed on `path`.
    pub(crate) fn io(verb: &str, path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DISK_FULL,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                "use a folder that you may write to: --data DIR, LLMBASEDOS_CACHE=DIR"
            }
            _ => "mend that and run this again",
        };
        Self::new(format!("cannot {verb} {}", path.display()), plain(error), advice)
    }

    /// The exit code that the process ends with: 128 + the signal where one ended it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Error { exit, .. } => *exit,
            Self::Interrupted { signal, .. } => u8::try_from(128 + signal).unwrap_or(1),
        }
    }

    /// The same with another exit code.
    pub(crate) fn with_exit(self, exit: u8) -> Self {
        match self {
            Self::Error { what, why, advice, .. } => Self::Error { what, why, advice, exit },
            interrupted @ Self::Interrupted { .. } => interrupted,
        }
    }

    /// The same, with what is kept said where the user ended it.
    pub(crate) fn keeping(self, kept: &str) -> Self {
        match self {
            Self::Interrupted { signal, .. } => Self::Interrupted { signal, kept: kept.to_owned() },
            error @ Self::Error { .. } => error,
        }
    }
}

/// What to do where the disk is full.
pub(crate) const DISK_FULL: &str = "free some space, or use a folder elsewhere: --data DIR; LLMBASEDOS_CACHE=DIR for engine \
                                    and weights, which need 1.2 GB while they are fetched; what is complete is kept";

/// An I/O error in words: without the "(os error 28)" that means nothing to a reader.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_names_file_reason_and_way_out() {
        let full = io::Error::from_raw_os_error(28);
        let Failure::Error { what, why, advice, exit } = Failure::io("write", Path::new("/cache/x"), &full) else {
            panic!("an error")
        };
        assert_eq!((what.as_str(), why.as_str(), exit), ("cannot write /cache/x", "no space left on device", 1));
        assert_eq!(advice, DISK_FULL);
    }

    #[test]
    fn a_signal_decides_the_exit_code() {
        assert_eq!(Failure::Interrupted { signal: 2, kept: String::new() }.exit_code(), 130);
        assert_eq!(Failure::Interrupted { signal: 15, kept: String::new() }.exit_code(), 143);
    }
}
