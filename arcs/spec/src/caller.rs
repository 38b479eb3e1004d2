//! Who calls a tool, as the gateway tells the Arc in `_meta` of every call.
//!
//! An Arc may believe it: it is written by the gateway, and nobody else reaches the Arc's socket.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::values::{InvalidValue, Label, Name};

/// The key in `_meta` of a `tools/call` under which the gateway tells the Arc its [`Caller`], and under which an Arc
/// that calls another tool names the run (the `run` alone: `{"run": "…"}`) on whose behalf it does.
pub const CALLER_KEY: &str = "llmbasedos/caller";

/// The key in `_meta` of a result with `isError` that holds a [`Failure`].
pub const FAILURE_KEY: &str = "llmbasedos/failure";

/// The notification by which an Arc tells the gateway that it is about to exit (it was idle, or it is asked to stop): the
/// gateway sends nothing more on that connection, and closes its sending half once every call on it is answered. The
/// Arc exits when it reads that end, so that no call is lost.
pub const DRAINING: &str = "notifications/llmbasedos/draining";

/// The key in `_meta` of a progress notification whose `message` is not a stage but the next piece of a text that is
/// being written (`true`), to be shown as it comes.
pub const STREAM_KEY: &str = "llmbasedos/stream";

/// Who calls, in which run, and what that run has touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who calls.
    pub who: Who,
    /// The run that the call belongs to: all calls that one wish of a person or Sentinel led to.
    pub run: RunId,
    /// The labels of all data that the run has touched.
    #[serde(default)]
    pub labels: BTreeSet<Label>,
}

/// Somebody who calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    /// The person who owns the machine.
    Owner,
    /// An Arc, known by the socket that it calls on.
    Arc(Name),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Arc(name) => write!(f, "arc:{name}"),
        }
    }
}

impl FromStr for Who {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.split_once(':') {
            None if text == "owner" => Ok(Self::Owner),
            Some(("arc", name)) => name.parse().map(Self::Arc),
            _ => Err(InvalidValue(format!("must be \"owner\" or \"arc:NAME\", not {text:?}"))),
        }
    }
}

impl TryFrom<String> for Who {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Who> for String {
    fn from(who: Who) -> String {
        who.to_string()
    }
}

/// The name of a run: opaque, short, made by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a tool call failed, for programs; the words for people stand in the result's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The JSON-RPC error code under which the dialect reports it.
    pub code: i32,
    /// What failed and what to do, in words.
    pub message: String,
    /// Where in the arguments, as JSON pointers with what is wrong there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ArgumentProblem>,
}

/// One argument that does not fit the tool's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgumentProblem {
    /// JSON pointer to the argument, `/keyword`; empty for the arguments as a whole.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// JSON-RPC error codes that the gateway and the Arcs use. −32700 to −32600 are JSON-RPC 2.0's own; −32000 to
/// −32004 are the llmbasedos dialect's.
pub mod code {
    /// The text is not JSON.
    pub const PARSE: i32 = -32700;
    /// The JSON is not a request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The arguments do not fit.
    pub const INVALID_PARAMS: i32 = -32602;
    /// The tool failed.
    pub const INTERNAL: i32 = -32603;
    /// The caller is not known.
    pub const AUTH: i32 = -32000;
    /// Too many calls.
    pub const RATE: i32 = -32001;
    /// The caller may not do this.
    pub const PERMISSION: i32 = -32002;
    /// The budget for models is used up.
    pub const QUOTA: i32 = -32003;
    /// The model could not answer.
    pub const MODEL: i32 = -32004;
}
