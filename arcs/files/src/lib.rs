//! The files Arc: reading and writing inside one granted folder, `/data/files`.
//!
//! Paths are virtual: `/` is the granted folder. Nothing outside of it can be named. The kernel resolves every path
//! (`openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`, relative to the folder's own
//! descriptor) and refuses `..` above the folder and every symbolic link, so that there is no moment between a check
//! and a use. Only regular files and folders are read, listed or written; a symbolic link itself can be deleted.
//!
//! A hard link is not a way out: it is the file itself, and making one takes the right to write both the file and the
//! folder. What is mounted inside the folder counts as part of it.

mod content;
mod error;
mod folder;
mod listing;
mod media_type;
mod reading;
mod removal;
mod search;
mod tools;
mod virtual_path;
mod writing;

use std::process::ExitCode;

use kit::{Host, Server, StartError};

use crate::folder::Folder;

/// The granted folder, as the manifest mounts it.
const GRANTED: &str = "/data/files";

/// Serves the file tools until it is idle or asked to stop.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |host: Host| build(&host))
}

fn build(host: &Host) -> Result<Server<Folder>, StartError> {
    let path = host.mounted(GRANTED);
    let folder =
        Folder::open(&path).map_err(|error| format!("the folder {} cannot be used: {error}", path.display()))?;
    Ok(tools::server(folder))
}
