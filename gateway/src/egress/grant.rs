//! What an Arc asks to reach, and whether its manifest grants that: pure.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::Uri;
use hyper::http::uri::Authority;
use spec::HostPort;

use super::address::is_public;

/// Where somebody wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// By its name, in lower case and without the dot at its end.
    Name(String),
    Address(IpAddr),
}

/// Why a target cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("CONNECT wants HOST:PORT")]
    NoPort,
    #[error("a user name has no place in an address")]
    UserName,
    #[error("only http:// is asked for in full; for https:// use CONNECT")]
    Scheme,
    #[error("that is not the name or address of a host")]
    Host,
}

impl Target {
    /// Of a CONNECT request.
    pub(crate) fn of_connect(uri: &Uri) -> Result<Self, TargetError> {
        let authority = uri.authority().ok_or(TargetError::NoPort)?;
        let port = authority.port_u16().ok_or(TargetError::NoPort)?;
        Self::of_authority(authority, port)
    }

    /// Of a request whose address stands in full in its first line.
    pub(crate) fn of_absolute(uri: &Uri) -> Result<Self, TargetError> {
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => Self::of_authority(authority, authority.port_u16().unwrap_or(80)),
            _ => Err(TargetError::Scheme),
        }
    }

    fn of_authority(authority: &Authority, port: u16) -> Result<Self, TargetError> {
        if authority.as_str().contains('@') {
            return Err(TargetError::UserName);
        }
        if port == 0 {
            return Err(TargetError::NoPort);
        }
        Ok(Self { host: Host::read(authority.host()).ok_or(TargetError::Host)?, port })
    }

    fn of_grant(grant: &HostPort) -> Option<Self> {
        let (host, port) = grant.as_str().rsplit_once(':')?;
        Some(Self { host: Host::read(host)?, port: port.parse().ok()? })
    }

    /// Whether one of `grants` names it.
    pub(crate) fn is_granted(&self, grants: &[HostPort]) -> bool {
        grants.iter().filter_map(Self::of_grant).any(|grant| grant == *self)
    }

    /// The addresses of `resolved` that may be connected to. Of a name only those in the open Internet; an address is what
    /// the manifest grants.
    pub(crate) fn reachable(&self, resolved: &[IpAddr]) -> Vec<SocketAddr> {
        let may_reach = |address: &&IpAddr| match &self.host {
            Host::Name(_) => is_public(**address),
            Host::Address(granted) => *address == granted,
        };
        resolved.iter().filter(may_reach).map(|address| SocketAddr::new(*address, self.port)).collect()
    }

    /// Whether it is this machine's own loopback.
    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self.host, Host::Address(address) if address.is_loopback())
    }
}

impl Host {
    /// Names are those of RFC 1123 with `_`; what looks like a number in any notation is an address in the usual one or
    /// nothing: `0x7f.1` and `2130706433` are read differently by different programs.
    fn read(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().ok().map(|address| Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(address) = name.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Some(Self::Address(IpAddr::from([127, 0, 0, 1])));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_numeric = last.starts_with(|c: char| c.is_ascii_digit());
        (name.len() <= 253 && name.split('.').all(is_label) && !is_numeric).then_some(Self::Name(name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(address) => write!(f, "{}", SocketAddr::new(*address, self.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(text: &str) -> Result<Target, TargetError> {
        Target::of_connect(&text.parse().expect("a URI"))
    }

    fn granted(target: &str, grants: &[&str]) -> bool {
        let grants: Vec<HostPort> = grants.iter().map(|grant| grant.parse().expect("a grant")).collect();
        connect(target).expect("a target").is_granted(&grants)
    }

    #[test]
    fn a_grant_is_for_one_host_and_one_port() {
        let grants = ["api.example.com:443", "127.0.0.1:11434", "[2001:db8::1]:80"];
        for yes in ["api.example.com:443", "API.example.com.:443", "localhost:11434", "[::ffff:127.0.0.1]:11434"] {
            assert!(granted(yes, &grants), "{yes}");
        }
        for no in ["api.example.com:80", "example.com:443", "x.api.example.com:443", "127.0.0.2:11434", "127.0.0.1:80"]
        {
            assert!(!granted(no, &grants), "{no}");
        }
    }

    #[test]
    fn what_is_read_in_two_ways_is_not_read() {
        assert_eq!(connect("user@example.com:443"), Err(TargetError::UserName));
        assert_eq!(connect("example.com"), Err(TargetError::NoPort));
        for text in
            ["0x7f.1:80", "2130706433:80", "127.1:80", "017700000001:80", "a..b:80", "1.2.3.4.5:80", "[::1%25lo]:80"]
        {
            let read = text.parse::<Uri>().map(|uri| Target::of_connect(&uri));
            assert!(matches!(read, Err(_) | Ok(Err(_))), "{text}");
        }
        let absolute = |text: &str| Target::of_absolute(&text.parse().expect("a URI"));
        assert_eq!(absolute("http://example.com/a").expect("plain").port, 80);
        assert_eq!(absolute("https://example.com/"), Err(TargetError::Scheme));
        assert_eq!(absolute("/path"), Err(TargetError::Scheme));
    }

    #[test]
    fn a_name_that_leads_inside_leads_nowhere() {
        let resolved: Vec<IpAddr> = ["10.0.0.1", "1.1.1.1", "::1"].map(|text| text.parse().expect("an address")).into();
        let name = connect("rebound.example.com:443").expect("a target");
        assert_eq!(name.reachable(&resolved), ["1.1.1.1:443".parse().expect("an address")]);
        let address = connect("10.0.0.1:443").expect("a target");
        assert_eq!(address.reachable(&resolved), ["10.0.0.1:443".parse().expect("an address")]);
    }
}
