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
            io::ErrorKind::PermissionDenied if ["read", "find"].contains(&verb) => {
                "see to it that you may read it, and run this again"
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => NOT_WRITABLE,
            _ => "mend that and run this again",
        };
        Self::new(format!("cannot {verb} {}", path.display()), plain(error), advice)
    }

    /// The same with what the command that failed has for it, where something is missing on this machine.
    pub(crate) fn remedied(mut self, means: Means) -> Self {
        let Means { script, folders } = means;
        if let Self::Error { advice, .. } = &mut self {
            match advice.as_str() {
                DISK_FULL if !folders.is_empty() => *advice = format!("{advice}\nor use a folder elsewhere: {folders}"),
                NOT_WRITABLE if !folders.is_empty() => *advice = format!("{advice}: {folders}"),
                NOT_INSTALLED => *advice = format!("run {script}, which installs what is missing"),
                _ => {}
            }
        }
        self
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

/// What a command has for a machine on which something is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// The script that installs the programs that it needs.
    pub(crate) script: &'static str,
    /// The options and variables that name its folders; none where it has none.
    pub(crate) folders: &'static str,
}

/// What to do where the disk is full; as the next two it says more once it is [`Failure::remedied`].
pub(crate) const DISK_FULL: &str = "free some space and run this again: what is complete is kept";
/// What to do where a folder cannot be written to.
const NOT_WRITABLE: &str = "use a folder that you may write to";
/// What to do where a program is missing.
pub(crate) const NOT_INSTALLED: &str = "install what is missing";

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
    fn a_command_adds_its_own_folders_and_its_script() {
        let means = Means { script: "scripts/x", folders: "--output DIR" };
        let advice = |failure: Failure| match failure.remedied(means) {
            Failure::Error { advice, .. } => advice,
            other @ Failure::Interrupted { .. } => panic!("an error: {other}"),
        };
        let io = |verb, number| Failure::io(verb, Path::new("x"), &io::Error::from_raw_os_error(number));
        assert_eq!(advice(io("write", 30)), "use a folder that you may write to: --output DIR");
        assert!(advice(io("write", 28)).ends_with("\nor use a folder elsewhere: --output DIR"));
        assert_eq!(advice(io("read", 13)), "see to it that you may read it, and run this again");
        assert_eq!(advice(Failure::new("", "", NOT_INSTALLED)), "run scripts/x, which installs what is missing");
        assert_eq!(advice(Failure::new("", "", "report this")), "report this");
        let none = Means { folders: "", ..means };
        assert_eq!(io("write", 30).remedied(none), io("write", 30));
    }

    #[test]
    fn a_signal_decides_the_exit_code() {
        assert_eq!(Failure::Interrupted { signal: 2, kept: String::new() }.exit_code(), 130);
        assert_eq!(Failure::Interrupted { signal: 15, kept: String::new() }.exit_code(), 143);
    }
}
