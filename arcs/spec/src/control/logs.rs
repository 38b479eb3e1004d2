//! Messages with the lines that services wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::values::Name;

/// Params of [`LOGS`](super::LOGS).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// One service; `None`: all of them.
    #[serde(default)]
    pub name: Option<Name>,
    /// How many of the last lines, [`LogQuery::DEFAULT_LINES`] unless stated.
    #[serde(default)]
    pub lines: Option<u32>,
    /// Whether to go on with each new line.
    #[serde(default)]
    pub follow: bool,
}

impl LogQuery {
    /// How many lines are answered unless stated.
    pub const DEFAULT_LINES: u32 = 100;
}

/// A line that a service wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The service, or `init` itself.
    pub service: Name,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What, without the line's end.
    pub text: String,
    /// Its place among the lines of its service: each has the number after that of the line before. Those of this run
    /// of init count from 0; older ones, which were found in files, are below.
    #[serde(default)]
    pub number: i64,
}

/// The numbers of the lines that come next, by service.
pub type NextLines = BTreeMap<Name, i64>;

/// What logd answers to [`LOGS`](super::LOGS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The lines that were asked for, oldest first.
    pub lines: Vec<LogLine>,
    /// What comes next of each service.
    pub next: NextLines,
}

/// Params of [`LOG_RESUME`](super::LOG_RESUME).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogResume {
    /// The first line of each service that is not known yet; 0 of one that is not named.
    pub next: NextLines,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_be_empty() {
        let query: LogQuery = serde_json::from_str("{}").expect("all is optional");
        assert_eq!(query, LogQuery::default());
        assert!(serde_json::from_str::<LogQuery>(r#"{"line": 3}"#).is_err());
    }
}
