//! `[[network.wifi]]` of `llmbasedos.toml`: the Wi-Fi networks that a machine joins.
//!
//! A passphrase is a secret: init moves it from the card to its store under [`WifiNetwork::secret`] and leaves `*` in its
//! place, so whoever reads the file from then on learns that there is one, and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::document::{Place, Section, TomlValue, from_text};
use crate::secrets::{MASK, UNSOUND};
use crate::values::{InvalidValue, Name};

/// More networks than this are for a machine that moves about.
pub const MOST_WIFI_NETWORKS: usize = 16;
/// The bounds of an SSID, in bytes (IEEE 802.11, 9.4.2.2).
const SSID: std::ops::RangeInclusive<usize> = 1..=32;
/// What an SSID that is no text is written with.
const HEX: &str = "hex:";
/// How a passphrase that lies in the store is written.
pub(crate) const STORED: &str = "********";

/// The name of a Wi-Fi network: 1 to 32 bytes of any kind. Written as text, or as `hex:00ff…` where it is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ssid(Vec<u8>);

impl Ssid {
    /// Takes over the bytes that a network calls itself.
    ///
    /// # Errors
    /// They are none, or more than 32.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidValue> {
        let rule = "must be a network's name of 1 to 32 bytes";
        if SSID.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidValue(rule.to_owned())) }
    }

    /// The bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// In hexadecimal digits, two a byte: the form that nothing in it can break out of.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The text that it is, where people can read it and it cannot be taken for the other form.
    fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        (!text.starts_with(HEX) && !text.chars().any(char::is_control)).then_some(text)
    }
}

impl fmt::Display for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "{HEX}{}", self.hex()),
        }
    }
}

impl FromStr for Ssid {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let Some(digits) = text.strip_prefix(HEX) else { return Self::new(text.as_bytes().to_vec()) };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        Self::new(bytes.ok_or_else(|| InvalidValue("must have two hexadecimal digits a byte after hex:".to_owned()))?)
    }
}

/// The byte of two hexadecimal digits.
fn byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2 && !digits.starts_with('+'))?;
    u8::from_str_radix(digits, 16).ok()
}

impl TryFrom<String> for Ssid {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Ssid> for String {
    fn from(ssid: Ssid) -> Self {
        ssid.to_string()
    }
}

impl TomlValue for Ssid {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

/// The country whose rules for radio a machine keeps: two capital letters (ISO 3166-1 alpha-2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country(String);

impl Country {
    /// `DE`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Country {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let is_sound = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        let rule = "must be a country's two capital letters, such as \"DE\"";
        let shown: String = text.chars().take(20).collect();
        if is_sound { Ok(Self(text.to_owned())) } else { Err(InvalidValue(format!("{rule}, not {shown:?}"))) }
    }
}

impl TryFrom<String> for Country {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.0
    }
}

