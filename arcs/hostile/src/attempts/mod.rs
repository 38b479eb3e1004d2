//! What it tries.

mod files;
mod machine;
mod memory;
mod network;
mod processes;
mod protocol;

use std::io;
use std::os::unix::net::UnixStream;

use serde_json::Value;

/// What an attempt got, or what it failed at.
pub(crate) type Outcome = Result<String, String>;

/// An attempt.
#[derive(Clone, Copy)]
pub(crate) enum Attempt {
    /// Inside of its process; told where to try it.
    Inside(fn(&str) -> Outcome),
    /// By how it answers.
    Answer(fn(&UnixStream, &Value) -> io::Result<()>),
}

const TABLES: [&[(&str, Attempt)]; 6] =
    [processes::ATTEMPTS, machine::ATTEMPTS, network::ATTEMPTS, files::ATTEMPTS, memory::ATTEMPTS, protocol::ATTEMPTS];

/// The attempt of that name.
pub(crate) fn find(name: &str) -> Option<Attempt> {
    TABLES.iter().flat_map(|table| table.iter()).find(|(known, _)| *known == name).map(|(_, attempt)| *attempt)
}

/// The names of all.
pub(crate) fn names() -> Vec<&'static str> {
    TABLES.iter().flat_map(|table| table.iter()).map(|(name, _)| *name).collect()
}

/// The first of several ways that leads anywhere, or what the last one failed at.
pub(crate) fn first(ways: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut last = "there was nothing to try it on".to_owned();
    for way in ways {
        match way {
            Ok(got) => return Ok(got),
            Err(failed) => last = failed,
        }
    }
    Err(last)
}
