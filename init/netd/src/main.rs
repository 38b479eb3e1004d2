//! `netd`: brings every cable's link up, gets an address for it by DHCP, and keeps that for as long as the server lets it.
//!
//! | module | what it is |
//! | --- | --- |
//! | `link` | the links that the machine has |
//! | `lease` | what a DHCP server's answer means for this machine: pure |
//! | `kernel` | telling the kernel: links, addresses, routes |
//! | `resolver` | telling programs: name servers |

mod kernel;
mod lease;
mod link;
mod resolver;

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4State};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use kernel::Kernel;
use lease::Settings;
use link::Link;

/// How often it is looked for links that came or went.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After an exchange with a server that failed, before the next.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a server may take to answer before the exchange is begun anew.
const SERVER_PATIENCE: u32 = 30;
/// Where programs look for name servers: `/etc/resolv.conf` points here.
const RESOLVER_FILE: &str = "/run/resolv.conf";

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
    let kernel = Kernel::connect()?;
    tell_init("READY=1");
    let mut watched: BTreeMap<u32, JoinHandle<()>> = BTreeMap::new();
    loop {
        let links = link::all();
        watched.retain(|index, task| {
            let is_there = links.iter().any(|link| link.index == *index);
            if !is_there {
                task.abort();
            }
            is_there
        });
        for link in links {
            watched.entry(link.index).or_insert_with(|| tokio::spawn(keep(link, kernel.clone())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Keeps a link up and its address valid.
async fn keep(link: Link, kernel: Kernel) {
    loop {
        if let Err(error) = lease(&link, &kernel).await {
            tracing::warn!("{}: {error:#}", link.name);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn lease(link: &Link, kernel: &Kernel) -> anyhow::Result<()> {
    kernel.bring_up(link).await?;
    let mut config = DhcpV4Config::new(&link.name);
    config.set_iface_index(link.index).set_iface_mac_raw(&link.address)?;
    config.use_mac_as_client_id().set_timeout_sec(SERVER_PATIENCE);
    let mut client = DhcpV4Client::init(config, None).await?;
    loop {
        if let DhcpV4State::Done(lease) = client.run().await? {
            let settings = Settings::of_lease(&lease);
            kernel.apply(link, &settings).await?;
            resolver::write(Path::new(RESOLVER_FILE), &settings)?;
            tracing::info!("{} has {settings}", link.name);
            tell_init(&format!("STATUS={} {}", link.name, settings.address));
        }
    }
}

/// Tells init how it is going, as in `sd_notify(3)`. Without a `NOTIFY_SOCKET` nobody wants to know.
fn tell_init(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path)) {
        tracing::warn!("cannot tell init: {error}");
    }
}
