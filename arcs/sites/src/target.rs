//! What a request asks for, as far as its line and `Host` tell.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, header};
use kit::Name;

/// What a request path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The list of all sites.
    Overview,
    /// A file or folder of a site.
    InSite {
        /// The site.
        site: Name,
        /// Its path from the folder of all sites, `demo/posts/a.html`: the site's name, then names that are neither
        /// empty nor hidden.
        path: String,
        /// Whether it was written as a folder, with a slash at its end.
        as_folder: bool,
    },
}

impl Target {
    /// Reads the path of a request. `None` for what is never served: hidden files and folders, names with control
    /// characters, slashes or backslashes behind a `%`, empty names.
    pub(crate) fn read(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if path.is_empty() {
            return Some(Self::Overview);
        }
        let (path, as_folder) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let names = path.split('/').map(name).collect::<Option<Vec<_>>>()?;
        let site = names.first()?.parse().ok()?;
        // The bare name of a site is redirected to its folder like any other folder's.
        Some(Self::InSite { site, path: names.join("/"), as_folder })
    }
}

fn name(encoded: &str) -> Option<String> {
    let name = String::from_utf8(decode(encoded)?).ok()?;
    let sound = !name.is_empty() && !name.starts_with('.') && name.len() <= 255;
    (sound && !name.contains(|c: char| c.is_control() || c == '/' || c == '\\')).then_some(name)
}

/// Decodes `%41` (RFC 3986, section 2.1).
fn decode(encoded: &str) -> Option<Vec<u8>> {
    let mut parts = encoded.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

/// Whether the request was sent to this machine by a name that cannot be made to point here by somebody else: every
/// host that it states (its line's and its `Host`) is `localhost` or an address of loopback, and there is one.
pub(crate) fn is_for_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let stated = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let mut hosts = stated.chain(uri.authority().map(|authority| authority.as_str())).peekable();
    hosts.peek().is_some() && hosts.all(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address_6 = without_port.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    without_port.eq_ignore_ascii_case("localhost")
        || without_port.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || address_6.and_then(|host| host.parse::<Ipv6Addr>().ok()).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_site(path: &str) -> Option<(String, bool)> {
        match Target::read(path)? {
            Target::InSite { path, as_folder, .. } => Some((path, as_folder)),
            Target::Overview => None,
        }
    }

    #[test]
    fn a_path_names_a_file_or_a_folder_of_a_site() {
        assert_eq!(Target::read("/"), Some(Target::Overview));
        assert_eq!(in_site("/demo"), Some(("demo".to_owned(), false)));
        assert_eq!(in_site("/demo/"), Some(("demo".to_owned(), true)));
        assert_eq!(in_site("/demo/posts/a%20b.html"), Some(("demo/posts/a b.html".to_owned(), false)));
    }

    #[test]
    fn what_is_hidden_or_leads_away_is_never_served() {
        let paths = [
            "/.demo/",
            "/demo/.site.json",
            "/demo/%2esite.json",
            "/demo/../x",
            "/demo/%2e%2e/x",
            "/demo/a%2fb",
            "/demo/a%5cb",
            "/demo//x",
            "//demo/",
            "/Demo/",
            "/demo/%00",
            "/demo/%0a",
            "/demo/%zz",
            "/demo/%+1",
            "/demo/%ff",
            "/demo/%",
            "demo",
            "",
        ];
        for path in paths {
            assert_eq!(Target::read(path), None, "{path}");
        }
        assert_eq!(Target::read(&format!("/demo/{}", "n".repeat(256))), None);
    }

    #[test]
    fn only_names_of_loopback_are_answered() {
        let is_answered = |uri: &str, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, axum::http::HeaderValue::from_static(host));
            }
            is_for_loopback(&uri.parse().expect("a URI"), &headers)
        };
        for host in ["localhost", "LocalHost:8001", "127.0.0.1:8001", "127.9.9.9", "[::1]", "[::1]:8001"] {
            assert!(is_answered("/", &[host]), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:8001", "192.168.1.2", "0.0.0.0", "127.0.0.1@evil", "::1:x"]
        {
            assert!(!is_answered("/", &[host]), "{host}");
        }
        assert!(!is_answered("/", &[]));
        assert!(!is_answered("/", &["localhost", "evil.example"]));
        assert!(!is_answered("http://evil.example/", &["localhost"]));
    }
}
