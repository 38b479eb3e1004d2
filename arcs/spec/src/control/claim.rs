//! Messages of claiming a machine: whose it is, and how it becomes somebody's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set-up code, as somebody has entered it or as it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The code.
    pub code: String,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(not shown)")
    }
}

/// What whoever claims a machine is given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Who shows it is the owner from now on; a [`crate::Token`].
    pub token: String,
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claimed(not shown)")
    }
}

/// By what a browser knows the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The SHA-256 of its certificate, as browsers show it: 32 pairs of digits, `AB:CD:…`.
    pub sha256: String,
}

/// Whose a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// Nobody's: somebody may claim it with a set-up code.
    Open,
    /// It has an owner, whose token counts, until somebody claims it anew with a set-up code.
    Reopened,
    /// Somebody has entered the set-up code and was given the token, and nobody has shown that yet.
    Given,
    /// Somebody has claimed it.
    Claimed,
    /// Its owner has put a token into `llmbasedos.toml`, so that there is nothing to claim.
    Settled,
}
