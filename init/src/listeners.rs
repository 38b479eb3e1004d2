//! The TCP listeners that services inherit by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};

use spec::{Name, SystemConfig};

use crate::command_line::DEFAULT_LISTEN;
use crate::error::StartError;

/// Bound listeners, by name. They outlive the services, so that a restart refuses nobody.
pub(crate) type Listeners = BTreeMap<Name, TcpListener>;

/// Binds what `wanted` names and the command line or the configuration gives an address. (`std` sets SO_REUSEADDR,
/// close-on-exec and the largest backlog that the kernel allows.)
///
/// # Errors
/// An address that is in use, not loopback, or not of this machine.
pub(crate) fn bind(
    wanted: &BTreeSet<Name>,
    listen: Option<SocketAddr>,
    config: &SystemConfig,
) -> Result<Listeners, StartError> {
    let mut listeners = Listeners::new();
    for name in wanted {
        let Some(address) = address(name, listen, config) else { continue };
        let listener = || name.to_string();
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback { listener: listener(), address });
        }
        let bound = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::AddressInUse { listener: listener(), address },
            _ => StartError::Address { listener: listener(), address, source },
        })?;
        listeners.insert(name.clone(), bound);
    }
    Ok(listeners)
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
        let bind = |address: SocketAddr| bind(&wanted, Some(address), &SystemConfig::default());
        let refused = bind(SocketAddr::from(([0, 0, 0, 0], 0))).expect_err("not loopback");
        assert_eq!(refused.exit_code(), 2);
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let address = first.values().next().and_then(|listener| listener.local_addr().ok()).expect("an address");
        let refused = bind(address).expect_err("in use");
        assert_eq!(refused.to_string(), format!("{address} is in use (gateway): choose another with --listen"));
    }
}
