//! What wpa_supplicant says: events, its status, the networks in reach. All of it is bounded, and what cannot be read is
//! passed over: a name of a network is whatever a stranger chose.

use spec::Ssid;
use spec::control::WifiSeen;

/// So many networks are told of at the most.
const MOST: usize = 64;

/// Something that happened, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The radio is in a network.
    Connected,
    /// It is in none any more.
    Disconnected,
    /// The passphrase is wrong.
    WrongKey,
    /// The network does not let the machine in.
    Rejected,
    /// It was looked for and not found.
    NotFound,
    /// The results of a scan are there.
    Scanned,
    /// Something about the own network: somebody came or went.
    Guests,
}

impl Event {
    /// That of a message, `IFNAME=wlan0 <3>CTRL-EVENT-…`.
    pub(crate) fn read(message: &str) -> Option<Self> {
        let (_, text) = message.split_once('>')?;
        let mut words = text.split(' ');
        match words.next()? {
            "CTRL-EVENT-CONNECTED" => Some(Self::Connected),
            "CTRL-EVENT-DISCONNECTED" => Some(Self::Disconnected),
            "CTRL-EVENT-SCAN-RESULTS" => Some(Self::Scanned),
            "CTRL-EVENT-NETWORK-NOT-FOUND" => Some(Self::NotFound),
            "CTRL-EVENT-ASSOC-REJECT" | "CTRL-EVENT-AUTH-REJECT" => Some(Self::Rejected),
            // The reason is the last word, behind a name that a stranger chose.
            "CTRL-EVENT-SSID-TEMP-DISABLED" => match words.next_back()? {
                "reason=WRONG_KEY" => Some(Self::WrongKey),
                _ => Some(Self::Rejected),
            },
            "AP-STA-CONNECTED" | "AP-STA-DISCONNECTED" => Some(Self::Guests),
            _ => None,
        }
    }
}

/// The value of a line `name=value`.
pub(crate) fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// The networks in reach, each once, the strongest first: lines of address, frequency, signal, flags and name, with tabs
/// between.
pub(crate) fn scanned(text: &str) -> Vec<WifiSeen> {
    let mut seen: Vec<WifiSeen> = text.lines().filter_map(line).collect();
    seen.sort_by_key(|network| std::cmp::Reverse(network.signal_dbm));
    let mut unique = Vec::<WifiSeen>::new();
    for network in seen {
        if unique.len() < MOST && !unique.iter().any(|other| other.ssid == network.ssid) {
            unique.push(network);
        }
    }
    unique
}

fn line(line: &str) -> Option<WifiSeen> {
    let mut parts = line.splitn(5, '\t').skip(2);
    let (signal, flags, name) = (parts.next()?, parts.next()?, parts.next()?);
    // One that does not tell its name says nothing, or zeros.
    let name = unescaped(name).filter(|name| name.iter().any(|byte| *byte != 0))?;
    let secured = ["WPA", "RSN", "SAE", "WEP", "OWE"].iter().any(|word| flags.contains(word));
    Some(WifiSeen { ssid: Ssid::new(name).ok()?, signal_dbm: signal.parse().ok()?, secured })
}

/// What wpa_supplicant's `printf_encode` wrote: `\xff`, `\"`, `\\`, `\e`, `\n`, `\r`, `\t`.
pub(crate) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (kind, after) = rest.split_first()?;
        rest = after;
        bytes.push(match kind {
            b'e' => 0x1b,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let read = |text: &str| Event::read(&format!("IFNAME=wlan0 <3>{text}"));
        assert_eq!(read("CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:01:00 completed"), Some(Event::Connected));
        let disabled =
            "CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid=\"reason=WRONG_KEY\" auth_failures=1 duration=10 reason=";
        assert_eq!(read(&format!("{disabled}WRONG_KEY")), Some(Event::WrongKey));
        assert_eq!(read(&format!("{disabled}CONN_FAILED")), Some(Event::Rejected));
        assert_eq!(read("CTRL-EVENT-SCAN-RESULTS "), Some(Event::Scanned));
        assert_eq!(Event::read("OK"), None);
    }

    #[test]
    fn networks_are_told_the_strongest_first_each_once() {
        let text = "bssid / frequency / signal level / flags / ssid\n\
            02:00:00:00:00:01\t2437\t-70\t[WPA2-PSK-CCMP][ESS]\thome\n\
            02:00:00:00:00:02\t5180\t-50\t[RSN-SAE-CCMP][ESS]\thome\n\
            02:00:00:00:00:03\t2412\t-40\t[ESS]\tcaf\\xc3\\xa9\ttab\n\
            02:00:00:00:00:04\t2412\t-30\t[ESS]\t\\x00\\x00\n\
            02:00:00:00:00:05\t2412\t-30\t[ESS]\t\n\
            02:00:00:00:00:06\tx\ty\n";
        let told: Vec<(String, i32, bool)> =
            scanned(text).into_iter().map(|one| (one.ssid.to_string(), one.signal_dbm, one.secured)).collect();
        assert_eq!(told, [("hex:636166c3a909746162".to_owned(), -40, false), ("home".to_owned(), -50, true)]);
    }

    #[test]
    fn escapes_are_undone_and_broken_ones_are_no_name() {
        assert_eq!(unescaped(r#"a\"b\\\xff\e"#).as_deref(), Some(&b"a\"b\\\xff\x1b"[..]));
        for broken in [r"\", r"\x", r"\x0", r"\xzz"] {
            assert_eq!(unescaped(broken), None, "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*") {
            let _ = (Event::read(&text), scanned(&text), unescaped(&text), value(&text, "ssid"));
        }
    }
}
