//! The settings that a machine finds at its first start: written into the `llmbasedos.toml` that the image has, of which
//! everything else stays as it is.
//!
//! Nothing is written but what [`SystemConfig`] takes.

use std::fs;
use std::path::Path;

use spec::SystemConfig;
use toml::{Table, Value};

use super::ask::Person;
use super::options::SettingsOptions;
use crate::failure::Failure;
use crate::terminal::say;

/// The file, as it is called on the machine.
pub(super) const FILE: &str = "llmbasedos.toml";

/// What a person wants to be said in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// A whole file of the person's.
    whole: Option<String>,
    hostname: Option<String>,
    /// `dhcp` or an address with its prefix.
    address: Option<String>,
    router: Option<String>,
    dns: Vec<String>,
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

    /// Asks a person for them; `None` where the image's are good enough.
    ///
    /// # Errors
    /// Ctrl-C.
    pub(super) fn ask(person: &Person<'_>) -> Result<Option<Self>, Failure> {
        let wanted = person.ask("Set it up now? [Y/n]")?;
        if !wanted.is_some_and(|answer| ["", "y", "yes"].contains(&answer.to_lowercase().as_str())) {
            return Ok(None);
        }
        let mut settings = Self::default();
        settings.question(person, "hostname [llmbasedos]:", |settings, answer| settings.hostname = answer)?;
        settings.question(person, "address [dhcp]:", |settings, answer| settings.address = answer)?;
        if settings.address.as_deref().is_some_and(|address| address != "dhcp") {
            settings.question(person, "router [none]:", |settings, answer| settings.router = answer)?;
            settings.question(person, "name server [none]:", |settings, answer| {
                settings.dns = answer.into_iter().collect();
            })?;
        }
        Ok(Some(settings))
    }

    /// Asks until the answer is sound; nothing means what stands in brackets.
    fn question(
        &mut self,
        person: &Person<'_>,
        question: &str,
        set: impl Fn(&mut Self, Option<String>),
    ) -> Result<(), Failure> {
        loop {
            let answer = person.ask(&format!("  {question}"))?.filter(|answer| !answer.is_empty());
            set(self, answer);
            match SystemConfig::parse("", &self.text("")) {
                Ok(_) => return Ok(()),
                Err(problems) => say(format_args!("    {}", problems.by_key().trim())),
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
                "write them by hand: mount the partition LLMBASEDOS and edit llmbasedos.toml",
            )),
        }
    }

    fn text(&self, images: &str) -> String {
        if let Some(whole) = &self.whole {
            return format!("{whole}\n{}", missing(whole, images));
        }
        let mut text = images.to_owned();
        let quoted = |value: &String| Value::from(value.as_str()).to_string();
        // Each goes right behind the head of its table, so the last of a table comes first.
        let list = Some(&self.dns).filter(|dns| !dns.is_empty()).map(|dns| Value::from(dns.clone()).to_string());
        let network = [
            ("dns", list),
            ("gateway", self.router.as_ref().map(quoted)),
            ("address", self.address.as_ref().map(quoted)),
        ];
        for (key, value) in network {
            text = value.map_or(text.clone(), |value| inserted(&text, Some("network"), key, &value));
        }
        match &self.hostname {
            Some(hostname) => inserted(&text, None, "hostname", &quoted(hostname)),
            None => text,
        }
    }
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
            whole: None,
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
