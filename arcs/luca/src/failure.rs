//! What can go wrong between a command line and a tool, with the exit code and the next step of each.

use std::path::PathBuf;
use std::time::Duration;

use spec::caller::{ArgumentProblem, Failure};

use crate::address::Address;

/// A command that did not come to its result. The message says what failed and why; [`Error::next_step`] what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No flag or variable names a gateway and none lies where they usually do.
    #[error("no running system was found; looked at {}", paths(.looked))]
    NotFound {
        /// Where a socket was looked for.
        looked: Vec<PathBuf>,
    },
    /// There is an address, and no gateway behind it.
    #[error("nobody answers at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: Address,
        /// Why, in the words of the system.
        reason: String,
    },
    /// The connection broke while a call was under way.
    #[error("the connection to {address} was lost: {reason}; the call may or may not have been carried out")]
    Lost {
        /// To where.
        address: Address,
        /// How it broke.
        reason: String,
    },
    /// The command line cannot be understood.
    #[error("{0}")]
    Usage(String),
    /// The tool, or the gateway before it, refused or failed.
    #[error("{}", with_tool(.tool, .failure))]
    Tool {
        /// The tool as it was asked for.
        tool: String,
        /// What it said.
        failure: Failure,
        /// A call that would fit, as it is written.
        suggestion: Option<String>,
    },
    /// The time that the user gave is over.
    #[error("{what} gave no answer within {}", seconds(.limit))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// The user pressed Ctrl-C.
    #[error("cancelled")]
    Cancelled,
    /// The terminal, the standard input or the history cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// A tool's failure.
    pub(crate) fn of_tool(tool: &str, failure: Failure) -> Self {
        Self::Tool { tool: tool.to_owned(), failure, suggestion: None }
    }

    /// The exit code of `luca-run`, as its `--help` tells them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Tool { .. } | Self::Io { .. } => 1,
            Self::Usage(_) => 2,
            Self::NotFound { .. } | Self::Unreachable { .. } | Self::Lost { .. } => 3,
            Self::TimedOut { .. } => 4,
            Self::Cancelled => 130,
        }
    }

    /// One word for programs that read the error as JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Tool { .. } => "tool",
            Self::Io { .. } => "io",
            Self::Usage(_) => "usage",
            Self::NotFound { .. } | Self::Unreachable { .. } => "unreachable",
            Self::Lost { .. } => "lost",
            Self::TimedOut { .. } => "timeout",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the user can do now, where that follows from the error alone.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Tool { suggestion, .. } => suggestion.clone(),
            Self::NotFound { .. } => {
                Some("scripts/run starts the system; --gateway unix:PATH names one elsewhere".to_owned())
            }
            Self::Unreachable { .. } => {
                Some("is the system running? scripts/run starts it; --gateway names one elsewhere".to_owned())
            }
            Self::TimedOut { .. } => Some("a longer --timeout, or none: the tools have limits of their own".to_owned()),
            _ => None,
        }
    }
}

/// The message with the tool's name in front, unless it names the tool itself, and whatever the problems add to it.
fn with_tool(tool: &str, failure: &Failure) -> String {
    let mut text = failure.message.clone();
    if !text.contains(tool) {
        text = format!("{tool}: {text}");
    }
    for ArgumentProblem { path, message } in &failure.problems {
        match (text.contains(message.as_str()), text.contains(path.as_str())) {
            (true, true) => {}
            (true, false) => text.push_str(&format!(" (at {path})")),
            (false, _) => text.push_str(&format!("\n  at {}: {message}", if path.is_empty() { "/" } else { path })),
        }
    }
    text
}

fn seconds(limit: &Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

fn paths(looked: &[PathBuf]) -> String {
    let shown: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str, problems: &[(&str, &str)]) -> String {
        let problems = problems
            .iter()
            .map(|(path, message)| ArgumentProblem { path: (*path).to_owned(), message: (*message).to_owned() })
            .collect();
        let failure = Failure { code: -32602, message: message.to_owned(), problems };
        Error::of_tool("kv.get", failure).to_string()
    }

    #[test]
    fn the_tool_is_named_once() {
        assert_eq!(failed("key is missing", &[]), "kv.get: key is missing");
        assert_eq!(failed("there is no tool kv.get", &[]), "there is no tool kv.get");
    }

    #[test]
    fn each_problem_is_said_once_with_its_place() {
        assert_eq!(
            failed("key must not be empty", &[("/key", "must not be empty")]),
            "kv.get: key must not be empty (at /key)"
        );
        assert_eq!(
            failed("2 arguments do not fit", &[("/key", "is missing"), ("", "kee is not known")]),
            "kv.get: 2 arguments do not fit\n  at /key: is missing\n  at /: kee is not known"
        );
    }
}
