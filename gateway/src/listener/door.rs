//! A TCP listener's door: who comes in, and from where.
//!
//! On a listener that other machines reach, whoever connects must show a token; only the bare status page and the claim are
//! for all. On a loopback listener it is enough to be the user that runs the system.
//!
//! A browser that shows a foreign page can reach either. On loopback the `Host` must be a loopback name (else the page came
//! by a DNS name that was pointed here). Elsewhere nothing but a page needs it, and there it must be an address or a name
//! that no stranger can own in the DNS (`is_own_host`). An `Origin`, which browsers always send with what may change
//! something, must be this very listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use tokio::sync::Semaphore;

use super::tcp::Ends;
use crate::gateway::Gateway;
use crate::identity::{self, Identity, Tokens};
use crate::web::Told;

/// How many WebSocket connections there are at once.
const CONNECTIONS: usize = 256;
/// Where names end that the DNS of the Internet does not have (RFC 6761, RFC 6762, RFC 8375, and ICANN's word on
/// `.internal`), or that routers made up before that and nobody can buy.
const NEAR: [&str; 6] = ["local", "lan", "home", "home.arpa", "internal", "localdomain"];

/// The door that speaks TLS.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    pub(crate) port: u16,
    /// The SHA-256 of its certificate, as browsers show it: `AB:CD:…`.
    pub(crate) sha256: Arc<str>,
}

impl Secure {
    /// What follows the name of the machine in its address: nothing for the port that everybody knows.
    pub(crate) fn shown_port(&self) -> String {
        if self.port == 443 { String::new() } else { format!(":{}", self.port) }
    }
}

/// What all connections of a listener share.
pub(crate) struct Door {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) is_secure: bool,
    /// The one that does.
    pub(crate) secure: Option<Secure>,
    /// The name of the machine.
    pub(crate) host_name: Arc<str>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) seats: Arc<Semaphore>,
    /// What strangers are told of the machine.
    pub(crate) told: Told,
}

