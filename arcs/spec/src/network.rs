//! `[network]` of `llmbasedos.toml`: how an appliance gets its address, who resolves names for it, who tells it the time,
//! which Wi-Fi it joins.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use toml::de::DeValue;

use crate::document::{Place, Section, TomlValue, from_text};
use crate::values::{Host, InvalidValue, LinkName, Name};
use crate::wifi::{self, MOST_WIFI_NETWORKS, StoredSetup, WifiNetwork};

/// Who is asked for the time unless the owner says otherwise.
const TIME_SERVERS: [&str; 4] = ["0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org"];
const SETUP_PASSPHRASE: &str = "setup_passphrase";
/// More name servers than this are never asked (resolv.conf(5), `MAXNS`).
const MAX_NAME_SERVERS: usize = 3;

/// A validated `[network]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Where the machine's address comes from.
    pub address: AddressSource,
    /// Name servers, the best first; a DHCP server's count only where there are none here.
    pub dns: Vec<IpAddr>,
    /// The link that is used; `None`: every wired link and the Wi-Fi that was joined for DHCP; the first one with a cable
    /// for a static address, else the Wi-Fi that was joined.
    pub link: Option<LinkName>,
    /// The Wi-Fi networks that are joined, the best first.
    pub wifi: Vec<WifiNetwork>,
    /// Whether the owner has said what opens the machine's own network, which lies in the secrets store; else it makes one
    /// up and shows it on its screen.
    pub has_setup_passphrase: bool,
    /// Who is asked for the time, the best first; nobody where it is empty.
    pub time_servers: Vec<Host>,
}

/// Where the address of a machine comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressSource {
    /// From a DHCP server, one on each link.
    Dhcp,
    /// From the owner.
    Static {
        /// The address and its network.
        address: HostAddress,
        /// Who passes on what is for other networks; in the network of `address`.
        gateway: Option<Ipv4Addr>,
    },
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            address: AddressSource::Dhcp,
            dns: Vec::new(),
            link: None,
            wifi: Vec::new(),
            has_setup_passphrase: false,
            time_servers: default_time_servers(),
        }
    }
}

fn default_time_servers() -> Vec<Host> {
    TIME_SERVERS.iter().filter_map(|server| server.parse().ok()).collect()
}

impl NetworkSettings {
    pub(crate) fn of_section(section: &Section<'_>) -> Option<Self> {
        let address = source(section);
        let dns: Vec<IpAddr> = section.or("dns", Vec::new());
        if dns.len() > MAX_NAME_SERVERS {
            section.report("dns", format!("must be {MAX_NAME_SERVERS} addresses at most: no more are ever asked"));
        }
        let (link, servers) = (section.optional("link"), section.optional("time_servers"));
        let wifi = networks(section);
        let has_setup_passphrase = section.optional::<StoredSetup>(SETUP_PASSPHRASE).is_some();
        let time_servers = servers.unwrap_or_else(default_time_servers);
        Some(Self { address: address?, dns, link, wifi, has_setup_passphrase, time_servers })
    }

    /// The secrets that its passphrases are.
    pub fn secrets(&self) -> impl Iterator<Item = Name> {
        self.wifi.iter().filter_map(WifiNetwork::secret).chain(self.setup_secret())
    }

    /// The secret that the passphrase of the machine's own network is, where the owner has stated one.
    #[must_use]
    pub fn setup_secret(&self) -> Option<Name> {
        self.has_setup_passphrase.then(wifi::setup_secret).flatten()
    }

    pub(crate) fn to_table(&self) -> toml::Table {
        let texts = |all: Vec<String>| toml::Value::from(all);
        let mut table = toml::Table::new();
        let mut set = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
        match &self.address {
            AddressSource::Dhcp => set("address", "dhcp".into()),
            AddressSource::Static { address, .. } => set("address", address.to_string().into()),
        };
        if let AddressSource::Static { gateway: Some(gateway), .. } = &self.address {
            set("gateway", gateway.to_string().into());
        }
        if let Some(link) = &self.link {
            set("link", link.as_str().into());
        }
        if self.has_setup_passphrase {
            set(SETUP_PASSPHRASE, wifi::STORED.into());
        }
        set("dns", texts(self.dns.iter().map(ToString::to_string).collect()));
        set("time_servers", texts(self.time_servers.iter().map(ToString::to_string).collect()));
        if !self.wifi.is_empty() {
            set("wifi", self.wifi.iter().map(WifiNetwork::to_table).collect::<Vec<_>>().into());
        }
        table
    }
}

