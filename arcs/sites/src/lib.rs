//! The Arc that serves the finished mini-sites over HTTP, and lists them.
//!
//! The pages were written with a model's words, so they are served as what a stranger wrote: no script runs, nothing is
//! loaded from elsewhere, nothing may be posted or framed. Only names of loopback are answered, so that no page of
//! another host can read them through its own name (DNS rebinding).

mod answer;
mod overview;
mod shelf;
mod target;
mod tools;
mod web;

use std::process::ExitCode;
use std::sync::Arc;

use kit::{Host, Server, StartError};

use crate::shelf::Shelf;
use crate::tools::Sites;

/// The folder of the sites, as the manifest mounts it.
const FOLDER: &str = "/data/sites";
/// The listener's name in the manifest.
const LISTENER: &str = "sites";

/// Serves the sites until nobody wants any for a while, or it is asked to stop.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), build)
}

async fn build(host: Host) -> Result<Server<Sites>, StartError> {
    let listener = tokio::net::TcpListener::from_std(host.listener(LISTENER)?)?;
    let base = format!("http://{}/", listener.local_addr()?);
    let shelf = Arc::new(Shelf::new(host.mounted(FOLDER)));
    tokio::spawn(web::serve(listener, shelf.clone(), host));
    Ok(tools::server(Sites { shelf, base }))
}
