//! `[secrets]` of `llmbasedos.toml`, and the passphrases of `[network]`, its own and those of `[[network.wifi]]`: found,
//! taken out, and masked where they stood.
//!
//! The owner writes `openai = "sk-…"` on the card. init moves the value into its store and leaves `*` in its place, byte
//! for byte, so that the file keeps its length and its place on the disk. A value of nothing but `*` was moved before.
//! Whoever else reads the file reads a copy in which that has happened already ([`masked`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::{Zeroize, Zeroizing};

use crate::document::{Place, Section, TomlValue};
use crate::values::{InvalidValue, Name};
use crate::wifi;

/// What stands for a byte of a value that was taken out.
pub(crate) const MASK: u8 = b'*';
/// What a reader sees in the place of a byte of a passphrase that cannot be one: it is to say so without having seen it.
pub(crate) const UNSOUND: char = '?';
const TABLE: &str = "secrets";
const NETWORK: &str = "network";
const WIFI: &str = "wifi";
const PASSPHRASE: &str = "passphrase";
const SETUP_PASSPHRASE: &str = "setup_passphrase";

/// The value of a secret: never shown, and wiped out of memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over a value.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The value itself: not for messages.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(not shown)")
    }
}

/// The secrets that stand in a text of `llmbasedos.toml`.
#[derive(Debug, Default)]
pub struct OwnersSecrets {
    /// Those to be stored, by their names.
    pub values: BTreeMap<Name, SecretText>,
    /// What lies between the quotes of each of them: to be overwritten.
    pub spans: BTreeMap<Name, Range<usize>>,
}

impl OwnersSecrets {
    /// Finds those of a file in which all is well. What is wrong with it, [`crate::SystemConfig::parse`] says; a broken
    /// file gives none, for what is a value in it and what is not is a guess.
    #[must_use]
    pub fn find(source: &str) -> Self {
        let mut found = Self::default();
        let (table, errors) = DeTable::parse_recoverable(source);
        if !errors.is_empty() {
            return found;
        }
        let table = table.into_inner();
        let secrets = table.get(TABLE).and_then(|secrets| secrets.get_ref().as_table());
        for (key, value) in secrets.into_iter().flatten() {
            if let Ok(name) = key.get_ref().parse::<Name>() {
                found.add(source, name, value);
            }
        }
        for network in wifi_tables(&table) {
            let ssid = network.get("ssid").and_then(|ssid| ssid.get_ref().as_str()?.parse().ok());
            let passphrase = network.get(PASSPHRASE).filter(|text| is_passphrase(text));
            if let (Some(name), Some(passphrase)) = (ssid.as_ref().and_then(wifi::secret_of), passphrase) {
                found.add(source, name, passphrase);
            }
        }
        let own = setup_passphrase(&table).filter(|text| is_setup_passphrase(text));
        if let (Some(name), Some(passphrase)) = (wifi::setup_secret(), own) {
            found.add(source, name, passphrase);
        }
        found
    }

    /// One that was moved before is none.
    fn add(&mut self, source: &str, name: Name, value: &Spanned<DeValue<'_>>) {
        let Some(text) = value.get_ref().as_str() else { return };
        if !is_moved(text) {
            self.spans.insert(name.clone(), inside(source, &value.span()));
            self.values.insert(name, SecretText::new(text.to_owned()));
        }
    }

    /// Leaves one where it is: it is not overwritten.
    pub fn leave(&mut self, name: &Name) {
        self.values.remove(name);
        self.spans.remove(name);
    }

    /// `source` with the values masked: what the file becomes.
    #[must_use]
    pub fn scrubbed(&self, source: &str) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(source.as_bytes().to_vec());
        self.spans.values().for_each(|span| mask(&mut bytes, span));
        bytes
    }
}

fn is_moved(text: &str) -> bool {
    text.bytes().all(|byte| byte == MASK)
}

fn is_passphrase(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_str().is_some_and(|text| wifi::check_passphrase(text).is_ok())
}

fn is_setup_passphrase(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_str().is_some_and(wifi::is_setup_passphrase)
}

fn network_table<'t, 's>(table: &'t DeTable<'s>) -> Option<&'t DeTable<'s>> {
    table.get(NETWORK)?.get_ref().as_table()
}

/// What opens the machine's own network.
fn setup_passphrase<'t, 's>(table: &'t DeTable<'s>) -> Option<&'t Spanned<DeValue<'s>>> {
    network_table(table)?.get(SETUP_PASSPHRASE)
}

