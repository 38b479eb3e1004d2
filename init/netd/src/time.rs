//! Asking time servers (SNTP, RFC 5905, section 14), again and again.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use rsntp::{AsyncSntpClient, Config, SynchronizationError};
use spec::Host;
use tokio::sync::watch;

use crate::clock::{self, Correction, Shift};
use crate::network::Network;

/// The port of time servers.
const PORT: u16 = 123;
/// How often a clock is compared: crystals drift by a few hundredths of a second in this time.
const EVERY: Duration = Duration::from_secs(3600);
/// After the first time that nobody has answered; it doubles up to [`EVERY`].
const FIRST_PAUSE: Duration = Duration::from_secs(16);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take to find a server's addresses.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
/// How many addresses of one server are tried.
const ADDRESSES: usize = 2;

/// Keeps the clock right while others can be reached. Silence is said once.
pub(crate) async fn keep(servers: Vec<Host>, mut network: watch::Receiver<Network>) {
    if servers.is_empty() {
        tracing::info!("no time servers: the clock is left alone");
        return;
    }
    let plausible = clock::plausible();
    let mut pause = FIRST_PAUSE;
    while network.wait_for(Network::has_address).await.is_ok() {
        match correct(&servers, &plausible).await {
            Ok(line) => {
                tracing::info!("{line}");
                pause = FIRST_PAUSE;
                tokio::time::sleep(EVERY).await;
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!("the clock is left alone, and servers are asked again from time to time: {error:#}");
                }
                // Another network may be one with an answer. Its first moments are not counted on.
                let _ = tokio::time::timeout(pause, network.changed()).await;
                tokio::time::sleep(PATIENCE).await;
                pause = (pause * 2).min(EVERY);
            }
        }
    }
}

/// Corrects the clock by the first server with a plausible answer. Answers what was done, in words.
async fn correct(servers: &[Host], plausible: &RangeInclusive<SystemTime>) -> anyhow::Result<String> {
    let mut last = anyhow!("there are no servers");
    for server in servers {
        match ask_all(server, plausible).await {
            Ok(correction) => {
                correction.apply()?;
                return Ok(correction.told(server.as_str()));
            }
            Err(error) => {
                tracing::debug!("{server}: {error:#}");
                last = error.context(server.to_string());
            }
        }
    }
    Err(last)
}

/// Asks a server at its addresses, one after the other.
async fn ask_all(server: &Host, plausible: &RangeInclusive<SystemTime>) -> anyhow::Result<Correction> {
    let address = server.as_str().trim_matches(['[', ']']);
    let lookup = tokio::time::timeout(LOOKUP_PATIENCE, tokio::net::lookup_host((address, PORT))).await;
    let addresses = lookup.context("no name server answers")?.context("its address cannot be found")?;
    let mut last = anyhow!("it has no address");
    for address in addresses.take(ADDRESSES) {
        match ask(address, plausible).await {
            Ok(correction) => return Ok(correction),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks once. Half of the time that this takes is how far off the answer can be (RFC 5905, section 8).
async fn ask(server: SocketAddr, plausible: &RangeInclusive<SystemTime>) -> anyhow::Result<Correction> {
    let own = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let client = AsyncSntpClient::with_config(Config::default().bind_address(own).timeout(PATIENCE));
    let answer = client.synchronize(server).await.map_err(|error| match error {
        SynchronizationError::IOError(error) => anyhow::Error::from(error),
        SynchronizationError::ProtocolError(error) => anyhow::Error::from(error),
    })?;
    let shift = Shift::of_seconds(answer.clock_offset().as_secs_f64()).context("its answer makes no sense")?;
    let round_trip = answer.round_trip_delay().as_secs_f64().max(0.0);
    let uncertainty = Duration::try_from_secs_f64(round_trip / 2.0).context("its answer makes no sense")?;
    clock::decide(shift, uncertainty.min(PATIENCE), SystemTime::now(), plausible)
}
