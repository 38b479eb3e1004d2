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
        advice: Advice,
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
    pub(crate) fn new(what: impl Into<String>, why: impl fmt::Display, advice: impl Into<Advice>) -> Self {
        Self::Error { what: what.into(), why: why.to_string(), advice: advice.into(), exit: 1 }
    }

    /// `verb` (as in "cannot write") failed on `path`.
    pub(crate) fn io(verb: &str, path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Advice::FreeSpace,
            io::ErrorKind::PermissionDenied if ["read", "find"].contains(&verb) => {
                "see to it that you may read it, and run this again".into()
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Advice::OtherFolder,
            _ => "mend that and run this again".into(),
        };
        Self::new(format!("cannot {verb} {}", path.display()), plain(error), advice)
    }

    /// The same with what the command that failed has for it, where something is missing on this machine.
    pub(crate) fn remedied(mut self, means: Means) -> Self {
        if let Self::Error { advice, .. } = &mut self {
            *advice = advice.with(means).into();
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

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The disk is full.
    FreeSpace,
    /// A folder cannot be written to.
    OtherFolder,
    /// A program is missing.
    Install,
    /// Anything else, in words.
    Words(String),
}

impl Advice {
    /// For a program that failed and said this.
    pub(crate) fn after(said: &str, otherwise: &str) -> Self {
        if said.contains("No space left on device") { Self::FreeSpace } else { otherwise.into() }
    }

    /// In words, with what the command that failed has for it.
    fn with(&self, Means { script, folders }: Means) -> String {
        match self {
            Self::FreeSpace if !folders.is_empty() => format!("{self}\nor use a folder elsewhere: {folders}"),
            Self::OtherFolder if !folders.is_empty() => format!("{self}: {folders}"),
            Self::Install => format!("run {script}, which installs what is missing"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FreeSpace => "free some space and run this again: what is complete is kept",
            Self::OtherFolder => "use a folder that you may write to",
            Self::Install => "install what is missing",
            Self::Words(words) => words,
        })
    }
}

impl<T: Into<String>> From<T> for Advice {
    fn from(words: T) -> Self {
        Self::Words(words.into())
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
        assert_eq!(advice, Advice::FreeSpace);
    }

    #[test]
    fn a_command_adds_its_own_folders_and_its_script() {
        let means = Means { script: "scripts/x", folders: "--output DIR" };
        let advice = |failure: Failure| match failure.remedied(means) {
            Failure::Error { advice, .. } => advice.to_string(),
            other @ Failure::Interrupted { .. } => panic!("an error: {other}"),
        };
        let io = |verb, number| Failure::io(verb, Path::new("x"), &io::Error::from_raw_os_error(number));
        assert_eq!(advice(io("write", 30)), "use a folder that you may write to: --output DIR");
        assert!(advice(io("write", 28)).ends_with("\nor use a folder elsewhere: --output DIR"));
        assert_eq!(advice(io("read", 13)), "see to it that you may read it, and run this again");
        assert_eq!(advice(Failure::new("", "", Advice::Install)), "run scripts/x, which installs what is missing");
        assert_eq!(advice(Failure::new("", "", "report this")), "report this");
        let none = Means { folders: "", ..means };
        let written = io("write", 30).remedied(none);
        assert!(
            matches!(written, Failure::Error { advice, .. } if advice == "use a folder that you may write to".into())
        );
    }

    #[test]
    fn a_signal_decides_the_exit_code() {
        assert_eq!(Failure::Interrupted { signal: 2, kept: String::new() }.exit_code(), 130);
        assert_eq!(Failure::Interrupted { signal: 15, kept: String::new() }.exit_code(), 143);
    }
}