/// The tables of Wi-Fi networks: a list of them, or a single one.
fn wifi_tables<'t, 's>(table: &'t DeTable<'s>) -> Vec<&'t DeTable<'s>> {
    match network_table(table).and_then(|network| network.get(WIFI)).map(Spanned::get_ref) {
        Some(DeValue::Table(one)) => vec![one],
        Some(DeValue::Array(all)) => all.iter().filter_map(|one| one.get_ref().as_table()).collect(),
        _ => Vec::new(),
    }
}

/// What stands between the quotes of the string at `span`.
fn inside(source: &str, span: &Range<usize>) -> Range<usize> {
    let text = source.get(span.clone()).unwrap_or_default();
    let quotes = if text.len() >= 6 && (text.starts_with("\"\"\"") || text.starts_with("'''")) { 3 } else { 1 };
    (span.start + quotes).min(span.end)..span.end.saturating_sub(quotes).max(span.start)
}

fn mask(bytes: &mut [u8], span: &Range<usize>) {
    bytes.get_mut(span.clone()).unwrap_or_default().fill(MASK);
}

/// `source` with the values of `[secrets]` and the passphrases of `[network]` masked, of whatever type they are. Where
/// the text cannot be parsed all that may belong to these tables is masked.
pub(crate) fn masked(source: &str) -> Cow<'_, str> {
    let (table, errors) = DeTable::parse_recoverable(source);
    let secrets = table.get_ref().get(TABLE);
    let of_wifi = wifi_tables(table.get_ref()).into_iter().filter_map(|network| network.get(PASSPHRASE));
    let own = setup_passphrase(table.get_ref()).map(|value| (value, is_setup_passphrase(value)));
    let passphrases: Vec<_> = of_wifi.map(|value| (value, is_passphrase(value))).chain(own).collect();
    let may_have = source.contains(TABLE) || source.contains(WIFI) || source.contains(PASSPHRASE);
    if secrets.is_none() && passphrases.is_empty() && (errors.is_empty() || !may_have) {
        return Cow::Borrowed(source);
    }
    let mut bytes = source.as_bytes().to_vec();
    for value in secrets.into_iter().chain(passphrases.iter().map(|(value, _)| *value)) {
        mask_all(source, value, &mut bytes);
    }
    for (text, _) in passphrases.iter().filter(|(value, is_sound)| value.get_ref().is_str() && !is_sound) {
        bytes.get_mut(inside(source, &text.span())).unwrap_or_default().fill(b'?');
    }
    if !errors.is_empty() {
        mask_lines(source, &mut bytes);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        // Whole values were replaced, so that this does not happen.
        Err(error) => {
            error.into_bytes().zeroize();
            Cow::Borrowed("")
        }
    }
}

fn mask_all(source: &str, value: &Spanned<DeValue<'_>>, bytes: &mut [u8]) {
    match value.get_ref() {
        DeValue::String(_) => mask(bytes, &inside(source, &value.span())),
        DeValue::Array(items) => items.iter().for_each(|item| mask_all(source, item, bytes)),
        DeValue::Table(table) => table.iter().for_each(|(_, item)| mask_all(source, item, bytes)),
        // A number or a date stays one: its fault is that it is not a string.
        _ => {
            let text = bytes.get_mut(value.span()).unwrap_or_default();
            text.iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'1');
        }
    }
}

/// Masks each line of a broken file from where one of the tables, or a passphrase, may begin to where another table
/// certainly does.
fn mask_lines(source: &str, bytes: &mut [u8]) {
    const HEADS: [&str; 3] = ["[secrets", "[network.wifi", "[[network.wifi"];
    const LINES: [&str; 4] = [TABLE, WIFI, "network.", "network ="];
    const OTHERS: [&str; 5] = ["[arcs", "[gateway]", "[grants", "[listen]", "[network]"];
    let (mut is_inside, mut at) = (false, 0);
    for line in source.split_inclusive('\n') {
        let text = line.trim();
        let may_have = LINES.iter().any(|begin| text.starts_with(begin)) || text.contains(PASSPHRASE);
        if HEADS.iter().any(|head| text.starts_with(head)) {
            is_inside = true;
        } else if OTHERS.iter().any(|other| text.starts_with(other)) {
            is_inside = false;
        } else if is_inside || may_have {
            is_inside |= text.contains(PASSPHRASE) && !text.starts_with('#');
            let begin = line.find('=').map_or(0, |equals| equals + 1);
            let end = line.trim_end_matches(['\r', '\n']).len();
            mask(bytes, &(at + begin.min(end)..at + end));
        }
        at += line.len();
    }
}

