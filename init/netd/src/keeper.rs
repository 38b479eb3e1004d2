//! Which links are kept, and for how long: each from the moment that a cable is put in until it is pulled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4State};
use spec::AddressSource;
use tokio::task::JoinHandle;

use crate::access_point;
use crate::address::Addressing;
use crate::kernel::{self, Changes, Kernel};
use crate::link::{self, Link};
use crate::network::{Board, LinkState, Purpose};
use crate::settings::Settings;

/// How often it is looked for what the kernel did not tell of: its news can be lost when there is much of it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After something failed on a link, before it is tried again.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a DHCP server may take to answer before the exchange is begun anew.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);

/// Who keeps the links.
pub(crate) struct Keepers {
    around: Surroundings,
    /// Who keeps a link with a carrier; by the kernel's number of the link.
    running: BTreeMap<u32, Keeper>,
    /// The last trouble that was said.
    said: String,
}

/// Who keeps a link.
struct Keeper {
    /// The carrier count of the link when that began, and what it is kept for.
    since: (u32, Purpose),
    task: JoinHandle<()>,
}

/// What a keeper needs beside its link.
#[derive(Clone)]
struct Surroundings {
    kernel: Kernel,
    settings: Arc<Settings>,
    board: Arc<Board>,
}

impl Keepers {
    /// Nobody keeps anything yet.
    pub(crate) fn new(kernel: Kernel, settings: Settings, board: Arc<Board>) -> Self {
        let around = Surroundings { kernel, settings: Arc::new(settings), board };
        Self { around, running: BTreeMap::new(), said: String::new() }
    }

    /// Keeps links for ever.
    pub(crate) async fn run(mut self, mut changes: Changes) {
        let mut news = self.around.board.subscribe();
        loop {
            match self.around.kernel.links().await {
                Ok(links) => self.turn(links).await,
                Err(error) => self.say(&error),
            }
            // Whatever it is, it is looked again. What a radio is for stands on the board.
            tokio::select! {
                () = changes.next() => {}
                Ok(()) = news.changed() => drop(news.borrow_and_update()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn turn(&mut self, links: Vec<Link>) {
        let board = Arc::clone(&self.around.board);
        let purpose_of_radio = |link: &Link| board.purpose_of_radio(&link.name);
        let links = link::chosen(links, &self.around.settings.network, kernel::is_radio, purpose_of_radio);
        self.forget_all_but(&links);
        for (link, purpose) in links {
            if !link.is_up
                && let Err(error) = self.around.kernel.bring_up(&link).await
            {
                self.say(&error);
            }
            let kept = self.running.get(&link.index).map(|keeper| keeper.since);
            let since = (link.carrier_changes, purpose);
            if !link.has_carrier {
                self.stop(link.index);
                // Whether one that has just been told to work has a cable is not known yet.
                self.around.tell(&link, if link.is_up { LinkState::Unplugged } else { LinkState::Waiting });
            } else if kept != Some(since) {
                self.stop(link.index);
                self.around.tell(&link, LinkState::Waiting);
                let (index, around) = (link.index, self.around.clone());
                self.running.insert(index, Keeper { since, task: tokio::spawn(keep(link, purpose, around)) });
            }
        }
    }

    fn forget_all_but(&mut self, links: &[(Link, Purpose)]) {
        let is_there = |index: &u32| links.iter().any(|(link, _)| link.index == *index);
        for index in self.around.board.indices().into_iter().filter(|index| !is_there(index)) {
            self.stop(index);
            self.around.board.change(|network| network.remove(index));
        }
    }

    /// Says what went wrong, once while it goes on doing so.
    fn say(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        if text != self.said {
            tracing::warn!("{text}");
            self.said = text;
        }
    }

    fn stop(&mut self, index: u32) {
        if let Some(keeper) = self.running.remove(&index) {
            keeper.task.abort();
        }
    }
}

impl Surroundings {
    fn tell(&self, link: &Link, state: LinkState) {
        self.board.change(|network| network.set(link, state));
    }

    /// Gives a link its address, and tells so.
    async fn apply(&self, link: &Link, given: Addressing) -> anyhow::Result<()> {
        self.kernel.apply(link, &given).await?;
        let line = format!("{} has {given}", link.name);
        if self.board.change(|network| network.set(link, LinkState::Addressed(given))) {
            tracing::info!("{line}");
        }
        Ok(())
    }
}

/// Keeps the address of a link. What fails again and again in the same way is said once.
async fn keep(link: Link, purpose: Purpose, around: Surroundings) {
    let mut said = String::new();
    loop {
        let Err(error) = address(&link, purpose, &around).await;
        let text = format!("{}: {error:#}", link.name);
        if text != said {
            tracing::warn!("{text}; it is tried again and again");
            said = text;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn address(link: &Link, purpose: Purpose, around: &Surroundings) -> anyhow::Result<Infallible> {
    if let Purpose::Host(own) = purpose {
        around.apply(link, Addressing::of_owner(own, None, &[])).await?;
        return access_point::serve(&link.name, own).await;
    }
    match &around.settings.network.address {
        AddressSource::Dhcp => lease(link, around).await,
        AddressSource::Static { address, gateway } => {
            let given = Addressing::of_owner(*address, *gateway, &around.settings.network.dns);
            around.kernel.take_from_others(link, &given).await?;
            around.apply(link, given).await?;
            std::future::pending().await
        }
    }
}

/// Gets a lease and keeps it. What is left of one that could not be kept is the kernel's to end.
async fn lease(link: &Link, around: &Surroundings) -> anyhow::Result<Infallible> {
    let mut config = DhcpV4Config::new(&link.name);
    config.set_iface_index(link.index).set_iface_mac_raw(&link.address)?;
    config.use_mac_as_client_id().set_host_name(&around.settings.host_name);
    let mut client = DhcpV4Client::init(config, None).await?;
    let mut has_lease = false;
    loop {
        let state = match has_lease {
            true => client.run().await?,
            false => tokio::time::timeout(SERVER_PATIENCE, client.run())
                .await
                .map_err(|_| anyhow!("no DHCP server answers"))??,
        };
        match state {
            DhcpV4State::Done(lease) => {
                let given = Addressing::of_lease(&lease, &around.settings.network.dns);
                let given = given.map_err(|why| anyhow!("the DHCP server offers what cannot be used: {why}"))?;
                around.apply(link, given).await?;
                has_lease = true;
            }
            DhcpV4State::InitReboot if has_lease => {
                tracing::warn!("{}: the lease has ended and no DHCP server has renewed it", link.name);
                around.tell(link, LinkState::Waiting);
                has_lease = false;
            }
            _ => {}
        }
    }
}
