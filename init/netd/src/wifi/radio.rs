//! Carrying out what the radio is for: one task, which alone talks to wpa_supplicant.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use spec::control::{BySsid, WifiJoin, WifiSeen};
use spec::{SecretText, Ssid, WifiNetwork};
use tokio::sync::{mpsc, oneshot};

use super::commands;
use super::decision::{Phase, Sight, step};
use super::supplicant::Supplicant;
use super::words::{self, Event};
use crate::access_point::{self, Invitation, Passphrase};
use crate::kernel::{self, Kernel};
use crate::network::{Air, Board};
use crate::settings::Settings;

/// How often it is looked how things are, beside what wpa_supplicant tells.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After wpa_supplicant has failed, or where there is no radio, before it is tried again.
const PAUSE: Duration = Duration::from_secs(3);
/// How long it may take to get into a network.
const JOIN_PATIENCE: Duration = Duration::from_secs(45);
/// How long it may take to hear which networks there are.
const SCAN_PATIENCE: Duration = Duration::from_secs(20);
/// A network that was looked for in vain so often is not there.
const LOOKS: u32 = 3;
/// How often, and with which pauses, it is looked whether the own network is open.
const OPEN_LOOKS: u32 = 40;
const OPEN_PAUSE: Duration = Duration::from_millis(500);
/// A change of the signal that is worth being told, in dB.
const NOTABLE: i32 = 15;

/// A network that is known, with what opens it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) network: WifiNetwork,
    pub(crate) passphrase: Option<SecretText>,
}

/// What init asks, with where it is answered: in JSON, or why not.
#[derive(Debug)]
pub(crate) enum Ask {
    Scan(oneshot::Sender<Result<Vec<WifiSeen>, String>>),
    Join(WifiJoin, oneshot::Sender<Result<(), String>>),
    Forget(BySsid, oneshot::Sender<Result<(), String>>),
}

impl Ask {
    fn refuse(self, why: &str) {
        let why = why.to_owned();
        // Who asked may have gone.
        match self {
            Self::Scan(answer) => drop(answer.send(Err(why))),
            Self::Join(_, answer) | Self::Forget(_, answer) => drop(answer.send(Err(why))),
        }
    }
}

/// The radio, and what is known of networks.
pub(crate) struct Radio {
    kernel: Kernel,
    board: Arc<Board>,
    /// The link that the owner wants, if it is one alone.
    wanted: Option<String>,
    known: Vec<Known>,
    /// What opens the own network: the owner's, or made when it is first needed and the same for as long as netd runs.
    passphrase: Option<Passphrase>,
    asked: mpsc::Receiver<Ask>,
    /// What is in reach, as it was heard last.
    seen: Vec<WifiSeen>,
    /// Why the last network that somebody wanted was not joined.
    trouble: Option<String>,
    /// The last trouble that was said.
    said: String,
}

impl Radio {
    pub(crate) fn new(kernel: Kernel, board: Arc<Board>, settings: &Settings, asked: mpsc::Receiver<Ask>) -> Self {
        Self {
            kernel,
            board,
            wanted: settings.network.link.as_ref().map(ToString::to_string),
            known: settings.known.clone(),
            passphrase: settings.setup_passphrase.clone().map(Passphrase::Owners),
            asked,
            seen: Vec::new(),
            trouble: None,
            said: String::new(),
        }
    }

    /// Keeps the radio for ever, while there is one.
    pub(crate) async fn run(mut self) {
        loop {
            match self.link().await {
                Some((link, address)) => {
                    let Err(error) = self.keep(&link, address).await;
                    self.say(&format!("{link}: {error:#}"));
                    self.board.change(|network| network.set_air(None));
                }
                None => drop(self.board.change(|network| network.set_air(None))),
            }
            self.refuse_for(PAUSE).await;
        }
    }

    /// The first radio, where wpa_supplicant is there as well: name and hardware address.
    async fn link(&self) -> Option<(String, [u8; 6])> {
        if !Supplicant::is_there() {
            return None;
        }
        let links = self.kernel.links().await.ok()?;
        let is_wanted = |name: &str| self.wanted.as_deref().is_none_or(|wanted| wanted == name);
        let found = links.into_iter().find(|link| link.has_device && kernel::is_radio(link) && is_wanted(&link.name));
        found.map(|link| (link.name, link.address))
    }