/// Checks the table in a text that was masked.
pub(crate) fn check(section: &Section<'_>) -> Option<()> {
    for (name, _) in section.entries::<Masked>() {
        if let Err(InvalidValue(message)) = name.parse::<Name>() {
            section.report(&name, message);
        }
    }
    Some(())
}

struct Masked;

impl TomlValue for Masked {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let message = "must be a string that is not empty (it is not shown here)";
        let is_sound = value.as_str().is_some_and(|text| !text.is_empty());
        if !is_sound {
            place.report(message);
        }
        is_sound.then_some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemConfig;

    const SOURCE: &str = "[secrets]\nplain = \"sk-plain-1\"\nliteral = 'sk-literal\\n'\nescaped = \"sk-\\u00e9\\n-x\" # why\n\
                          long = \"\"\"\nline one\nline \"two\" \"\"\"\nold = \"****\"\n[listen]\n";

    #[test]
    fn values_are_found_and_masked_where_they_stand() {
        let found = OwnersSecrets::find(SOURCE);
        let values: Vec<(&str, &str)> =
            found.values.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let expected = [
            ("escaped", "sk-é\n-x"),
            ("literal", "sk-literal\\n"),
            ("long", "line one\nline \"two\" "),
            ("plain", "sk-plain-1"),
        ];
        assert_eq!(values, expected);
        let scrubbed = String::from_utf8(found.scrubbed(SOURCE).to_vec()).expect("text");
        assert_eq!(scrubbed.len(), SOURCE.len());
        assert!(!scrubbed.contains("sk-") && !scrubbed.contains("line"), "{scrubbed}");
        assert!(scrubbed.contains("# why\n") && scrubbed.contains("old = \"****\"\n[listen]\n"), "{scrubbed}");
        let again = OwnersSecrets::find(&scrubbed);
        assert!(again.values.is_empty() && again.spans.is_empty(), "{again:?}");
        assert!(SystemConfig::parse("c", &scrubbed).is_ok());
        assert!(!format!("{found:?}").contains("sk-"));
    }

    #[test]
    fn nothing_of_a_value_is_in_a_problem() {
        for source in [
            "[secrets]\nopenai = 12345678\n",
            "[secrets]\nopenai = [\"canary\"]\n",
            "[secrets]\nOpenAI = \"canary\"\n",
            "[secrets]\nopenai = \"canary\n",
            "[secrets]\nopenai = canary\n[lissten]\n",
            "secrets = { openai = \"canary\" x }\n",
            "secrets.openai = \"canary\" \"\n",
            "[secrets]\nopenai = \"canary\"\n[listen]\ngateway = \"x\"\n",
            "[secrets]\nopenai = \"\"\"\ncanary\n\"\"\"\"\"\"\"\n[listen]\n",
            "[secrets.deep]\nopenai = \"canary\"\n",
            "[secrets]\nopenai = \"\\q canary\"\n",
        ] {
            let problems = SystemConfig::parse("c", source).expect_err(source);
            let shown = format!("{problems}\n{problems:?}\n{}\n{}", problems.picture(false), problems.by_key());
            assert!(!shown.contains("canary") && !shown.contains("2345"), "{shown}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_value_is_found_whatever_it_is(value in "\\PC{1,40}", before in "[a-z]{0,4}") {
            let quoted = toml::Value::String(value.clone()).to_string();
            let source = format!("# {before}\n[secrets]\nname = {quoted}\n[listen]\n");
            let found = OwnersSecrets::find(&source);
            let is_moved = value.bytes().all(|byte| byte == MASK);
            proptest::prop_assert_eq!(found.values.len(), usize::from(!is_moved));
            if let Some(found) = found.values.values().next() {
                proptest::prop_assert_eq!(found.as_str(), &value);
            }
            let scrubbed = found.scrubbed(&source);
            proptest::prop_assert_eq!(scrubbed.len(), source.len());
            let scrubbed = std::str::from_utf8(&scrubbed).expect("text");
            proptest::prop_assert!(OwnersSecrets::find(scrubbed).values.is_empty());
            proptest::prop_assert!(SystemConfig::parse("c", scrubbed).is_ok());
        }
    }
}