/// Why a request is not heard.
pub(crate) type Refusal = (StatusCode, &'static str);

const FOREIGN: Refusal = (StatusCode::FORBIDDEN, "pages of another origin may not connect\n");

impl Door {
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        address: SocketAddr,
        (is_secure, secure): (bool, Option<Secure>),
        host_name: &str,
        tokens: &Arc<Tokens>,
    ) -> Arc<Self> {
        let (gateway, tokens) = (Arc::clone(gateway), Arc::clone(tokens));
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        let (host_name, told) = (host_name.into(), Told::default());
        Arc::new(Self { gateway, address, is_secure, secure, host_name, tokens, seats, told })
    }

    /// Whether other machines reach it.
    pub(crate) fn is_open_to_others(&self) -> bool {
        !self.address.ip().is_loopback()
    }

    /// Who connects: from elsewhere by a token, from this machine by its user.
    pub(crate) fn identify(&self, ends: Ends, headers: &HeaderMap) -> Identity {
        if self.is_open_to_others() {
            let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            return self.tokens.of_bearer(shown);
        }
        identity::of_loopback(ends.peer, ends.own, ends.cookie)
    }

    /// Whether a request comes from where it may come from.
    pub(crate) fn judge(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let host = host(headers, uri);
        if self.is_open_to_others() {
            let scheme = if self.is_secure { "https://" } else { "http://" };
            let is_own = |origin: &str| origin.strip_prefix(scheme).is_some_and(|origin| Some(origin) == host);
            return if text(headers, header::ORIGIN).is_none_or(is_own) { Ok(()) } else { Err(FOREIGN) };
        }
        if !host.is_some_and(is_loopback_host) {
            let why = "the Host must be a loopback name: localhost or 127.0.0.1\n";
            return Err((StatusCode::MISDIRECTED_REQUEST, why));
        }
        let is_own = |origin| is_own_origin(origin, self.address.port());
        if text(headers, header::ORIGIN).is_none_or(is_own) { Ok(()) } else { Err(FOREIGN) }
    }

    /// The same for a page, which a browser may have been led to by a name of somebody else's. Answers the host by which
    /// this machine was found.
    pub(crate) fn judge_page<'h>(&self, headers: &'h HeaderMap, uri: &'h Uri) -> Result<&'h str, Refusal> {
        self.judge(headers, uri)?;
        // Browsers of today say it also where they send no origin.
        let site = headers.get("sec-fetch-site").map_or("none", |value| value.to_str().unwrap_or("?"));
        let is_navigation = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
        let found = host(headers, uri).map(bare_host);
        match found {
            Some(host) if self.is_open_to_others() && !is_own_host(host, &self.host_name) => {
                Err((StatusCode::MISDIRECTED_REQUEST, "this machine is found by its own name or address alone\n"))
            }
            Some(_) if site != "none" && site != "same-origin" && !is_navigation => Err(FOREIGN),
            Some(host) => Ok(host),
            None => Err((StatusCode::BAD_REQUEST, "a Host is wanted\n")),
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn host<'h>(headers: &'h HeaderMap, uri: &'h Uri) -> Option<&'h str> {
    text(headers, header::HOST).or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

/// `authority`, `host[:port]`, without the port.
fn bare_host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// An address in a URL, where IPv6 stands in brackets.
fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Whether `authority`, `host[:port]`, names this machine to itself.
fn is_loopback_host(authority: &str) -> bool {
    let host = bare_host(authority);
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|address| address.is_loopback())
}

/// Whether `host` may be what a machine called `name` is found by: an address (a page that came by one is from there), or
/// its name where no stranger can own it in the DNS. Where another machine had the name, netd has put a number behind it.
fn is_own_host(host: &str, name: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let (first, rest) = host.split_once('.').unwrap_or((&host, ""));
    let after = first.strip_prefix(&name.to_ascii_lowercase());
    let number =
        |after: &str| after.strip_prefix('-').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = after.is_some_and(|after| after.is_empty() || number(after));
    address(&host).is_some() || host == "localhost" || is_name && (rest.is_empty() || NEAR.contains(&rest))
}

fn is_own_origin(origin: &str, port: u16) -> bool {
    let Some(authority) = origin.strip_prefix("http://") else { return false };
    let given_port = authority.rsplit_once(':').map_or(Some(80), |(_, port)| port.parse().ok());
    given_port == Some(port) && is_loopback_host(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_own_are_ours() {
        let sound = ["attic", "ATTIC.local", "attic-2.local.", "attic.lan", "attic.home.arpa", "10.0.0.7", "[fe80::1]"];
        for host in sound.iter().chain(&["localhost", "127.0.0.1"]) {
            assert!(is_own_host(host, "attic"), "{host}");
        }
        let foreign =
            ["", ".", "attic.example.com", "attic.com", "example.com", "attic-2.example.local.com", "10.0.0.7.nip.io"];
        for host in foreign.iter().chain(&["other.local", "attic2.local", "attic-x.local", "attic.local.attic.com"]) {
            assert!(!is_own_host(host, "attic"), "{host}");
        }
    }

    #[test]
    fn hosts_are_loopback_or_refused() {
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.1.2.3:1", "[::1]:8000", "[::1]"]
        {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["", "example.com", "127.0.0.1.example.com:8000", "localhost.example.com", "10.0.0.1:8000", "[::2]", "a:b"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn origins_are_this_listener_or_refused() {
        for origin in ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"] {
            assert!(is_own_origin(origin, 8000), "{origin}");
        }
        let foreign = [
            "null",
            "",
            "http://localhost",
            "http://localhost:8001",
            "https://localhost:8000",
            "http://example.com:8000",
            "http://127.0.0.1.example.com:8000",
            "http://localhost:8000.example.com",
            "http://a@localhost:8000",
            "http://localhost:8000/x",
            "file://",
        ];
        for origin in foreign {
            assert!(!is_own_origin(origin, 8000), "{origin}");
        }
        assert!(is_own_origin("http://localhost", 80));
    }
}