    /// Says what is wrong, once while it is.
    fn say(&mut self, text: &str) {
        if text != self.said {
            tracing::warn!("{text}; it is tried again and again");
            text.clone_into(&mut self.said);
        }
    }

    async fn refuse_for(&mut self, pause: Duration) {
        let refuse = async {
            while let Some(ask) = self.asked.recv().await {
                ask.refuse(
                    "this machine has no radio for Wi-Fi, or what drives it is not ready: the log of netd says more",
                );
            }
        };
        if tokio::time::timeout(pause, refuse).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    }

    async fn keep(&mut self, link: &str, address: [u8; 6]) -> anyhow::Result<Infallible> {
        let supplicant = Supplicant::take(link).await?;
        let invitation = self.invitation(address)?;
        let mut session = Session { supplicant, link: link.to_owned(), invitation, phase: searching() };
        self.search(&session).await?;
        let mut changes = self.board.subscribe();
        loop {
            self.look(&mut session).await?;
            let mut look = false;
            while !look {
                tokio::select! {
                    event = session.supplicant.event() => { event?; look = true; }
                    Ok(()) = changes.changed() => {
                        // Only a cable is news here.
                        changes.borrow_and_update();
                        look = true;
                    }
                    Some(ask) = self.asked.recv() => { self.answer(ask, &mut session).await?; look = true; }
                    () = tokio::time::sleep(LOOK_EVERY) => look = true,
                }
            }
        }
    }

    fn invitation(&mut self, address: [u8; 6]) -> anyhow::Result<Invitation> {
        let passphrase = match &self.passphrase {
            Some(passphrase) => passphrase.clone(),
            None => self.passphrase.insert(Passphrase::Made(access_point::new_passphrase()?)).clone(),
        };
        Invitation::of(address, passphrase)
    }

    /// Sees how things are, and does what follows.
    async fn look(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let is_serving = matches!(session.phase, Phase::Serving { .. });
        let joined = if is_serving { None } else { session.supplicant.joined().await? };
        let sight = Sight {
            has_cable: self.board.has_address_beside(&session.link),
            knows_networks: !self.known.is_empty(),
            is_joined: joined.is_some(),
            has_guests: is_serving && session.supplicant.has_guests().await?,
        };
        let phase = step(session.phase, sight, Instant::now());
        if phase != session.phase {
            self.turn_to(phase, session).await?;
        }
        if let (Phase::Joined, Some(ssid)) = (session.phase, joined) {
            self.tell_joined(session, Ssid::new(ssid).map_err(|why| anyhow!("a network's name {why}"))?).await?;
        }
        Ok(())
    }

