//! `netd`: the network of an appliance. It brings cables' links up and keeps an address on each, keeps the clock right,
//! and answers to the machine's name.
//!
//! | module | what it is |
//! | --- | --- |
//! | `settings` | what the owner says: read once |
//! | `link`, `address` | the links of the machine, and what an address of one is: pure |
//! | `kernel` | telling the kernel: links, addresses, routes |
//! | `keeper` | which links are kept, and for how long; the address of one, by DHCP or from the owner |
//! | `network` | what is known of all links together |
//! | `resolver`, `notify` | telling programs: name servers; telling init: a line for the screen |
//! | `time`, `clock` | asking time servers; what an answer means for the clock |
//! | `name` | answering to `<hostname>.local` |
//!
//! What is known of all links stands on one [`network::Board`]: whoever keeps a link changes it, and whoever depends on
//! it waits for changes. Nothing else is shared.

mod address;
mod clock;
mod keeper;
mod kernel;
mod link;
mod name;
mod network;
mod notify;
mod resolver;
mod settings;
mod time;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use keeper::Keepers;
use kernel::Kernel;
use network::{Board, Network};
use settings::Settings;

/// How long it may take at the end to tell others that this machine is gone.
const FAREWELL: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // No times: init adds them.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
    run(Settings::of_environment()).await
}

/// Keeps the network until the machine ends.
async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let (kernel, changes) = Kernel::connect()?;
    notify::tell_init("READY=1");
    let board = Arc::new(Board::new(Network::of(&settings.network)));
    tokio::spawn(notify::say_alive());
    tokio::spawn(time::keep(settings.network.time_servers.clone(), board.subscribe()));
    let (leave, leaving) = oneshot::channel();
    let name = tokio::spawn(name::answer(settings.host_name.clone(), settings.web_port, Arc::clone(&board), leaving));
    tokio::select! {
        () = Keepers::new(kernel, settings, board).run(changes) => {}
        _ = end.recv() => {}
    }
    let _ = leave.send(());
    // Who does not hear of it forgets the name after its two minutes.
    let _ = tokio::time::timeout(FAREWELL, name).await;
    Ok(())
}