/// `[[network.wifi]]`, or a single `[network.wifi]`.
fn networks(section: &Section<'_>) -> Vec<WifiNetwork> {
    let wifi: Vec<WifiNetwork> = match section.is_table("wifi") {
        true => section.section("wifi", WifiNetwork::of_section).into_iter().collect(),
        false => section.sections("wifi", WifiNetwork::of_section),
    };
    if wifi.len() > MOST_WIFI_NETWORKS {
        section.report("wifi", format!("must be {MOST_WIFI_NETWORKS} networks at most"));
    }
    let is_twice = |(at, network): (usize, &WifiNetwork)| wifi.iter().take(at).any(|other| other.ssid == network.ssid);
    if let Some((_, network)) = wifi.iter().enumerate().find(|both| is_twice(*both)) {
        section.report("wifi", format!("names the network {} twice", network.ssid));
    }
    wifi
}

/// `address` and `gateway`, which have to fit; `None` where `address` is wrong.
fn source(section: &Section<'_>) -> Option<AddressSource> {
    let gateway: Option<Ipv4Addr> = section.optional("gateway");
    let stated = if section.has("address") { section.optional("address")? } else { StatedAddress::Dhcp };
    match (stated, gateway) {
        (StatedAddress::Dhcp, None) => Some(AddressSource::Dhcp),
        (StatedAddress::Dhcp, Some(_)) => {
            section.report("gateway", "goes with a static address alone: a DHCP server names its own");
            None
        }
        (StatedAddress::Static(address), Some(gateway)) if !address.is_beside(gateway) => {
            let rule = "must be another address of the network that `address` is in";
            section.report("gateway", format!("{rule}, {address}; not {gateway}"));
            None
        }
        (StatedAddress::Static(address), gateway) => Some(AddressSource::Static { address, gateway }),
    }
}

/// What the key `address` says.
enum StatedAddress {
    Dhcp,
    Static(HostAddress),
}

impl TomlValue for StatedAddress {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, |text| match text {
            "dhcp" => Ok(Self::Dhcp),
            _ => text.parse().map(Self::Static),
        })
    }
}

/// An address that a machine can have, and how many of its bits all machines of its network share: `192.168.1.20/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostAddress {
    address: Ipv4Addr,
    prefix: u8,
}

impl HostAddress {
    /// Checks that a machine can have the address. `prefix` is from 1 to 32.
    ///
    /// # Errors
    /// It is no address of one machine (loopback, multicast, reserved: RFC 6890), or stands for the network itself or
    /// for all machines in it.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, InvalidValue> {
        let [first, ..] = address.octets();
        if !(1..=32).contains(&prefix) {
            return Err(InvalidValue(format!("must have a prefix from 1 to 32, not {prefix}")));
        }
        if first == 0 || address.is_loopback() || first >= 224 {
            return Err(InvalidValue(format!("must be an address that a machine can have, not {address}")));
        }
        let own = Self { address, prefix };
        // A network of one or two addresses has neither of these (RFC 3021).
        if prefix < 31 && (own.bits_of_host() == 0 || own.bits_of_host() == own.host_mask()) {
            return Err(InvalidValue(format!("must be an address of one machine: {own} stands for its whole network")));
        }
        Ok(own)
    }

    /// The address itself.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// How many bits of it, from the left, are those of the network.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether another machine with the address `other` can be in the same network.
    #[must_use]
    pub fn is_beside(&self, other: Ipv4Addr) -> bool {
        let mask = self.host_mask();
        other != self.address
            && Self::new(other, self.prefix).is_ok()
            && (other.to_bits() & !mask) == (self.address.to_bits() & !mask)
    }

    fn host_mask(&self) -> u32 {
        u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0)
    }

    fn bits_of_host(&self) -> u32 {
        self.address.to_bits() & self.host_mask()
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for HostAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let rule = || {
            let shown: String = text.chars().take(40).collect();
            InvalidValue(format!("must be \"dhcp\" or an address with its prefix, \"192.168.1.20/24\", not {shown:?}"))
        };
        let (address, prefix) = text.split_once('/').ok_or_else(rule)?;
        Self::new(address.parse().map_err(|_| rule())?, prefix.parse().map_err(|_| rule())?)
    }
}

impl TomlValue for Ipv4Addr {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let rule = "must be an address such as \"192.168.1.1\"";
        from_text(value, place, |text| text.parse().map_err(|_| InvalidValue(format!("{rule}, not {text:?}"))))
    }
}

