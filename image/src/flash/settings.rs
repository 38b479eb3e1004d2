//! The settings that a machine finds at its first start: written into the `llmbasedos.toml` that the image has, of which
//! everything else stays as it is.
//!
//! Nothing is written but what [`SystemConfig`] takes.

use std::fs;
use std::path::Path;

use spec::{SecretText, SystemConfig};
use toml::{Table, Value};

use super::options::SettingsOptions;
use crate::failure::Failure;

/// The file, as it is called on the machine.
pub(super) const FILE: &str = "llmbasedos.toml";

/// What a person wants to be said in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// A whole file of the person's.
    whole: Option<String>,
    pub(super) hostname: Option<String>,
    /// `dhcp` or an address with its prefix.
    pub(super) address: Option<String>,
    pub(super) router: Option<String>,
    pub(super) dns: Vec<String>,
    pub(super) wifi: Option<Wifi>,
    /// By which its owner comes into the network that it opens itself.
    pub(super) setup_passphrase: Option<SecretText>,
    /// By which its owner claims it.
    pub(super) setup_code: Option<SecretText>,
}

/// The Wi-Fi network that it joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wifi {
    pub(super) name: String,
    /// An open network has none.
    pub(super) passphrase: Option<SecretText>,
    pub(super) country: Option<String>,
}

impl Settings {
    /// Those of the command line; `None` where it states none.
    ///
    /// # Errors
    /// They are not sound, or a file cannot be read.
    pub(super) fn of(options: &SettingsOptions) -> Result<Option<Self>, Failure> {
        if *options == SettingsOptions::default() || options.no_config {
            return Ok(None);
        }
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error));
        let settings = Self {
            whole: options.config.as_deref().map(read).transpose()?,
            hostname: options.hostname.clone(),
            address: options.address.clone(),
            router: options.router.clone(),
            dns: options.dns.clone(),
            wifi: Wifi::of(options)?,
            setup_passphrase: options.setup_passphrase_file.as_deref().map(secret_of).transpose()?,
            setup_code: options.setup_code_file.as_deref().map(secret_of).transpose()?,
        };
        let name = options.config.as_ref().map_or("the settings".to_owned(), |path| path.display().to_string());
        let source = settings.text("");
        match SystemConfig::parse(&name, &source) {
            Ok(_) => Ok(Some(settings)),
            Err(problems) => {
                let why = if settings.whole.is_some() { problems.to_string() } else { problems.by_key() };
                Err(Failure::new(
                    "the settings are not sound",
                    why,
                    "mend that and run this again; nothing was written",
                ))
            }
        }
    }

    /// The name that the machine will have.
    pub(super) fn host_name(&self) -> String {
        let config = SystemConfig::parse(FILE, &self.text("")).unwrap_or_default();
        config.host_name().to_owned()
    }

    /// The file as it is to be, from the one that the image has.
    ///
    /// # Errors
    /// Both together are not sound.
    pub(super) fn onto(&self, images: &str) -> Result<String, Failure> {
        let text = self.text(images);
        match SystemConfig::parse(FILE, &text) {
            Ok(_) => Ok(text),
            Err(problems) => Err(Failure::new(
                "the settings do not fit those that the image has",
                problems,
                "the image itself is whole on it: mount its partition LLMBASEDOS and edit llmbasedos.toml there",
            )),
        }
    }

    /// What is wrong with them, in words; `None` where nothing is.
    pub(super) fn problems(&self) -> Option<String> {
        SystemConfig::parse("", &self.text("")).err().map(|problems| problems.by_key().trim().to_owned())
    }

    fn text(&self, images: &str) -> String {
        if let Some(whole) = &self.whole {
            return format!("{whole}\n{}", missing(whole, images));
        }
        let list = Some(&self.dns).filter(|dns| !dns.is_empty()).map(|dns| Value::from(dns.clone()).to_string());
        // Each goes right behind the head of its table, so the last of a table comes first.
        let entries = [
            (Some("network"), "dns", list),
            (Some("network"), "gateway", self.router.as_deref().map(quoted)),
            (Some("network"), "address", self.address.as_deref().map(quoted)),
            (Some("network"), "setup_passphrase", self.setup_passphrase.as_ref().map(|text| quoted(text.as_str()))),
            (Some("gateway"), "setup_code", self.setup_code.as_ref().map(|code| quoted(code.as_str()))),
            (None, "hostname", self.hostname.as_deref().map(quoted)),
        ];
        let stated = entries.into_iter().filter_map(|(table, key, value)| Some((table, key, value?)));
        let text = stated.fold(images.to_owned(), |text, (table, key, value)| inserted(&text, table, key, &value));
        text + &self.wifi.as_ref().map(Wifi::text).unwrap_or_default()
    }
}