impl TomlValue for Country {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

/// What a passphrase has to be, in words.
pub(crate) const PASSPHRASE: &str =
    "must be 8 to 63 ASCII characters, or a key of 64 hexadecimal digits (it is not shown here)";

/// Checks what opens a network: a passphrase, or the key that is made of one (IEEE 802.11, annex J.4).
///
/// # Errors
/// Says what would be right, and nothing of what it is.
pub fn check_passphrase(text: &str) -> Result<(), InvalidValue> {
    let is_passphrase = (8..=63).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_passphrase || is_key(text) { Ok(()) } else { Err(InvalidValue(PASSPHRASE.to_owned())) }
}

/// Whether it is the key itself, not the passphrase that one is made of.
#[must_use]
pub fn is_key(passphrase: &str) -> bool {
    passphrase.len() == 64 && passphrase.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A network that is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WifiNetwork {
    /// What it calls itself.
    pub ssid: Ssid,
    /// Whether it takes a passphrase, which lies in the secrets store; without one it is an open network.
    pub is_secured: bool,
    /// The country that the machine is in.
    pub country: Option<Country>,
    /// Whether it does not tell its name, so that it has to be asked for.
    pub hidden: bool,
}

impl WifiNetwork {
    /// The secret that its passphrase is, where it has one.
    #[must_use]
    pub fn secret(&self) -> Option<Name> {
        self.is_secured.then(|| secret_of(&self.ssid)).flatten()
    }

    /// The network of a table.
    pub(crate) fn of_section(section: &Section<'_>) -> Option<Self> {
        let ssid = section.required("ssid");
        let passphrase: Option<Stored> = section.optional("passphrase");
        let (country, hidden) = (section.optional("country"), section.or("hidden", false));
        Some(Self { ssid: ssid?, is_secured: passphrase.is_some(), country, hidden })
    }

    /// The table that it is read from.
    pub(crate) fn to_table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("ssid".to_owned(), self.ssid.to_string().into());
        if self.is_secured {
            table.insert("passphrase".to_owned(), STORED.into());
        }
        if let Some(country) = &self.country {
            table.insert("country".to_owned(), country.as_str().into());
        }
        if self.hidden {
            table.insert("hidden".to_owned(), true.into());
        }
        table
    }
}

/// The secret that the passphrase of a network is: `wifi_home_1a2b3c4d`. The end tells names apart that look alike.
pub(crate) fn secret_of(ssid: &Ssid) -> Option<Name> {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    let shown = String::from_utf8_lossy(ssid.bytes()).to_ascii_lowercase();
    let shown: String = shown.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let digest = blake3::hash(ssid.bytes()).to_hex();
    let end: String = digest.chars().take(8).collect();
    format!("wifi_{shown}_{end}").parse().ok()
}

/// What the passphrase of the machine's own network has to be: a person types it.
pub(crate) const SETUP_PASSPHRASE: &str = "must be 8 to 63 ASCII characters (it is not shown here)";

/// Whether a person can open the machine's own network with it.
pub(crate) fn is_setup_passphrase(text: &str) -> bool {
    check_passphrase(text).is_ok() && !is_key(text)
}

/// The secret that the passphrase of the machine's own network is.
pub(crate) fn setup_secret() -> Option<Name> {
    "setup_passphrase".parse().ok()
}

/// The passphrase of the machine's own network in a text that was masked.
pub(crate) struct StoredSetup;

impl TomlValue for StoredSetup {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let is_sound = is_stored(value) && value.as_str().is_some_and(|text| text.len() <= 63);
        if !is_sound {
            place.report(SETUP_PASSPHRASE);
        }
        is_sound.then_some(Self)
    }
}

fn is_stored(value: &DeValue<'_>) -> bool {
    let is_masked = |text: &str| text.bytes().all(|byte| byte == MASK) && text.len() >= 8 && !text.contains(UNSOUND);
    value.as_str().is_some_and(is_masked)
}

/// A passphrase in a text that was masked.
struct Stored;

