//! What is known of all links together: a board that all of netd reads, and of which programs and init are told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use spec::{HostAddress, NetworkSettings, Ssid, control};
use tokio::sync::watch;

use crate::access_point::Invitation;
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

/// What the radio does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Air {
    /// It looks for networks.
    Searching { link: String, wanted: Vec<String> },
    /// It is in a network; its strength when that was worth being told.
    Joined { link: String, ssid: Ssid, signal_dbm: Option<i32> },
    /// It opens a network of its own; what went wrong before that.
    Serving { link: String, own: Option<HostAddress>, invitation: Invitation, trouble: Option<String> },
}

impl Air {
    fn link(&self) -> &str {
        match self {
            Self::Searching { link, .. } | Self::Joined { link, .. } | Self::Serving { link, .. } => link,
        }
    }
}

/// What a link is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The machine is one among others there.
    Member,
    /// The machine serves others there, with this address.
    Host(HostAddress),
}

/// All links that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Network {
    /// Name and state, by the kernel's number.
    links: BTreeMap<u32, (String, LinkState)>,
    /// What the radio does, where there is one.
    air: Option<Air>,
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

    /// Takes down what the radio does. Answers whether that is news.
    pub(crate) fn set_air(&mut self, air: Option<Air>) -> bool {
        let is_news = self.air != air;
        self.air = air;
        is_news
    }

    /// What the link of this name is kept for, if it is a radio; nothing while it is in no network.
    pub(crate) fn purpose_of_radio(&self, name: &str) -> Option<Purpose> {
        match self.air.as_ref().filter(|air| air.link() == name)? {
            Air::Searching { .. } => None,
            Air::Joined { .. } => Some(Purpose::Member),
            Air::Serving { own, .. } => own.map(Purpose::Host),
        }
    }

    /// The own address on the link that serves others, once it has it.
    fn own_access_point(&self) -> Option<HostAddress> {
        self.addressed().find_map(|(name, _)| match self.purpose_of_radio(name)? {
            Purpose::Host(own) => Some(own),
            Purpose::Member => None,
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

/// One short line for a screen: the addresses, or why there is none. `eth0 192.168.1.23 · wlan0 192.168.1.24 in home, -52 dBm`
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_host = |name: &str| matches!(self.purpose_of_radio(name), Some(Purpose::Host(_)));
        let members = self.addressed().filter(|(name, _)| !is_host(name));
        let mut parts: Vec<String> =
            members.map(|(name, given)| format!("{name} {}{}", given.own.address(), self.joined(name))).collect();
        if parts.is_empty() {
            parts.extend(self.links.values().filter(|(name, _)| !is_host(name)).map(|(name, state)| match state {
                LinkState::Unplugged => format!("{name} has no cable"),
                _ => format!("{name} waits for an address{}", self.joined(name)),
            }));
            parts.extend(self.air.as_ref().and_then(untied));
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

impl Network {
    /// ` in home, -52 dBm`, of the radio that is in a network.
    fn joined(&self, name: &str) -> String {
        match &self.air {
            Some(Air::Joined { link, ssid, signal_dbm }) if link == name => {
                let signal = signal_dbm.map_or_else(String::new, |signal| format!(", {signal} dBm"));
                format!(" in {ssid}{signal}")
            }
            _ => String::new(),
        }
    }
}

/// What a radio does that is in no network.
fn untied(air: &Air) -> Option<String> {
    match air {
        Air::Searching { wanted, .. } if wanted.is_empty() => None,
        Air::Searching { link, wanted } => Some(format!("{link} looks for {}", wanted.join(", "))),
        Air::Joined { .. } => None,
        Air::Serving { own, invitation: Invitation { ssid, passphrase }, trouble, .. } => {
            let trouble = trouble.as_ref().map_or_else(String::new, |trouble| format!("{trouble} · "));
            let address = own.map_or_else(String::new, |own| format!(", then open http://{}", own.address()));
            Some(format!("{trouble}set-up: join the Wi-Fi {ssid} with {}{address}", passphrase.shown()))
        }
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
            let told = |network: &Network| (network.own_access_point(), network.to_string());
            let (servers, before) = (network.name_servers(), told(network));
            let is_news = change(network);
            if network.name_servers() != servers {
                tell_programs(network);
            }
            if told(network) != before {
                tell_init(network);
            }
            is_news
        })
    }

    /// How strong the network was that the radio is in, when that was told last.
    pub(crate) fn air_signal(&self) -> Option<i32> {
        match self.0.borrow().air {
            Some(Air::Joined { signal_dbm, .. }) => signal_dbm,
            _ => None,
        }
    }

    /// Whether another link than this has an address.
    pub(crate) fn has_address_beside(&self, link: &str) -> bool {
        self.0.borrow().addressed().any(|(name, _)| name != link)
    }

    /// What the radio of this name is kept for.
    pub(crate) fn purpose_of_radio(&self, name: &str) -> Option<Purpose> {
        self.0.borrow().purpose_of_radio(name)
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
    // What others call their networks ends no line.
    let status = network.to_string().replace(char::is_control, " ");
    let own = network.own_access_point().map_or_else(String::new, |own| own.to_string());
    notify::tell_init(&format!("{}={own}\nSTATUS={status}", control::ACCESS_POINT));
}

#[cfg(test)]
mod tests {
    use spec::SecretText;

    use super::*;
    use crate::access_point::Passphrase;

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
    fn what_the_radio_does_is_told_as_well() {
        let mut network = Network::default();
        let searching = |wanted: &[&str]| {
            let wanted = wanted.iter().map(ToString::to_string).collect();
            Some(Air::Searching { link: "wlan0".to_owned(), wanted })
        };
        network.set_air(searching(&[]));
        assert_eq!(network.to_string(), "there is no wired link");
        network.set(&link("eth0", 2), LinkState::Unplugged);
        assert!(network.set_air(searching(&["home", "work"])));
        assert!(!network.set_air(searching(&["home", "work"])), "that is no news");
        assert_eq!(network.to_string(), "eth0 has no cable · wlan0 looks for home, work");
        let ssid: Ssid = "home".parse().expect("sound");
        network.set_air(Some(Air::Joined { link: "wlan0".to_owned(), ssid: ssid.clone(), signal_dbm: Some(-52) }));
        network.set(&link("wlan0", 3), LinkState::Waiting);
        assert_eq!(network.to_string(), "eth0 has no cable · wlan0 waits for an address in home, -52 dBm");
        assert_eq!(network.purpose_of_radio("wlan0"), Some(Purpose::Member));
        network.set(&link("wlan0", 3), addressed("192.168.1.24/24", &[]));
        assert_eq!(network.to_string(), "wlan0 192.168.1.24 in home, -52 dBm");

        let own = HostAddress::new([10, 41, 73, 1].into(), 24).ok();
        let passphrase = Passphrase::Made(SecretText::new("abcd-efgh-2345".to_owned()));
        let invitation = Invitation { ssid: "llmbasedos-7f3a".parse().expect("sound"), passphrase };
        let trouble = Some("the passphrase of the network home is wrong".to_owned());
        assert_eq!(network.own_access_point(), None);
        network.set_air(Some(Air::Serving { link: "wlan0".to_owned(), own, invitation, trouble }));
        network.set(&link("wlan0", 3), addressed("10.41.73.1/24", &[]));
        let expected = "eth0 has no cable · the passphrase of the network home is wrong · set-up: join the Wi-Fi \
                        llmbasedos-7f3a with abcd-efgh-2345, then open http://10.41.73.1";
        assert_eq!(network.to_string(), expected);
        assert_eq!(network.own_access_point(), own);

        let passphrase = Passphrase::Owners(SecretText::new("typed by hand".to_owned()));
        let invitation = Invitation { ssid: "llmbasedos-7f3a".parse().expect("sound"), passphrase };
        network.set_air(Some(Air::Serving { link: "wlan0".to_owned(), own, invitation, trouble: None }));
        let expected = "eth0 has no cable · set-up: join the Wi-Fi llmbasedos-7f3a with the setup_passphrase of \
                        llmbasedos.toml, then open http://10.41.73.1";
        assert_eq!(network.to_string(), expected);
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