impl Wifi {
    fn of(options: &SettingsOptions) -> Result<Option<Self>, Failure> {
        let Some(name) = options.wifi.clone() else { return Ok(None) };
        let passphrase = options.wifi_passphrase_file.as_deref().map(secret_of).transpose()?;
        Ok(Some(Self { name, passphrase, country: options.wifi_country.clone() }))
    }

    /// The table: one of several that a file may have, so it stands at the end.
    fn text(&self) -> String {
        let passphrase = self.passphrase.as_ref().map(SecretText::as_str);
        let entries =
            [("ssid", Some(self.name.as_str())), ("passphrase", passphrase), ("country", self.country.as_deref())];
        let lines = entries.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}\n", quoted(value?))));
        format!("\n[[network.wifi]]\n{}", lines.collect::<String>())
    }
}

/// What a file holds, but for the line's end.
fn secret_of(path: &Path) -> Result<SecretText, Failure> {
    let content = fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    Ok(SecretText::new(content.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A string as TOML has it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The file with a key more, in a table of it or before all tables. A key that it has already is refused when it is parsed.
fn inserted(text: &str, table: Option<&str>, key: &str, value: &str) -> String {
    let (entry, head) = (format!("{key} = {value}"), table.map(|table| format!("[{table}]")));
    let mut lines: Vec<&str> = text.lines().collect();
    let place = match &head {
        None => Some(0),
        Some(head) => lines.iter().position(|line| line.trim() == head).map(|place| place + 1),
    };
    match (place, &head) {
        (Some(place), _) => lines.insert(place, &entry),
        (None, Some(head)) => lines.extend(["", head, &entry]),
        (None, None) => {}
    }
    format!("{}\n", lines.join("\n").trim_start_matches('\n'))
}

/// What an image says of its Arcs and a whole file of the owner's does not: where its model is, who may reach it.
fn missing(owners: &str, images: &str) -> String {
    let (owners, images): (Table, Table) = match (owners.parse(), images.parse()) {
        (Ok(owners), Ok(images)) => (owners, images),
        _ => return String::new(),
    };
    let of = |table: &Table, key: &str| table.get(key).and_then(Value::as_table).cloned().unwrap_or_default();
    let added = ["arcs", "grants"].into_iter().filter_map(|key| {
        let mut added = of(&images, key);
        added.retain(|name, _| !of(&owners, key).contains_key(name));
        (!added.is_empty()).then(|| (key.to_owned(), Value::from(added)))
    });
    added.collect::<Table>().to_string()
}

#[cfg(test)]
mod tests {
    use spec::OwnersSecrets;

    use super::*;

    /// What the image comes with.
    const IMAGES: &str = include_str!("../disk/llmbasedos.toml");

    fn parsed(text: &str) -> SystemConfig {
        SystemConfig::parse("c", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    #[test]
    fn settings_are_put_where_their_comments_stand() {
        let settings = Settings {
            hostname: Some("attic".to_owned()),
            address: Some("10.0.0.5/24".to_owned()),
            router: Some("10.0.0.1".to_owned()),
            dns: vec!["10.0.0.1".to_owned(), "1.1.1.1".to_owned()],
            ..Settings::default()
        };
        let text = settings.onto(IMAGES).expect("sound");
        assert!(text.starts_with("hostname = \"attic\"\n# The settings of this machine."), "{text}");
        let network = "[network]\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\ndns = [\"10.0.0.1\", \"1.1.1.1\"]\n# \"dhcp\"";
        assert!(text.contains(network), "{text}");
        assert_eq!(text.lines().count(), IMAGES.lines().count() + 4, "all that was there is there");
        assert_eq!(settings.host_name(), "attic");
        assert_eq!(parsed(&text), parsed(&settings.text("")), "and nothing else is said");
    }

    #[test]
    fn a_wifi_network_stands_at_the_end_and_its_passphrase_is_found_there() {
        let passphrase = "quotes \" and ' and \\ in it";
        let wifi = Wifi {
            name: "At \"home\"\n[gateway]".to_owned(),
            passphrase: Some(SecretText::new(passphrase.to_owned())),
            country: Some("DE".to_owned()),
        };
        let settings = Settings { wifi: Some(wifi), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("quotes"), "a passphrase is never shown");
        let text = settings.onto(IMAGES).expect("sound");
        let network = parsed(&text).network.expect("stated").wifi.pop().expect("one");
        assert_eq!(network.ssid.bytes(), b"At \"home\"\n[gateway]");
        assert!(network.is_secured && network.country.is_some_and(|country| country.as_str() == "DE"));
        let secrets = OwnersSecrets::find(&text);
        assert!(secrets.values.values().any(|value| value.as_str() == passphrase), "as it is moved to the store");
    }

    #[test]
    fn a_setup_code_and_a_passphrase_stand_in_their_tables() {
        let code = |text: &str| Settings { setup_code: Some(SecretText::new(text.to_owned())), ..Settings::default() };
        let text = code("7KQ-M4X").onto(IMAGES).expect("sound");
        assert!(text.contains("\n[gateway]\nsetup_code = \"7KQ-M4X\"\n"), "{text}");
        assert!(parsed(&text).gateway.setup_code.is_some());
        let own = Some(SecretText::new("typed by hand".to_owned()));
        let text = Settings { setup_passphrase: own, ..Settings::default() }.onto(IMAGES).expect("sound");
        assert!(text.contains("\n[network]\nsetup_passphrase = \"typed by hand\"\n"), "{text}");
        assert!(parsed(&text).network.is_some_and(|network| network.has_setup_passphrase));
        let wrong = code("x\"\ntokens = []").problems().expect("no code");
        assert!(wrong.contains("gateway.setup_code") && !wrong.contains("tokens"), "{wrong}");
    }

    #[test]
    fn a_file_of_the_owners_keeps_what_the_image_says_of_its_model() {
        let images =
            format!("{IMAGES}\n[arcs.llm_router.backends.local]\nkind = \"openai\"\n[grants.model]\nserves = true\n");
        let whole = |text: &str| Settings { whole: Some(text.to_owned()), ..Settings::default() };
        let config = parsed(&whole("hostname = \"cellar\"").onto(&images).expect("sound"));
        assert_eq!((config.host_name(), config.arcs.len(), config.grants.len()), ("cellar", 1, 1));
        let own = "[arcs.llm_router.backends.mine]\nkind = \"ollama\"\n[grants]\nmodel = { serves = false }";
        let config = parsed(&whole(own).onto(&images).expect("sound"));
        assert!(!config.arcs.values().any(|arc| arc.to_string().contains("local")), "{config:?}");
        assert!(config.grants.values().all(|grant| !grant.serves), "{config:?}");
    }

    #[test]
    fn what_is_not_sound_is_told_before_anything_is_written() {
        let options = SettingsOptions {
            hostname: Some("at tic\"\n[secrets]".to_owned()),
            address: Some("10.0.0.5".to_owned()),
            ..SettingsOptions::default()
        };
        let failure = Settings::of(&options).expect_err("two problems").to_string();
        assert!(failure.contains("hostname: must be") && failure.contains("network.address: must be"), "{failure}");
        assert_eq!(Settings::of(&SettingsOptions::default()), Ok(None));
        assert_eq!(Settings::of(&SettingsOptions { no_config: true, ..SettingsOptions::default() }), Ok(None));
    }

    #[test]
    fn settings_of_an_image_that_do_not_fit_are_told() {
        let settings = Settings { hostname: Some("attic".to_owned()), ..Settings::default() };
        let failure = settings.onto("hostname = \"cellar\"\n").expect_err("twice").to_string();
        assert!(failure.ends_with("llmbasedos.toml:2: duplicate key"), "{failure}");
    }
}
