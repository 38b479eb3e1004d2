//! Talking to wpa_supplicant over its socket (`README`, "Control interface"): commands and answers, a datagram each; events
//! on a socket of their own, so that none is taken for an answer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixDatagram;

use super::commands::Variables;
use super::words::{self, Event};

/// Where it listens: the service `wifi` is told so.
pub(crate) const SOCKET: &str = "/run/wifi/control";
/// Where it answers to.
const COMMANDS: &str = "/run/wifi/netd-commands";
const EVENTS: &str = "/run/wifi/netd-events";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer: what it knows of all networks in reach.
const LONGEST: usize = 64 * 1024;

/// A radio in the hands of wpa_supplicant.
pub(crate) struct Supplicant {
    link: String,
    commands: UnixDatagram,
    events: UnixDatagram,
}

impl Supplicant {
    /// Whether the service is there.
    pub(crate) fn is_there() -> bool {
        Path::new(SOCKET).exists()
    }

    /// Connects to it, and hands it the radio `link`, with no networks.
    pub(crate) async fn take(link: &str) -> anyhow::Result<Self> {
        let supplicant = Self { link: link.to_owned(), commands: connect(COMMANDS)?, events: connect(EVENTS)? };
        let added = supplicant.global(&format!("INTERFACE_ADD {link}\t\tnl80211\t\t\t")).await?;
        // A netd before this one may have handed it over.
        if added != "OK" && !supplicant.ask("PING").await.is_ok_and(|answer| answer == "PONG") {
            bail!("wpa_supplicant does not take {link}: luca-run system.logs '{{\"name\": \"wifi\"}}' says why");
        }
        supplicant.events.send(b"ATTACH").await.context("cannot hear wpa_supplicant")?;
        supplicant.forget_all().await?;
        Ok(supplicant)
    }

    /// The next event that matters.
    pub(crate) async fn event(&self) -> anyhow::Result<Event> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let length = self.events.recv(&mut buffer).await.context("cannot hear wpa_supplicant")?;
            let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            tracing::debug!("wpa_supplicant: {}", message.trim_end());
            if let Some(event) = Event::read(&message) {
                return Ok(event);
            }
        }
    }

    /// Passes over what has happened so far.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 1];
        while self.events.try_recv(&mut buffer).is_ok() {}
    }

    /// What is answered to a command for the radio.
    pub(crate) async fn ask(&self, command: &str) -> anyhow::Result<String> {
        let answer = self.global(&format!("IFNAME={} {command}", self.link)).await?;
        if answer == "FAIL-NO-IFNAME-MATCH" {
            bail!("wpa_supplicant has lost the radio");
        }
        Ok(answer)
    }

    /// Does what a command says. What it sets is not told: it may be a passphrase.
    pub(crate) async fn tell(&self, command: &str) -> anyhow::Result<()> {
        match self.ask(command).await?.as_str() {
            "OK" => Ok(()),
            _ => bail!("wpa_supplicant refuses {}", command.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        }
    }

    /// A new network with these variables and the first of these ways to open it that wpa_supplicant knows. It is not
    /// joined yet. Answers its number.
    pub(crate) async fn add(&self, variables: &Variables, keys: &[&str]) -> anyhow::Result<String> {
        let number = self.ask("ADD_NETWORK").await?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            bail!("wpa_supplicant takes no more networks");
        }
        for (name, value) in variables {
            self.tell(&format!("SET_NETWORK {number} {name} {value}")).await?;
        }
        let mut outcome = Ok(());
        for key in keys {
            outcome = self.tell(&format!("SET_NETWORK {number} key_mgmt {key}")).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map(|()| number)
    }

    /// It knows no networks any more, and is in none.
    pub(crate) async fn forget_all(&self) -> anyhow::Result<()> {
        self.tell("REMOVE_NETWORK all").await
    }

    /// Whether the radio is in a network, and in which, as wpa_supplicant writes its name.
    pub(crate) async fn joined(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let status = self.ask("STATUS").await?;
        let is_joined = words::value(&status, "wpa_state") == Some("COMPLETED");
        Ok(words::value(&status, "ssid").filter(|_| is_joined).and_then(words::unescaped))
    }

    /// How strong the network is that the radio is in, in dBm.
    pub(crate) async fn signal(&self) -> anyhow::Result<Option<i32>> {
        let answer = self.ask("SIGNAL_POLL").await?;
        Ok(words::value(&answer, "RSSI").and_then(|signal| signal.parse().ok()))
    }

    /// Whether somebody is in the own network.
    pub(crate) async fn has_guests(&self) -> anyhow::Result<bool> {
        let first = self.ask("STA-FIRST").await?;
        Ok(!first.is_empty() && !first.starts_with("FAIL") && !first.starts_with("UNKNOWN"))
    }

    async fn global(&self, command: &str) -> anyhow::Result<String> {
        let exchange = async {
            self.commands.send(command.as_bytes()).await?;
            let mut buffer = vec![0; LONGEST];
            let length = self.commands.recv(&mut buffer).await?;
            buffer.truncate(length);
            Ok::<_, std::io::Error>(buffer)
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.context("wpa_supplicant does not answer")?;
        let answer = answer.context("cannot talk to wpa_supplicant")?;
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }
}

fn connect(own: &str) -> anyhow::Result<UnixDatagram> {
    // What another netd has left.
    let _ = fs::remove_file(own);
    let socket = UnixDatagram::bind(own).with_context(|| format!("cannot answer at {own}"))?;
    socket.connect(SOCKET).context("cannot reach wpa_supplicant")?;
    Ok(socket)
}
