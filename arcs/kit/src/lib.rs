//! What an Arc is written with.
//!
//! An Arc is a program that serves tools over MCP on a socket that it inherits. The kit does all of that: it reads the
//! environment that init set, speaks MCP (by `rmcp`, which no other crate of an Arc names), checks every call's
//! arguments against the tool's schema before the tool sees them, says when it is ready, exits when it is idle, and
//! stops without losing a call. What is left to write is the tools:
//!
//! ```no_run
#![doc = include_str!("../examples/greeter.rs")]
//! ```

mod activity;
mod call;
mod error;
mod gateway;
mod handler;
mod host;
#[cfg(feature = "http")]
pub mod http;
mod inherit;
mod run;
mod server;

pub use activity::Busy;
pub use call::Call;
pub use error::{Error, Result};
pub use gateway::{Gateway, Progress};
pub use host::Host;
pub use run::{StartError, run};
pub use server::{Server, Shared};
pub use spec::caller::{Caller, RunId, Who, code};
pub use spec::{Autonomy, Quest, Sentinel, Step, Trigger};
pub use spec::{Document, Label, Name, Place, Problems, SecretText, Section, TomlValue};
