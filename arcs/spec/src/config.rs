//! `llmbasedos.toml`: what the owner says of the machine as a whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use toml::de::DeValue;

use crate::claim::SetupCode;
use crate::document::{Document, Place, Section, TomlValue, from_text};
use crate::network::NetworkSettings;
use crate::problem::Problems;
use crate::secrets;
use crate::values::{HostName, HostPort, InvalidValue, Name, Token};
use crate::wifi::WifiNetwork;

/// `[gateway]` of `llmbasedos.toml`: who may come in from other machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Who shows one of these is the owner.
    pub tokens: Vec<Token>,
    /// Who enters this becomes the owner, once.
    pub setup_code: Option<SetupCode>,
}

impl GatewaySettings {
    fn of_section(section: &Section<'_>) -> Self {
        Self { tokens: section.or("tokens", Vec::new()), setup_code: section.optional("setup_code") }
    }
}

/// What the gateway is told at its start, in a file that init makes for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayStart {
    /// The name of the machine.
    pub host_name: String,
    /// The owner's tokens in `llmbasedos.toml`.
    pub tokens: Vec<Token>,
    /// The one that whoever claimed the machine was given.
    pub claimed: Option<Token>,
}

impl GatewayStart {
    /// Reads the file. `file` names it in messages.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn parse(file: &str, source: &str) -> Result<Self, Problems> {
        Document::read(file, source, |root| {
            let host_name = root.optional::<HostName>("host_name");
            let host_name = host_name.map_or_else(|| DEFAULT_HOST_NAME.to_owned(), |name| name.to_string());
            Some(Self { host_name, tokens: root.or("tokens", Vec::new()), claimed: root.optional("claimed") })
        })
    }

    /// The file that init makes.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut file = toml::Table::new();
        let text = |token: &Token| toml::Value::from(token.as_str());
        file.insert("host_name".to_owned(), self.host_name.as_str().into());
        file.insert("tokens".to_owned(), self.tokens.iter().map(text).collect::<Vec<_>>().into());
        file.extend(self.claimed.iter().map(|token| ("claimed".to_owned(), text(token))));
        file.to_string()
    }
}

/// What a machine is called unless its owner says otherwise.
const DEFAULT_HOST_NAME: &str = "llmbasedos";

/// A validated `llmbasedos.toml`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemConfig {
    /// The name of the machine in the network; an appliance alone takes it.
    pub hostname: Option<HostName>,
    /// `[gateway]`
    pub gateway: GatewaySettings,
    /// `[network]`, where it is there.
    pub network: Option<NetworkSettings>,
    /// The TCP addresses of the named listeners: `gateway`, `https`, `sites`.
    pub listen: BTreeMap<Name, SocketAddr>,
    /// The settings of each Arc, by its name: read and checked by the Arc itself.
    pub arcs: BTreeMap<Name, toml::Table>,
    /// `[grants.ARC]`: what the owner grants an Arc beside its manifest.
    pub grants: BTreeMap<Name, Grant>,
}

/// What the owner grants an Arc beside what its manifest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Secrets that it is handed.
    pub secrets: Vec<Name>,
    /// Hosts that it may reach through the egress proxy.
    pub egress: Vec<HostPort>,
    /// Whether others reach it at the port of loopback that its manifest `serves`.
    pub serves: bool,
}

impl Grant {
    fn of_section(section: &Section<'_>) -> Self {
        Self {
            secrets: section.or("secrets", Vec::new()),
            egress: section.or("egress", Vec::new()),
            serves: section.or("serves", false),
        }
    }
}

