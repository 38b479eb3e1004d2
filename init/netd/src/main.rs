//! `netd`: the network of an appliance. It brings cables' links up and keeps an address on each, keeps the clock right,
//! and answers to the machine's name.
//!
//! | module | what it is |
//! | --- | --- |
//! | `settings` | what the owner says: read once |
//! | `link`, `address` | the links of the machine, and what an address of one is: pure |
//! | `kernel` | telling the kernel: links, addresses, routes |
//! | `keeper` | which links are kept, and for how long; the address of one, by DHCP or from the owner |
//! | `wifi` | the radio: which networks it joins, and when it opens one of its own |
//! | `access_point` | what is served in that one: addresses and names |
//! | `channel` | what init asks of Wi-Fi networks |
//! | `network` | what is known of all links together |
//! | `resolver`, `notify` | telling programs: name servers; telling init: a line for the screen |
//! | `time`, `clock` | asking time servers; what an answer means for the clock |
//! | `name` | answering to `<hostname>.local` |
//!
//! What is known of all links stands on one [`network::Board`]: whoever keeps a link changes it, and whoever depends on
//! it waits for changes. Nothing else is shared.

mod access_point;
mod address;
mod channel;
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
mod wifi;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::EnvFilter;

use keeper::Keepers;
use kernel::Kernel;
use name::Pages;
use network::{Board, Network};
use settings::Settings;
use wifi::Radio;

/// How long it may take at the end to tell others that this machine is gone.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many questions may wait for the radio.
const QUEUE: usize = 8;

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
    run(Settings::of_environment(), channel::take_over()).await
}

/// Keeps the network until the machine ends.
async fn run(settings: Settings, channel: Option<UnixStream>) -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let (kernel, changes) = Kernel::connect()?;
    notify::tell_init("READY=1");
    let board = Arc::new(Board::new(Network::of(&settings.network)));
    tokio::spawn(notify::say_alive());
    tokio::spawn(time::keep(settings.network.time_servers.clone(), board.subscribe()));
    let (asks, asked) = mpsc::channel(QUEUE);
    if let Some(channel) = channel {
        tokio::spawn(async {
            if let Err(error) = channel::listen(channel, asks).await {
                tracing::warn!("{error:#}");
            }
        });
    }
    tokio::spawn(Radio::new(kernel.clone(), Arc::clone(&board), &settings, asked).run());
    let (leave, leaving) = oneshot::channel();
    let pages = Pages { plain: settings.web_port, secure: settings.secure_port };
    let name = tokio::spawn(name::answer(settings.host_name.clone(), pages, Arc::clone(&board), leaving));
    tokio::select! {
        () = Keepers::new(kernel, settings, board).run(changes) => {}
        _ = end.recv() => {}
    }
    let _ = leave.send(());
    // Who does not hear of it forgets the name after its two minutes.
    let _ = tokio::time::timeout(FAREWELL, name).await;
    Ok(())
}
