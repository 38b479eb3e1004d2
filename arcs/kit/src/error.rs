//! How a tool fails: a message for the caller, and a cause for the log that the caller never sees.

use std::error::Error as StdError;
use std::fmt;

use spec::caller::{ArgumentProblem, Failure, code};

/// What a tool returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tool failed. The message goes to the caller: it says what failed, why, and what to do. The cause goes to
/// the Arc's log alone.
#[derive(Debug)]
pub struct Error {
    code: i32,
    message: String,
    problems: Vec<ArgumentProblem>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// The tool failed; `message` is for the caller.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: code::INTERNAL, message: message.into(), problems: Vec::new(), cause: None }
    }

    /// The argument at `path` (a JSON pointer such as `/keyword`) is wrong; `message` says what would be right.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_all(vec![ArgumentProblem { path: path.into(), message: message.into() }])
    }

    pub(crate) fn invalid_all(problems: Vec<ArgumentProblem>) -> Self {
        let described = |problem: &ArgumentProblem| match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{} (at {path})", problem.message),
        };
        let message = problems.iter().map(described).collect::<Vec<_>>().join("; ");
        Self { code: code::INVALID_PARAMS, message, problems, cause: None }
    }

    /// The same failure under another code (see [`code`]).
    #[must_use]
    pub fn with_code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The same failure with what lies behind it, for the log alone.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The JSON-RPC code.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// What the caller is told.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What lies behind it, with its own causes, in one line.
    pub(crate) fn cause_chain(&self) -> Option<String> {
        let mut next: Option<&dyn StdError> = Some(self.cause.as_deref()?);
        let mut chain = Vec::new();
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        Some(chain.join(": "))
    }

    pub(crate) fn to_failure(&self) -> Failure {
        Failure { code: self.code, message: self.message.clone(), problems: self.problems.clone() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, problems: failure.problems, cause: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