impl TomlValue for Stored {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let is_sound = is_stored(value);
        if !is_sound {
            place.report(PASSPHRASE);
        }
        is_sound.then_some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OwnersSecrets, SystemConfig};

    fn networks(source: &str) -> Result<Vec<WifiNetwork>, String> {
        let config = SystemConfig::parse("c", source).map_err(|problems| problems.to_string())?;
        Ok(config.network.unwrap_or_default().wifi)
    }

    #[test]
    fn networks_are_a_list_or_a_single_one() {
        let home = WifiNetwork {
            ssid: "home".parse().expect("sound"),
            is_secured: true,
            country: Some("DE".parse().expect("sound")),
            hidden: false,
        };
        let one = "[network.wifi]\nssid = \"home\"\npassphrase = \"correct horse\"\ncountry = \"DE\"\n";
        assert_eq!(networks(one), Ok(vec![home.clone()]));
        let two = format!(
            "{}[[network.wifi]]\nssid = \"café\"\nhidden = true\n",
            one.replace("[network.wifi]", "[[network.wifi]]")
        );
        let cafe =
            WifiNetwork { ssid: "café".parse().expect("sound"), is_secured: false, country: None, hidden: true };
        assert_eq!(networks(&two), Ok(vec![home, cafe]));
        let config = SystemConfig::parse("c", &two).expect("sound");
        let read = SystemConfig::parse("n", &config.network_toml()).expect("what init makes is sound");
        assert_eq!(read.network, config.network);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_passphrase() {
        let source = "[[network.wifi]]\nssid = \"\"\npassphrase = \"canary\"\ncountry = \"de\"\nhiden = true\n\
                      [[network.wifi]]\npassphrase = \"canary \u{e9} canary\"\n[[network.wifi]]\nssid = \"a\"\npassphrase = 1234567890\n\
                      [[network.wifi]]\nssid = \"b\"\npassphrase = \"hunter22canary\"\n";
        let problems = SystemConfig::parse("c", source).expect_err("many");
        let expected = "\
c:2: network.wifi[0].ssid: must be a network's name of 1 to 32 bytes
c:3: network.wifi[0].passphrase: must be 8 to 63 ASCII characters, or a key of 64 hexadecimal digits (it is not shown here)
c:4: network.wifi[0].country: must be a country's two capital letters, such as \"DE\", not \"de\"
c:5: network.wifi[0].hiden: unknown key. Close to it: hidden
c:6: network.wifi[1].ssid: `ssid` is missing
c:7: network.wifi[1].passphrase: must be 8 to 63 ASCII characters, or a key of 64 hexadecimal digits (it is not shown here)
c:10: network.wifi[2].passphrase: must be 8 to 63 ASCII characters, or a key of 64 hexadecimal digits (it is not shown here)";
        assert_eq!(problems.to_string(), expected);
        let shown = format!("{problems:?}{}", problems.picture(false));
        assert!(!shown.contains("canary") && !shown.contains("34567"), "{shown}");
        let twice = networks("[[network.wifi]]\nssid = \"a\"\n[[network.wifi]]\nssid = \"a\"\n").expect_err("twice");
        assert_eq!(twice, "c:1: network.wifi: names the network a twice");
        assert!(networks("[network]\nwifi = 7").expect_err("no table").contains("network.wifi: must be"));
    }

    #[test]
    fn a_passphrase_moves_as_secrets_do() {
        let source = "[network]\nlink = \"wlan0\"\n[[network.wifi]]\nssid = \"My Home\"\npassphrase = \"correct horse\" # mine\n\
                      [[network.wifi]]\nssid = \"hex:ff00\"\npassphrase = \"short\"\n";
        let found = OwnersSecrets::find(source);
        let names: Vec<&str> = found.values.keys().map(Name::as_str).collect();
        let name = secret_of(&"My Home".parse().expect("sound")).expect("a name");
        assert_eq!(names, [name.as_str()]);
        assert!(name.as_str().starts_with("wifi_my-home_"), "{name}");
        let scrubbed = String::from_utf8(found.scrubbed(source).to_vec()).expect("text");
        assert!(scrubbed.contains("passphrase = \"*************\" # mine"), "{scrubbed}");
        assert!(scrubbed.contains("short"), "what is wrong stays for its owner to mend");
        assert!(OwnersSecrets::find(&scrubbed).values.is_empty());
    }

    #[test]
    fn the_passphrase_of_the_own_network_moves_as_well() {
        let source = "[network]\nsetup_passphrase = \"typed by hand\"\n[network.wifi]\nssid = \"a\"\n";
        let found = OwnersSecrets::find(source);
        let values: Vec<(&str, &str)> =
            found.values.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(values, [("setup_passphrase", "typed by hand")]);
        let scrubbed = String::from_utf8(found.scrubbed(source).to_vec()).expect("text");
        assert!(scrubbed.contains("setup_passphrase = \"*************\""), "{scrubbed}");
        for source in [source, &scrubbed] {
            let config = SystemConfig::parse("c", source).expect("sound");
            let network = config.network.as_ref().expect("stated");
            assert!(network.has_setup_passphrase);
            assert_eq!(network.secrets().collect::<Vec<_>>(), [setup_secret().expect("a name")]);
            let read = SystemConfig::parse("n", &config.network_toml()).expect("what init makes is sound");
            assert_eq!(read.network, config.network);
        }
        for wrong in ["canary", &"0123456789abcdef".repeat(4), "canary canary \u{e9}"] {
            let source = format!("[network]\nsetup_passphrase = \"{wrong}\"\n");
            assert!(OwnersSecrets::find(&source).values.is_empty(), "{wrong}");
            let problems = SystemConfig::parse("c", &source).expect_err(wrong);
            assert_eq!(problems.to_string(), format!("c:2: network.setup_passphrase: {SETUP_PASSPHRASE}"));
            assert!(!problems.picture(false).contains(wrong));
        }
    }

    #[test]
    fn nothing_of_a_passphrase_is_in_what_is_said_of_a_broken_file() {
        for source in [
            "[[network.wifi]]\nssid = \"a\"\npassphrase = \"canary canary\n",
            "[network.wifi]\npassphrase = canary canary\n[listen]\n",
            "network.wifi.passphrase = \"canary\" canary\n",
            "[network]\nwifi = { ssid = \"a\", passphrase = \"canary canary\" x }\n",
            "network = { wifi = [{ passphrase = 'canary canary' }] x }\n",
            "[network.wifi]\npassphrase = \"\"\"\ncanary canary\n\"\"\"\"\"\"\"\n[listen]\n",
            "[network.wifi]\npassphrase = [\"canary\"]\n",
            "[network.wifi]\npassphrase = { canary = \"canary\" }\n",
            "[network]\nsetup_passphrase = \"canary canary\n",
            "[network]\nsetup_passphrase = \"\"\"\ncanary canary\n\"\"\"\"\"\"\"\n[listen]\n",
            "[network]\nsetup_passphrase = [\n\"canary canary\"\n] x\n",
            "[network]\nsetup_passphrase = [\"canary canary\"]\n",
            "network.setup_passphrase = canary canary\n",
        ] {
            let problems = SystemConfig::parse("c", source).expect_err(source);
            let shown = format!("{problems}\n{problems:?}\n{}\n{}", problems.picture(false), problems.by_key());
            assert!(!shown.contains("\"canary") && !shown.contains("canary canary"), "{shown}");
        }
    }

    #[test]
    fn only_what_opens_a_network_is_a_passphrase() {
        let key = "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCD";
        assert!(key.len() == 64 && is_key(key));
        for sound in ["12345678", " a\"b' c ~", key, &"x".repeat(63)] {
            assert_eq!(check_passphrase(sound), Ok(()), "{sound}");
        }
        for wrong in ["", "1234567", "12345678\n", "1234567é", &"x".repeat(64)] {
            assert!(check_passphrase(wrong).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_ssid_is_written_and_read_again(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..=32)) {
            let ssid = Ssid::new(bytes).expect("of that length");
            let text = ssid.to_string();
            proptest::prop_assert!(!text.chars().any(char::is_control));
            proptest::prop_assert_eq!(text.parse(), Ok(ssid.clone()));
            proptest::prop_assert!(secret_of(&ssid).is_some());
            let network = WifiNetwork { ssid, is_secured: true, country: None, hidden: true };
            let settings = crate::NetworkSettings { wifi: vec![network], ..Default::default() };
            let config = SystemConfig { network: Some(settings), ..Default::default() };
            let read = SystemConfig::parse("n", &config.network_toml());
            proptest::prop_assert_eq!(read.map(|read| read.network), Ok(config.network));
        }
    }
}