impl SystemConfig {
    /// Reads a configuration. `file` names it in messages. The values of `[secrets]` are nowhere in what is answered,
    /// for they are masked before anything else reads the text: [`OwnersSecrets`] finds them.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn parse(file: &str, source: &str) -> Result<Self, Problems> {
        Document::read(file, &secrets::masked(source), |root| {
            root.section("secrets", secrets::check);
            let grants = root.named_sections("grants", |_, grant| Some(Grant::of_section(grant)));
            let listen = root.section("listen", |all| Some(all.entries())).unwrap_or_default();
            let arcs = root.named_sections("arcs", |_, settings| Some(settings.raw()));
            let gateway = root.section("gateway", |section| Some(GatewaySettings::of_section(section)));
            let network = root.section("network", NetworkSettings::of_section);
            let (hostname, gateway) = (root.optional("hostname"), gateway.unwrap_or_default());
            let (listen, arcs) = (names(root, "listen", listen), names(root, "arcs", arcs));
            let grants = names(root, "grants", grants);
            Some(Self { hostname, gateway, network, listen, arcs, grants })
        })
    }

    /// The name of the machine: the owner's, or `llmbasedos`.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.hostname.as_ref().map_or(DEFAULT_HOST_NAME, HostName::as_str)
    }

    /// The file that init makes for `netd`: what of this configuration concerns the network, in the same form.
    #[must_use]
    pub fn network_toml(&self) -> String {
        let mut file = toml::Table::new();
        file.insert("hostname".to_owned(), self.host_name().into());
        let web = self.listen.iter().filter(|(name, _)| ["gateway", "https"].contains(&name.as_str()));
        let listen: toml::Table = web.map(|(name, address)| (name.to_string(), address.to_string().into())).collect();
        if !listen.is_empty() {
            file.insert("listen".to_owned(), listen.into());
        }
        file.insert("network".to_owned(), self.network.clone().unwrap_or_default().to_table().into());
        file.to_string()
    }

    /// The Wi-Fi networks that are joined, the best first.
    #[must_use]
    pub fn wifi(&self) -> &[WifiNetwork] {
        self.network.as_ref().map_or(&[], |network| &network.wifi)
    }

    /// The same to be changed.
    pub fn wifi_mut(&mut self) -> &mut Vec<WifiNetwork> {
        &mut self.network.get_or_insert_default().wifi
    }

    /// A file with nothing in it but these networks.
    #[must_use]
    pub fn wifi_toml(networks: &[WifiNetwork]) -> String {
        let wifi: Vec<toml::Value> = networks.iter().map(|network| network.to_table().into()).collect();
        let network = toml::Table::from_iter([("wifi".to_owned(), wifi.into())]);
        toml::Table::from_iter([("network".to_owned(), network.into())]).to_string()
    }

    /// This configuration with what `later` says in place of what is said here: whole Arcs, grants and listeners, and all
    /// of `[network]`.
    #[must_use]
    pub fn overridden_by(mut self, later: Self) -> Self {
        self.hostname = later.hostname.or(self.hostname);
        if !later.gateway.tokens.is_empty() {
            self.gateway.tokens = later.gateway.tokens;
        }
        self.gateway.setup_code = later.gateway.setup_code.or(self.gateway.setup_code);
        self.network = later.network.or(self.network);
        self.listen.extend(later.listen);
        self.arcs.extend(later.arcs);
        self.grants.extend(later.grants);
        self
    }
}

fn names<T>(root: &Section<'_>, key: &str, map: BTreeMap<String, T>) -> BTreeMap<Name, T> {
    let checked = |(name, value): (String, T)| match name.parse::<Name>() {
        Ok(name) => Some((name, value)),
        Err(InvalidValue(message)) => {
            root.report(key, message);
            None
        }
    };
    map.into_iter().filter_map(checked).collect()
}

