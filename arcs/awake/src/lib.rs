//! The Arc that wakes Sentinels and lets them act: perceive, think, act, remember.
//!
//! A Sentinel is a TOML file ([`kit::Sentinel`]). Those that ship are part of this program; those of the owner lie in
//! `/data/quests`, where a file of the same name takes the place of one that ships. `awake.tick` wakes one Sentinel,
//! the one whose last turn is longest ago; the clock wakes those that say `every`.

mod act;
mod clock;
mod memory;
mod shelf;
mod think;
mod tick;
mod topic;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use kit::{Host, Server, StartError};

use crate::tick::{Awake, tick};

/// Serves `awake.tick`, and wakes by the clock, until it is asked to stop.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |host: Host| Ok::<_, StartError>(build(&host)))
}

fn build(host: &Host) -> Server<Arc<Awake>> {
    let awake = Arc::new(Awake::new(host.mounted("/data/quests")));
    tokio::spawn(clock::run(awake.clone(), host.clone()));
    Server::new(awake).tool(
        "tick",
        "Wakes the Sentinel whose turn it is: it thinks of something new to do, does it, and remembers it. Answers what \
         was done and why, or why nothing was.",
        tick,
    )
}
