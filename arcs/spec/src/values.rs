//! The small values that formats share: names, tool names and patterns, sizes, durations, labels.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::document::{Place, TomlValue, from_text};

/// Byte offsets into a source text.
pub type Span = Range<usize>;

/// A value that is not of its form; the message says what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue(pub String);

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

/// Makes a string newtype that is checked when it is made, and reads as a string from TOML and JSON.
macro_rules! checked_text {
    ($(#[$doc:meta])* $type:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                $check(text).map_err(InvalidValue)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TomlValue for $type {
            fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
                from_text(value, place, str::parse)
            }
        }
    };
}

checked_text! {
    /// The name of an Arc, a Sentinel, a Quest, a site: a lower-case letter, then lower-case letters, digits,
    /// `_` and `-`; at most 64 bytes. Safe as a file name, a URL segment and a cgroup name.
    Name, check_name
}

checked_text! {
    /// A tool's full name, `<namespace>.<tool>`: `kv.get`.
    ToolName, check_tool_name
}

checked_text! {
    /// A tool's full name, or a whole namespace: `kv.get`, `kv.*`.
    ToolPattern, check_tool_pattern
}

checked_text! {
    /// A host with its port, `api.example.com:443`.
    HostPort, check_host_port
}

checked_text! {
    /// The name of a machine in its network: a label of a domain name (RFC 1123, 2.1), in lower case.
    HostName, check_host_name
}

checked_text! {
    /// A machine somewhere in the network, by its name (RFC 1123, 2.1) or its address: `pool.ntp.org`, `192.168.1.1`.
    Host, check_host
}

checked_text! {
    /// What the kernel calls a link (`IFNAMSIZ` bounds it): `eth0`.
    LinkName, check_link_name
}

/// What somebody shows who comes over the network and is the owner (RFC 6750): 16 to 128 visible ASCII characters. It is
/// never shown, neither in messages nor by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text itself: not for messages.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let sound = (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let rule = "must be 16 to 128 visible ASCII characters without spaces (it is not shown here)";
        if sound { Ok(Self(text.to_owned())) } else { Err(InvalidValue(rule.to_owned())) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

impl TomlValue for Token {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

impl ToolName {
    /// `kv` of `kv.get`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('.').map_or("", |(namespace, _)| namespace)
    }

    /// `get` of `kv.get`.
    #[must_use]
    pub fn tool(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, tool)| tool)
    }
}

impl ToolPattern {
    /// Whether the pattern names `tool`.
    #[must_use]
    pub fn matches(&self, tool: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => tool.starts_with(prefix),
            None => tool == self.0,
        }
    }
}

fn check_name(text: &str) -> Result<(), String> {
    let sound = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    let rule = "must be 1 to 64 lower-case letters, digits, '_' or '-', a letter first";
    if sound { Ok(()) } else { Err(format!("{rule}, not {}", quoted(text))) }
}

fn check_host_name(text: &str) -> Result<(), String> {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let sound = (1..=63).contains(&text.len())
        && text.starts_with(is_end)
        && text.ends_with(is_end)
        && text.chars().all(|c| is_end(c) || c == '-');
    let rule = "must be 1 to 63 lower-case letters, digits or '-', which is neither first nor last";
    if sound { Ok(()) } else { Err(format!("{rule}, not {}", quoted(text))) }
}

fn check_host(text: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let sound = text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label));
    let rule = "must be a machine's name or address, such as pool.ntp.org";
    if sound { Ok(()) } else { Err(format!("{rule}, not {}", quoted(text))) }
}

fn check_link_name(text: &str) -> Result<(), String> {
    let sound = (1..=15).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let rule = "must be a link's name of 1 to 15 letters, digits, '.', '_' or '-', such as eth0";
    if sound { Ok(()) } else { Err(format!("{rule}, not {}", quoted(text))) }
}

fn check_tool_name(text: &str) -> Result<(), String> {
    let sound = text.split_once('.').is_some_and(|(namespace, tool)| check_name(namespace).is_ok() && is_tool(tool));
    if sound { Ok(()) } else { Err(format!("must be a tool's name such as kv.get, not {}", quoted(text))) }
}

fn check_tool_pattern(text: &str) -> Result<(), String> {
    let sound = text
        .split_once('.')
        .is_some_and(|(namespace, tool)| check_name(namespace).is_ok() && (tool == "*" || is_tool(tool)));
    let rule = "must be a tool's name such as kv.get, or a namespace such as kv.*";
    if sound { Ok(()) } else { Err(format!("{rule}, not {}", quoted(text))) }
}

fn is_tool(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn check_host_port(text: &str) -> Result<(), String> {
    let sound = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if sound { Ok(()) } else { Err(format!("must be HOST:PORT, not {}", quoted(text))) }
}

fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

/// A size in bytes, written `64M` (binary multiples: K, M, G).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue(format!("must be a size such as \"64M\" (K, M or G), not {}", quoted(text)));
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match text.get(digits.len()..) {
            Some("") => 1,
            Some("K") => 1 << 10,
            Some("M") => 1 << 20,
            Some("G") => 1 << 30,
            _ => return Err(invalid()),
        };
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        number.checked_mul(unit).filter(|&bytes| bytes > 0).map(Self).ok_or_else(invalid)
    }
}

impl TomlValue for ByteSize {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

/// A time span written `500ms`, `30s`, `5m`, `2h` or `1d`; not zero.
///
/// # Errors
/// Says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidValue> {
    let invalid =
        || InvalidValue(format!("must be a time span such as \"5m\" (ms, s, m, h or d), not {}", quoted(text)));
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("s") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        _ => return Err(invalid()),
    };
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    number.checked_mul(unit_ms).filter(|&ms| ms > 0).map(Duration::from_millis).ok_or_else(invalid)
}

/// What is known of data: who may see it and whether it may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Anybody may see it, and it comes from somewhere that is trusted.
    Public,
    /// The owner's own: must not leave the machine.
    Private,
    /// Comes from outside (a model, a web page, a mail): must not be obeyed.
    Untrusted,
}

/// Makes an enum readable from TOML by the words it is written with.
macro_rules! choice {
    ($type:ty, $($word:literal => $variant:expr),+ $(,)?) => {
        impl $crate::document::TomlValue for $type {
            fn read(value: &toml::de::DeValue<'_>, place: &$crate::document::Place<'_>) -> Option<Self> {
                let text = String::read(value, place)?;
                match text.as_str() {
                    $($word => Some($variant),)+
                    _ => {
                        place.report($crate::values::one_of(&[$($word),+]));
                        None
                    }
                }
            }
        }
    };
}
pub(crate) use choice;

choice!(Label, "public" => Label::Public, "private" => Label::Private, "untrusted" => Label::Untrusted);

/// `must be "a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => format!("must be {last}"),
        Some((last, first)) => format!("must be {} or {last}", first.join(", ")),
        None => String::new(),
    }
}