    async fn turn_to(&mut self, phase: Phase, session: &mut Session) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut session.phase, phase);
        match (before, phase) {
            (_, Phase::Serving { .. }) => self.serve(session).await,
            (Phase::Serving { .. }, _) => self.search(session).await,
            (Phase::Joined, Phase::Searching { .. }) => {
                self.tell_searching(session);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Looks for all networks that are known.
    async fn search(&mut self, session: &Session) -> anyhow::Result<()> {
        let supplicant = &session.supplicant;
        supplicant.forget_all().await?;
        if let Some(country) = self.known.iter().find_map(|known| known.network.country.as_ref()) {
            supplicant.tell(&format!("SET country {}", country.as_str())).await?;
        }
        for (place, known) in self.known.iter().enumerate() {
            let number = self.add(supplicant, known, place).await?;
            supplicant.tell(&format!("ENABLE_NETWORK {number}")).await?;
        }
        self.tell_searching(session);
        Ok(())
    }

    async fn add(&self, supplicant: &Supplicant, known: &Known, place: usize) -> anyhow::Result<String> {
        let Known { network, passphrase } = known;
        let variables = commands::of_network(network, passphrase.as_ref(), place);
        supplicant.add(&variables, commands::key_management(passphrase.as_ref())).await
    }

    fn tell_searching(&self, session: &Session) {
        let wanted: Vec<String> = self.known.iter().map(|known| known.network.ssid.to_string()).collect();
        let air = Air::Searching { link: session.link.clone(), wanted };
        self.board.change(|network| network.set_air(Some(air)));
    }

    async fn tell_joined(&mut self, session: &Session, ssid: Ssid) -> anyhow::Result<()> {
        let signal = session.supplicant.signal().await?;
        let told = self.board.air_signal();
        let is_near = |told: i32| signal.is_some_and(|signal| (signal - told).abs() < NOTABLE);
        let signal = if told.is_some_and(is_near) { told } else { signal };
        self.trouble = None;
        let air = Air::Joined { link: session.link.clone(), ssid: ssid.clone(), signal_dbm: signal };
        if self.board.change(|network| network.set_air(Some(air))) {
            let shown = signal.map_or_else(String::new, |signal| format!(", {signal} dBm"));
            tracing::info!("{} is in the Wi-Fi {ssid}{shown}", session.link);
        }
        Ok(())
    }

    /// Opens the own network; where it does not open all that is known is looked for, and after a while this is tried
    /// again. What else is in reach is heard before: some radios cannot hear while they serve.
    async fn serve(&mut self, session: &mut Session) -> anyhow::Result<()> {
        if let Ok(seen) = scan(&session.supplicant).await {
            self.seen = seen;
        }
        let supplicant = &session.supplicant;
        supplicant.forget_all().await?;
        let Invitation { ssid, passphrase } = &session.invitation;
        let number =
            supplicant.add(&commands::of_access_point(ssid, passphrase.secret()), &commands::KEYS_OF_KEY).await?;
        supplicant.tell(&format!("SELECT_NETWORK {number}")).await?;
        if !opened(supplicant).await? {
            self.say(&format!("{}: no network of its own opens here: set the machine up by cable", session.link));
            session.phase = searching();
            return self.search(session).await;
        }
        tracing::info!("{}: nothing leads to this machine: it opens the Wi-Fi {ssid} for its set-up", session.link);
        let air = Air::Serving {
            link: session.link.clone(),
            own: access_point::own(),
            invitation: session.invitation.clone(),
            trouble: self.trouble.clone(),
        };
        self.board.change(|network| network.set_air(Some(air)));
        Ok(())
    }

    async fn answer(&mut self, ask: Ask, session: &mut Session) -> anyhow::Result<()> {
        match ask {
            Ask::Scan(answer) => {
                let _ = answer.send(self.in_reach(session).await.map_err(|error| format!("{error:#}")));
            }
            Ask::Join(join, answer) => {
                let outcome = self.join(join, session).await;
                let after = match &outcome {
                    // The others are joined again as well where this one is gone.
                    Ok(()) => session.supplicant.tell("ENABLE_NETWORK all").await,
                    Err(_) => self.return_to(session).await,
                };
                let _ = answer.send(outcome.map_err(|error| format!("{error:#}")));
                after?;
            }
            Ask::Forget(BySsid { ssid }, answer) => {
                self.known.retain(|known| known.network.ssid != ssid);
                let _ = answer.send(Ok(()));
                if !matches!(session.phase, Phase::Serving { .. }) {
                    session.phase = searching();
                    self.search(session).await?;
                }
            }
        }
        Ok(())
    }

    /// The networks of others in reach: as they were before it served while the radio serves.
    async fn in_reach(&mut self, session: &Session) -> anyhow::Result<Vec<WifiSeen>> {
        if !matches!(session.phase, Phase::Serving { .. }) {
            self.seen = scan(&session.supplicant).await?;
        }
        let own = &session.invitation.ssid;
        Ok(self.seen.iter().filter(|network| network.ssid != *own).cloned().collect())
    }

    /// Joins a network that somebody wants now. Where that fails the radio is in none.
    async fn join(&mut self, join: WifiJoin, session: &mut Session) -> anyhow::Result<()> {
        let WifiJoin { ssid, passphrase, country, hidden } = join;
        let network = WifiNetwork { ssid, is_secured: passphrase.is_some(), country, hidden };
        let known = Known { network, passphrase: passphrase.map(SecretText::new) };
        let outcome = self.try_out(&known, &session.supplicant).await;
        self.trouble = outcome.as_ref().err().map(|error| format!("{error:#}"));
        if outcome.is_ok() {
            self.known.retain(|other| other.network.ssid != known.network.ssid);
            self.known.insert(0, known);
            session.phase = Phase::Joined;
        }
        outcome
    }

    /// Everything is as it was before a network that could not be joined.
    async fn return_to(&mut self, session: &mut Session) -> anyhow::Result<()> {
        if matches!(session.phase, Phase::Serving { .. }) {
            return self.serve(session).await;
        }
        session.phase = searching();
        self.search(session).await
    }

    async fn try_out(&self, known: &Known, supplicant: &Supplicant) -> anyhow::Result<()> {
        supplicant.forget_all().await?;
        if let Some(country) = &known.network.country {
            supplicant.tell(&format!("SET country {}", country.as_str())).await?;
        }
        for (place, other) in self.known.iter().filter(|other| other.network.ssid != known.network.ssid).enumerate() {
            self.add(supplicant, other, place + 1).await?;
        }
        let number = self.add(supplicant, known, 0).await?;
        supplicant.drain();
        supplicant.tell(&format!("SELECT_NETWORK {number}")).await?;
        let ssid = &known.network.ssid;
        let mut looks = 0;
        let outcome = outcome(supplicant, ssid, known.passphrase.is_some(), &mut looks);
        match tokio::time::timeout(JOIN_PATIENCE, outcome).await {
            Ok(outcome) => outcome,
            Err(_) if looks > 0 => bail!("there is no network {ssid} in reach"),
            Err(_) => {
                let seconds = JOIN_PATIENCE.as_secs();
                bail!("the network {ssid} does not let this machine in: it took longer than {seconds} s")
            }
        }
    }
}

/// What is known while the radio is in the hands of one wpa_supplicant.
struct Session {
    supplicant: Supplicant,
    link: String,
    invitation: Invitation,
    phase: Phase,
}

fn searching() -> Phase {
    Phase::Searching { since: Instant::now() }
}

/// Waits until the radio is in the network that was selected, or will not be.
async fn outcome(supplicant: &Supplicant, ssid: &Ssid, has_passphrase: bool, looks: &mut u32) -> anyhow::Result<()> {
    loop {
        match supplicant.event().await? {
            Event::Connected if supplicant.joined().await?.as_deref() == Some(ssid.bytes()) => return Ok(()),
            Event::WrongKey => bail!("the passphrase of the network {ssid} is wrong"),
            Event::Rejected if has_passphrase => {
                bail!("the network {ssid} does not let this machine in: most likely the passphrase is wrong")
            }
            Event::Rejected => bail!("the network {ssid} does not let this machine in"),
            Event::NotFound => {
                *looks += 1;
                if *looks >= LOOKS {
                    bail!("there is no network {ssid} in reach");
                }
            }
            _ => {}
        }
    }
}

/// Waits until the own network is open; answers whether it is.
async fn opened(supplicant: &Supplicant) -> anyhow::Result<bool> {
    for _ in 0..OPEN_LOOKS {
        if supplicant.joined().await?.is_some() {
            return Ok(true);
        }
        tokio::time::sleep(OPEN_PAUSE).await;
    }
    Ok(false)
}

/// The networks in reach now. A radio that is in a network looks at the other channels in between, which takes long: then
/// it is what was heard so far.
async fn scan(supplicant: &Supplicant) -> anyhow::Result<Vec<WifiSeen>> {
    let answer = supplicant.ask("SCAN").await?;
    if !matches!(answer.as_str(), "OK" | "FAIL-BUSY") {
        bail!("the radio cannot look for networks now");
    }
    let heard = async {
        while supplicant.event().await? != Event::Scanned {}
        anyhow::Ok(())
    };
    let is_whole = tokio::time::timeout(SCAN_PATIENCE, heard).await.map_or(Ok(false), |heard| heard.map(|()| true))?;
    let seen = words::scanned(&supplicant.ask("SCAN_RESULTS").await?);
    if !is_whole && seen.is_empty() {
        bail!("the radio does not say which networks there are");
    }
    Ok(seen)
}