impl TomlValue for IpAddr {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let rule = "must be an address such as \"192.168.1.1\" or \"2001:db8::1\"";
        from_text(value, place, |text| text.parse().map_err(|_| InvalidValue(format!("{rule}, not {text:?}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemConfig;

    fn parse(source: &str) -> Result<NetworkSettings, String> {
        let config = SystemConfig::parse("c", source).map_err(|problems| problems.to_string())?;
        Ok(config.network.unwrap_or_default())
    }

    #[test]
    fn without_a_word_it_is_dhcp_on_every_link() {
        let settings = parse("").expect("sound");
        assert_eq!(settings, NetworkSettings::default());
        assert_eq!((settings.time_servers.len(), settings.link.is_none()), (4, true));
        assert_eq!(parse("[network]\naddress = \"dhcp\""), Ok(settings));
        assert_eq!(parse("[network]\ntime_servers = []").expect("sound").time_servers, []);
    }

    #[test]
    fn a_static_address_with_everything() {
        let settings = parse(
            r#"
[network]
address = "192.168.1.20/24"
gateway = "192.168.1.1"
dns = ["192.168.1.1", "2001:db8::53"]
link = "enp3s0"
time_servers = ["192.168.1.1", "ntp.example.com"]
"#,
        );
        let settings = settings.expect("sound");
        let address = "192.168.1.20/24".parse().expect("sound");
        let source = AddressSource::Static { address, gateway: Some(Ipv4Addr::new(192, 168, 1, 1)) };
        assert_eq!((&settings.address, settings.dns.len(), settings.time_servers.len()), (&source, 2, 2));
        assert_eq!(settings.link.as_ref().map(LinkName::as_str), Some("enp3s0"));
    }

    #[test]
    fn every_problem_is_found_in_one_go() {
        let problems = parse(
            r#"
[network]
address = "192.168.1.20"
gateway = "the router"
dns = ["192.168.1.1", "dns.example.com"]
link = "../eth0"
time_server = []
time_servers = ["pool ntp"]
"#,
        );
        let expected = "\
c:3: network.address: must be \"dhcp\" or an address with its prefix, \"192.168.1.20/24\", not \"192.168.1.20\"
c:4: network.gateway: must be an address such as \"192.168.1.1\", not \"the router\"
c:5: network.dns[1]: must be an address such as \"192.168.1.1\" or \"2001:db8::1\", not \"dns.example.com\"
c:6: network.link: must be a link's name of 1 to 15 letters, digits, '.', '_' or '-', such as eth0, not \"../eth0\"
c:7: network.time_server: unknown key. Close to it: time_servers
c:8: network.time_servers[0]: must be a machine's name or address, such as pool.ntp.org, not \"pool ntp\"";
        assert_eq!(problems.expect_err("six"), expected);
    }

    #[test]
    fn a_gateway_fits_the_address() {
        let problem = |text: &str| parse(&format!("[network]\n{text}")).expect_err("a problem");
        let outside = problem("address = \"192.168.1.20/24\"\ngateway = \"192.168.2.1\"");
        let rule = "c:3: network.gateway: must be another address of the network that `address` is in";
        assert_eq!(outside, format!("{rule}, 192.168.1.20/24; not 192.168.2.1"));
        for gateway in ["192.168.1.20", "192.168.1.0", "192.168.1.255"] {
            let text = problem(&format!("address = \"192.168.1.20/24\"\ngateway = \"{gateway}\""));
            assert!(text.starts_with(rule), "{text}");
        }
        let of_dhcp = problem("gateway = \"192.168.1.1\"");
        assert!(of_dhcp.contains("network.gateway: goes with a static address alone"), "{of_dhcp}");
        let many = problem("dns = [\"1.1.1.1\", \"1.1.1.2\", \"1.1.1.3\", \"1.1.1.4\"]");
        assert!(many.contains("network.dns: must be 3 addresses at most"), "{many}");
    }

    #[test]
    fn only_what_a_machine_can_have_is_its_address() {
        for sound in ["10.0.0.1/8", "192.168.1.254/24", "172.16.0.0/31", "203.0.113.7/32", "10.0.1.0/16"] {
            assert_eq!(sound.parse::<HostAddress>().map(|address| address.to_string()), Ok(sound.to_owned()));
        }
        let wrong =
            ["10.0.0.0/8", "10.255.255.255/8", "127.0.0.1/8", "0.0.0.0/0", "224.0.0.1/24", "255.255.255.255/32"];
        for wrong in wrong.iter().chain(&["10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/", "::1/64", "0.1.2.3/8"]) {
            assert!(wrong.parse::<HostAddress>().is_err(), "{wrong}");
        }
    }
}
