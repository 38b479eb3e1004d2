//! The TCP listeners that services inherit by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};

use spec::{Name, SystemConfig};

use crate::command_line::{DEFAULT_LISTEN, Mode, Options};
use crate::error::StartError;

/// Bound listeners, by name. They outlive the services, so that a restart refuses nobody.
pub(crate) type Listeners = BTreeMap<Name, TcpListener>;

/// Binds what `wanted` names and the command line or the configuration gives an address. (`std` sets SO_REUSEADDR,
/// close-on-exec and the largest backlog that the kernel allows.) Answers what could not be bound as well: an address
/// that is in use or not of this machine, or on a developer's machine one that strangers reach.
pub(crate) fn bind(wanted: &BTreeSet<Name>, options: &Options, config: &SystemConfig) -> (Listeners, Vec<StartError>) {
    let mut listeners = Listeners::new();
    let mut troubles = Vec::new();
    for name in wanted {
        let Some(address) = address(name, options.listen, config) else { continue };
        match bind_one(name, address, options.mode) {
            Ok(bound) => {
                listeners.insert(name.clone(), bound);
            }
            Err(trouble) => troubles.push(trouble),
        }
    }
    (listeners, troubles)
}

fn bind_one(name: &Name, address: SocketAddr, mode: Mode) -> Result<TcpListener, StartError> {
    let listener = name.to_string();
    if mode == Mode::Developer && !address.ip().is_loopback() {
        return Err(StartError::NotLoopback { listener, address });
    }
    TcpListener::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { listener, address },
        _ => StartError::Address { listener, address, source },
    })
}

/// The command line wins over the configuration. The sites are at the gateway's next port unless something else is said.
fn address(name: &Name, listen: Option<SocketAddr>, config: &SystemConfig) -> Option<SocketAddr> {
    let configured = |name: &str| name.parse::<Name>().ok().and_then(|name| config.listen.get(&name).copied());
    let gateway = listen.or_else(|| configured("gateway")).unwrap_or(DEFAULT_LISTEN);
    let mut next = gateway;
    // Port 0 is any free port, and so is the one behind it.
    next.set_port(if gateway.port() == 0 { 0 } else { gateway.port().checked_add(1).unwrap_or(DEFAULT_LISTEN.port()) });
    match name.as_str() {
        "gateway" => Some(gateway),
        "sites" if listen.is_some() => Some(next),
        "sites" => Some(configured("sites").unwrap_or(next)),
        other => configured(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(listen: Option<&str>, config: &str) -> Vec<String> {
        let config = SystemConfig::parse("c", config).expect("sound");
        let listen = listen.map(|text| text.parse().expect("an address"));
        let shown = |name: &str| {
            let name = name.parse().expect("a name");
            address(&name, listen, &config).map_or("-".to_owned(), |address| address.to_string())
        };
        ["gateway", "sites", "other"].map(shown).to_vec()
    }

    #[test]
    fn who_says_the_address() {
        assert_eq!(addresses(None, ""), ["127.0.0.1:8000", "127.0.0.1:8001", "-"]);
        assert_eq!(addresses(Some("[::1]:9"), "[listen]\nsites = \"127.0.0.1:5\""), ["[::1]:9", "[::1]:10", "-"]);
        let config = "[listen]\ngateway = \"127.0.0.1:7\"\nsites = \"127.0.0.1:5\"\nother = \"127.0.0.1:3\"";
        assert_eq!(addresses(None, config), ["127.0.0.1:7", "127.0.0.1:5", "127.0.0.1:3"]);
        assert_eq!(addresses(Some("127.0.0.1:0"), ""), ["127.0.0.1:0", "127.0.0.1:0", "-"]);
    }

    #[test]
    fn only_loopback_and_only_what_is_free() {
        let wanted: BTreeSet<Name> = ["gateway".parse().expect("a name")].into();
        let options = |mode, address: SocketAddr| Options {
            mode,
            data: "data".into(),
            run: None,
            manifests: Vec::new(),
            config: Vec::new(),
            listen: Some(address),
            programs: None,
            with_parent: false,
            without: Vec::new(),
        };
        let bind = |mode, address| {
            let (mut listeners, mut troubles) = bind(&wanted, &options(mode, address), &SystemConfig::default());
            listeners.pop_first().map(|(_, listener)| listener).ok_or_else(|| troubles.remove(0))
        };
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let refused = bind(Mode::Developer, everywhere).expect_err("not loopback");
        assert_eq!(refused.exit_code(), 2);
        bind(Mode::Appliance, everywhere).expect("an appliance is reached from elsewhere");
        let first = bind(Mode::Developer, SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let address = first.local_addr().expect("an address");
        let refused = bind(Mode::Developer, address).expect_err("in use");
        assert_eq!(refused.to_string(), format!("{address} is in use (gateway): choose another with --listen"));
    }
}
