//! Why a backend did not answer, in words for the caller; and what follows from it.

use std::error::Error as _;
use std::io;
use std::time::Duration;

/// The longest message of a backend that is passed on, in characters.
const MAX_WORDS: usize = 300;

/// Why one backend did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("skipped, the run holds private data and this backend is not on this machine")]
    Private,
    #[error("skipped, it failed several times in a row; it is tried again in {} s", .0.as_secs() + 1)]
    Resting(Duration),
    #[error("{0}")]
    Unusable(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("no {what} within {}", spoken(*.within))]
    TimedOut { what: &'static str, within: Duration },
    #[error("the model is still being loaded")]
    Loading,
    #[error("it is busy ({words})")]
    Busy { words: String, retry_after: Option<Duration> },
    #[error("it refuses the key ({words})")]
    Denied { words: String },
    #[error("it does not have that model ({words})")]
    NoModel { words: String },
    #[error("the messages do not fit the model's context ({words})")]
    Overflow { words: String },
    #[error("it refuses the request ({words})")]
    Refused { words: String },
    #[error("it failed (status {status}: {words})")]
    Server { status: u16, words: String },
    #[error("it broke off ({words})")]
    Broke { words: String },
    #[error("the answer was cut off before its end")]
    Cut,
    #[error("what it answers is larger than {0} bytes")]
    TooLarge(usize),
    #[error("what it answers is not what {0} sends")]
    Rubbish(&'static str),
    #[error("it answered nothing")]
    Empty,
    #[error("it declines to answer ({0})")]
    Declined(String),
    #[error("its answer held the API key and is not passed on")]
    KeyEchoed,
    #[error("no answer fitted the schema: {}", .0.join("; "))]
    Misfit(Vec<String>),
}

impl Failure {
    /// From what the HTTP client says, which names no URL and no header here.
    pub(crate) fn of_client(error: &reqwest::Error) -> Self {
        let mut deepest = error.source();
        while let Some(next) = deepest.and_then(std::error::Error::source) {
            deepest = Some(next);
        }
        let kind = deepest.and_then(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
        let words = match (kind, deepest) {
            (Some(io::ErrorKind::ConnectionRefused), _) => "connection refused".to_owned(),
            (Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), _) => "connection reset".to_owned(),
            _ if error.is_timeout() && error.is_connect() => "no connection in time".to_owned(),
            _ if error.is_body() || error.is_decode() => return Self::Cut,
            (_, Some(deepest)) => in_words(&deepest.to_string()),
            (_, None) => "no connection".to_owned(),
        };
        Self::Unreachable(words)
    }

    /// Whether it says that the backend is unwell, rather than that this question was not for it.
    pub(crate) fn is_the_backends_fault(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::TimedOut { .. }
                | Self::Loading
                | Self::Server { .. }
                | Self::Broke { .. }
                | Self::Cut
                | Self::TooLarge(_)
                | Self::Rubbish(_)
        )
    }

    /// What the owner can do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::TimedOut { .. } | Self::Loading | Self::Cut | Self::Broke { .. } => {
                "Is the model server running? `luca-run system.services`, settings under [arcs.llm_router]"
            }
            Self::Overflow { .. } => "Shorten the messages, or name a model with a larger context",
            Self::Misfit(_) | Self::Empty | Self::Declined(_) => {
                "Ask for less at once, or name a better model for the purpose under [arcs.llm_router.purposes]"
            }
            Self::Private => "Name a backend on this machine for the purpose under [arcs.llm_router.purposes]",
            Self::Busy { .. } | Self::Resting(_) => "Try again in a moment",
            _ => "See the settings under [arcs.llm_router]",
        }
    }
}

fn spoken(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.0} s", time.as_secs_f64())
    }
}

/// What a backend wrote, made fit to be shown: one line without control characters, bounded.
pub(crate) fn in_words(text: &str) -> String {
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS * 4).collect();
    let mut line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_WORDS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_wrote_is_one_bounded_line() {
        assert_eq!(in_words("a\u{1b}[31m\n\tb\0c"), "a [31m b c");
        assert_eq!(in_words(&"é".repeat(1000)).chars().count(), MAX_WORDS + 1);
    }

    #[test]
    fn a_question_that_does_not_fit_says_nothing_about_the_backend() {
        assert!(!Failure::Overflow { words: String::new() }.is_the_backends_fault());
        assert!(!Failure::Misfit(Vec::new()).is_the_backends_fault());
        assert!(Failure::Cut.is_the_backends_fault());
    }
}