impl TomlValue for SocketAddr {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, |text| {
            text.parse()
                .map_err(|_| InvalidValue(format!("must be ADDRESS:PORT such as \"127.0.0.1:8000\", not {text:?}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_wins_arc_by_arc() {
        let first = SystemConfig::parse("a", "[arcs.kv]\nsize = 1\n[arcs.llm_router]\nx = 1").expect("sound");
        let later =
            SystemConfig::parse("b", "[listen]\ngateway = \"127.0.0.1:9\"\n[arcs.kv]\nother = 2").expect("sound");
        let both = first.overridden_by(later);
        let kv = &both.arcs[&"kv".parse().expect("a name")];
        assert_eq!(kv.to_string(), "other = 2\n");
        assert_eq!((both.listen.len(), both.arcs.len()), (1, 2));
    }

    #[test]
    fn the_gateway_reads_what_init_makes_of_its_section() {
        let gateway = "tokens = [\"0123456789abcdef\", \"the-second-token-of-two\"]\nsetup_code = \"canary-code\"";
        let source = &format!("hostname = \"attic\"\n[gateway]\n{gateway}");
        let config = SystemConfig::parse("c", source).expect("sound");
        assert_eq!(config.hostname.as_ref().map(HostName::as_str), Some("attic"));
        let (tokens, claimed) = (config.gateway.tokens.clone(), "a-token-that-a-claim-made".parse().ok());
        let start = GatewayStart { host_name: config.host_name().to_owned(), tokens, claimed };
        assert_eq!(GatewayStart::parse("g", &start.to_toml()), Ok(start.clone()));
        assert_eq!(GatewayStart::parse("g", "").expect("sound").host_name, "llmbasedos");
        let shown = format!("{config:?} {start:?}").to_lowercase();
        assert!(!["0123456789abcdef", "canary", "that-a-claim"].iter().any(|secret| shown.contains(secret)), "{shown}");
        let kept = config.clone().overridden_by(SystemConfig::default());
        assert_eq!(kept, config);

        let source =
            "hostname = \"a.b\"\n[gateway]\ntokens = [\"short\", \"with a space in the middle\"]\nsetup_code = \"abc\"";
        let problems = SystemConfig::parse("c", source).expect_err("four").to_string();
        assert!(problems.contains("c:1: hostname: must be"), "{problems}");
        assert!(problems.contains("c:4: gateway.setup_code: must be 6 to 32 letters and digits"), "{problems}");
        assert!(!problems.contains("short") && !problems.contains("space in"), "{problems}");
    }

    #[test]
    fn netd_reads_what_init_makes_for_it() {
        let network =
            "[network]\naddress = \"10.1.2.3/16\"\ngateway = \"10.1.0.1\"\ndns = [\"10.1.0.1\"]\nlink = \"eth1\"";
        let source = format!(
            "{network}\n[listen]\ngateway = \"0.0.0.0:80\"\nhttps = \"0.0.0.0:443\"\nsites = \"127.0.0.1:8001\"\n[gateway]"
        );
        let config = SystemConfig::parse("c", &source).expect("sound");
        let read = SystemConfig::parse("n", &config.network_toml()).expect("what init makes is sound");
        assert_eq!((&read.network, read.host_name(), read.listen.len()), (&config.network, "llmbasedos", 2));
        let later = SystemConfig::parse("d", "[network]\ntime_servers = []").expect("sound");
        assert_eq!(config.clone().overridden_by(later.clone()).network, later.network);
        assert_eq!(config.clone().overridden_by(SystemConfig::default()).network, config.network);
        let silent = SystemConfig::default().network_toml();
        let read = SystemConfig::parse("n", &silent).expect("sound");
        assert_eq!(read.network, Some(NetworkSettings::default()));
    }

    #[test]
    fn a_key_reaches_no_terminal_as_it_is() {
        let problems = SystemConfig::parse("c", "[listen]\n\"\\u001b[2J\" = 1\n").expect_err("no key of ours");
        assert_eq!(problems.to_string(), "c:2: listen.\"\\u{1b}[2J\": must be a string, not the number 1");
    }

    #[test]
    fn problems_name_the_key() {
        let problems =
            SystemConfig::parse("llmbasedos.toml", "[listen]\ngateway = \"everywhere\"\n[arc.kv]\n").expect_err("two");
        let expected = "\
llmbasedos.toml:2: listen.gateway: must be ADDRESS:PORT such as \"127.0.0.1:8000\", not \"everywhere\"
llmbasedos.toml:3: arc: unknown key. Close to it: arcs";
        assert_eq!(problems.to_string(), expected);
    }
}
