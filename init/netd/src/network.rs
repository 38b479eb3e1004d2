//! What is known of all links together: a board that all of netd reads, and of which programs and init are told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use spec::NetworkSettings;
use tokio::sync::watch;

use crate::address::Addressing;
use crate::link::Link;
use crate::{notify, resolver};

/// Where programs look for name servers: `/etc/resolv.conf` points here.
const RESOLVER_FILE: &str = "/run/network/resolv.conf";
/// More name servers than this are never asked (resolv.conf(5), `MAXNS`).
const MAX_NAME_SERVERS: usize = 3;

/// How a link is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// There is no cable, or nobody at its other end.
    Unplugged,
    /// It has no address yet.
    Waiting,
    /// It has an address.
    Addressed(Addressing),
}

/// All links that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Network {
    /// Name and state, by the kernel's number.
    links: BTreeMap<u32, (String, LinkState)>,
    /// The link that the owner wants.
    wanted: Option<String>,
    /// The name that this machine took because its own was taken, with `.local`.
    other_name: Option<String>,
}

impl Network {
    /// Nothing is known yet.
    pub(crate) fn of(settings: &NetworkSettings) -> Self {
        Self { wanted: settings.link.as_ref().map(ToString::to_string), ..Self::default() }
    }

    /// Takes down how a link is doing. Answers whether that is news.
    pub(crate) fn set(&mut self, link: &Link, state: LinkState) -> bool {
        let fresh = (link.name.clone(), state);
        self.links.insert(link.index, fresh.clone()) != Some(fresh)
    }

    /// Forgets a link that is gone. Answers whether that is news.
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        self.links.remove(&index).is_some()
    }

    /// Takes down that the machine goes by another name. Answers whether that is news.
    pub(crate) fn rename(&mut self, name: &str) -> bool {
        self.other_name.replace(name.to_owned()).as_deref() != Some(name)
    }

    /// The links with an address: name and address.
    pub(crate) fn addressed(&self) -> impl Iterator<Item = (&str, &Addressing)> {
        self.links.values().filter_map(|(name, state)| match state {
            LinkState::Addressed(given) => Some((name.as_str(), given)),
            LinkState::Unplugged | LinkState::Waiting => None,
        })
    }

    /// Whether others can be reached at all.
    pub(crate) fn has_address(&self) -> bool {
        self.addressed().next().is_some()
    }

    /// Who resolves names: those of the first link first, each once.
    fn name_servers(&self) -> Vec<IpAddr> {
        let mut servers = Vec::new();
        for server in self.addressed().flat_map(|(_, given)| &given.name_servers) {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        servers.truncate(MAX_NAME_SERVERS);
        servers
    }
}

/// One short line for a screen: the addresses, or why there is none. `eth0 192.168.1.23`
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> =
            self.addressed().map(|(name, given)| format!("{name} {}", given.own.address())).collect();
        if parts.is_empty() {
            parts.extend(self.links.values().map(|(name, state)| match state {
                LinkState::Unplugged => format!("{name} has no cable"),
                _ => format!("{name} waits for an address"),
            }));
        }
        if parts.is_empty() {
            parts.push(match &self.wanted {
                Some(name) => format!("there is no link {name}"),
                None => "there is no wired link".to_owned(),
            });
        }
        parts.extend(self.other_name.as_ref().map(|name| format!("its own name is taken, so {name}")));
        f.write_str(&parts.join(" · "))
    }
}

/// Where it stands for all of netd to read. Programs and init know of each change before anybody here does, so that
/// whoever waits for an address can ask its name servers.
pub(crate) struct Board(watch::Sender<Network>);

impl Board {
    /// A board with this on it.
    pub(crate) fn new(network: Network) -> Self {
        tell_programs(&network);
        tell_init(&network);
        Self(watch::Sender::new(network))
    }

    /// Changes what stands there. `change` answers whether that is news, as does this.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Network) -> bool) -> bool {
        self.0.send_if_modified(|network| {
            let (servers, line) = (network.name_servers(), network.to_string());
            let is_news = change(network);
            if network.name_servers() != servers {
                tell_programs(network);
            }
            if network.to_string() != line {
                tell_init(network);
            }
            is_news
        })
    }

    /// The kernel's numbers of all links.
    pub(crate) fn indices(&self) -> Vec<u32> {
        self.0.borrow().links.keys().copied().collect()
    }

    /// What stands there, and each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Network> {
        self.0.subscribe()
    }
}

fn tell_programs(network: &Network) {
    if let Err(error) = resolver::write(Path::new(RESOLVER_FILE), &network.name_servers()) {
        tracing::warn!("{error:#}");
    }
}

fn tell_init(network: &Network) {
    notify::tell_init(&format!("STATUS={network}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, index: u32) -> Link {
        let (name, address) = (name.to_owned(), [0; 6]);
        Link { name, index, address, has_device: true, is_up: true, has_carrier: true, carrier_changes: 1 }
    }

    fn addressed(address: &str, servers: &[[u8; 4]]) -> LinkState {
        let servers: Vec<IpAddr> = servers.iter().copied().map(IpAddr::from).collect();
        LinkState::Addressed(Addressing::of_owner(address.parse().expect("an address"), None, &servers))
    }

    #[test]
    fn one_line_tells_how_the_network_is() {
        let mut network = Network::of(&NetworkSettings::default());
        assert_eq!(network.to_string(), "there is no wired link");
        assert!(network.set(&link("eth0", 2), LinkState::Unplugged));
        assert_eq!(network.to_string(), "eth0 has no cable");
        assert!(network.set(&link("eth0", 2), LinkState::Waiting));
        assert!(!network.set(&link("eth0", 2), LinkState::Waiting), "that is no news");
        network.set(&link("eth1", 3), LinkState::Unplugged);
        assert_eq!(network.to_string(), "eth0 waits for an address · eth1 has no cable");
        network.set(&link("eth0", 2), addressed("192.168.1.23/24", &[]));
        assert_eq!(network.to_string(), "eth0 192.168.1.23");
        network.set(&link("eth1", 3), addressed("10.0.0.2/8", &[]));
        network.rename("attic-2.local");
        assert_eq!(network.to_string(), "eth0 192.168.1.23 · eth1 10.0.0.2 · its own name is taken, so attic-2.local");
        network.remove(2);
        assert!(network.has_address());
    }

    #[test]
    fn a_link_that_is_wanted_and_not_there_is_named() {
        let config = spec::SystemConfig::parse("c", "[network]\nlink = \"eth7\"").expect("sound");
        assert_eq!(Network::of(&config.network.expect("stated")).to_string(), "there is no link eth7");
    }

    #[test]
    fn name_servers_of_all_links_are_asked_each_once_and_three_at_most() {
        let mut network = Network::default();
        network.set(&link("eth1", 3), addressed("10.0.0.2/8", &[[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]));
        network.set(&link("eth0", 2), addressed("192.168.1.23/24", &[[192, 168, 1, 1], [1, 1, 1, 1]]));
        let expected = [[192, 168, 1, 1], [1, 1, 1, 1], [2, 2, 2, 2]].map(IpAddr::from);
        assert_eq!(network.name_servers(), expected);
        network.set(&link("eth0", 2), LinkState::Unplugged);
        assert_eq!(network.name_servers()[0], IpAddr::from([1, 1, 1, 1]));
    }
}
