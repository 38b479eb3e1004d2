//! Where the gateway is: named by the user, or found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::failure::Error;
use crate::tls::Pin;

/// The environment variable that names the gateway where `--gateway` does not.
pub(crate) const VARIABLE: &str = "LLMBASEDOS_GATEWAY";

/// What stands between an address and the SHA-256 of the certificate there.
const PIN: &str = "#sha256=";

/// A gateway's address, as written after `--gateway`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `ws://HOST:PORT/ws`, which others may listen to; or `wss://HOST:PORT/ws#sha256=DIGITS`, through TLS with whoever has the
    /// certificate of that digest: its address, and that.
    WebSocket(String, Option<Pin>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::WebSocket(url, None) => f.write_str(url),
            Self::WebSocket(url, Some(pin)) => write!(f, "{url}{PIN}{pin}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("must be unix:PATH, ws://HOST:PORT/ws or wss://HOST:PORT/ws{PIN}DIGITS, not {text:?}");
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let (url, pin) = match text.split_once(PIN) {
            Some((url, pin)) => (url, Some(pin.parse::<Pin>().map_err(|why| format!("{PIN} {why}"))?)),
            None => (text, None),
        };
        let scheme = if pin.is_some() { "wss://" } else { "ws://" };
        let rest = url.strip_prefix(scheme).filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
        let rest = rest.ok_or_else(invalid)?;
        // A bare host and port can only mean the one WebSocket that the gateway has.
        match rest.trim_end_matches('/') {
            host if !host.contains('/') => Ok(Self::WebSocket(format!("{scheme}{host}/ws"), pin)),
            _ => Ok(Self::WebSocket(url.to_owned(), pin)),
        }
    }
}

/// What the search for a gateway depends on, taken from the process by [`Surroundings::of_this_process`].
pub(crate) struct Surroundings {
    /// The value of [`VARIABLE`].
    pub variable: Option<String>,
    /// The run folder of an installed system, `/run`.
    pub run: PathBuf,
    /// The current folder.
    pub folder: PathBuf,
    /// `$XDG_CACHE_HOME` or `~/.cache`.
    pub cache: Option<PathBuf>,
}

impl Surroundings {
    /// Those of the running process.
    pub(crate) fn of_this_process() -> Self {
        Self {
            variable: std::env::var(VARIABLE).ok().filter(|value| !value.is_empty()),
            run: PathBuf::from("/run"),
            folder: std::env::current_dir().unwrap_or_default(),
            cache: home_folder("XDG_CACHE_HOME", ".cache"),
        }
    }
}

/// The folder that the XDG variable names, or `below` in the home folder.
pub(crate) fn home_folder(variable: &str, below: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below)))
}

/// The addresses to try, in order; never none.
///
/// A named one stands alone. Otherwise: the installed system's socket, the developer's `data/run` in the current
/// folder or one above it, and the system that was started last.
///
/// # Errors
/// The variable is not an address, or nothing is there to be tried.
pub(crate) fn candidates(named: Option<&Address>, around: &Surroundings) -> Result<Vec<Address>, Error> {
    if let Some(address) = named {
        return Ok(vec![address.clone()]);
    }
    if let Some(text) = &around.variable {
        let address = text.parse().map_err(|reason| Error::Usage(format!("{VARIABLE} {reason}")))?;
        return Ok(vec![address]);
    }
    let mut looked = vec![spec::paths::gateway_socket(&around.run)];
    looked.extend(around.folder.ancestors().map(|folder| spec::paths::gateway_socket(&folder.join("data/run"))));
    let last = around.cache.as_deref().map(spec::paths::last_gateway);
    let started_last = last.as_deref().and_then(named_in);
    let there: Vec<Address> =
        looked.iter().chain(&started_last).filter(|path| path.exists()).cloned().map(Address::Unix).collect();
    if there.is_empty() {
        // The folders above the current one follow the same rule; naming each would bury the rest.
        looked.truncate(2);
        looked.extend(started_last.or(last));
        return Err(Error::NotFound { looked });
    }
    Ok(there)
}

/// The socket that the file names: a path on its first line, with or without `unix:`.
fn named_in(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().next()?.trim();
    let path = line.strip_prefix("unix:").unwrap_or(line);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn around(folder: &Path) -> Surroundings {
        Surroundings {
            variable: None,
            run: folder.join("run"),
            folder: folder.join("project/deep/down"),
            cache: Some(folder.join("cache")),
        }
    }

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "").expect("written");
    }

    #[test]
    fn an_address_is_a_socket_or_a_websocket() {
        assert_eq!("unix:/run/x.sock".parse(), Ok(Address::Unix("/run/x.sock".into())));
        assert_eq!("ws://127.0.0.1:8000".parse(), Ok(Address::WebSocket("ws://127.0.0.1:8000/ws".into(), None)));
        assert_eq!("ws://[::1]:8000/ws".parse(), Ok(Address::WebSocket("ws://[::1]:8000/ws".into(), None)));
        let digits = "00ff".repeat(16);
        let secure = format!("wss://attic.local/ws#sha256={digits}");
        for written in [secure.clone(), format!("wss://attic.local#sha256={digits}")] {
            let address: Address = written.parse().expect("an address");
            assert_eq!(address, Address::WebSocket("wss://attic.local/ws".into(), digits.parse().ok()));
            assert_eq!(address.to_string(), secure);
        }
        for wrong in [format!("ws://host/ws#sha256={digits}"), "wss://host/ws#sha256=00".to_owned()] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        for wrong in ["", "unix:", "ws://", "ws:///ws", "wss://host/ws", "/run/x.sock", "http://host"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_user_names_is_the_only_candidate() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut around = around(folder.path());
        touch(&around.run.join("mcp/gateway.sock"));
        let flag = Address::Unix("/flag".into());
        around.variable = Some("unix:/variable".to_owned());
        assert_eq!(candidates(Some(&flag), &around).expect("found"), [flag]);
        assert_eq!(candidates(None, &around).expect("found"), [Address::Unix("/variable".into())]);
        around.variable = Some("nonsense".to_owned());
        let message = candidates(None, &around).expect_err("no address").to_string();
        assert!(message.starts_with("LLMBASEDOS_GATEWAY must be unix:PATH"), "{message}");
    }

    #[test]
    fn a_system_above_the_current_folder_is_found_before_the_one_started_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let around = around(folder.path());
        let above = folder.path().join("project/data/run/mcp/gateway.sock");
        let last = folder.path().join("elsewhere/gateway.sock");
        touch(&above);
        touch(&last);
        let note = spec::paths::last_gateway(&folder.path().join("cache"));
        touch(&note);
        fs::write(&note, format!("{}\n", last.display())).expect("written");
        assert_eq!(candidates(None, &around).expect("found"), [Address::Unix(above), Address::Unix(last)]);
    }

    #[test]
    fn where_nothing_is_the_message_says_where_it_looked_and_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = candidates(None, &around(folder.path())).expect_err("nothing there");
        let message = error.to_string();
        for place in ["run/mcp/gateway.sock", "down/data/run/mcp/gateway.sock", "cache/llmbasedos/gateway"] {
            assert!(message.contains(place), "{message}");
        }
        assert!(error.next_step().expect("a next step").contains("scripts/run"));
        assert_eq!(error.exit_code(), 3);
    }
}
