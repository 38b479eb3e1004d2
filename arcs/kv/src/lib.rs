//! The key-value Arc: JSON values under keys, durable when acknowledged.
//!
//! One thread writes. It takes every change that is queued, applies them in one transaction of redb, commits once and
//! then answers them all, so that many callers share one flush of the disk. Reads go past the queue: a change that was
//! answered is committed, so whoever reads after the answer sees it.
//!
//! A time to live is counted on the wall clock, because it must hold over restarts. When the clock is set (a machine
//! that starts in 1970 and then learns the time), what was to live until a moment before the new time is gone at once.

mod change;
mod key;
mod store;
mod sweep;
mod tools;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use kit::{Host, Server, StartError};

use crate::store::Store;
use crate::tools::KeyValue;
use crate::writer::Writer;

/// The database's name in the Arc's own folder.
const FILE: &str = "kv.redb";

/// Serves the key-value tools until it is idle or asked to stop.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |host: Host| build(&host))
}

fn build(host: &Host) -> Result<Server<KeyValue>, StartError> {
    let store = Arc::new(Store::open(&host.own_folder().join(FILE))?);
    let writer = Arc::new(Writer::start(store.clone())?);
    tokio::spawn(sweep::for_ever(store.clone(), writer.clone()));
    Ok(tools::server(KeyValue::new(store, writer)))
}

/// Milliseconds since 1970 on the wall clock; 0 before that.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
