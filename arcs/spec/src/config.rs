//! `llmbasedos.toml`: what the owner says of the machine as a whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use toml::de::DeValue;

use crate::document::{Document, Place, Section, TomlValue, from_text};
use crate::problem::Problems;
use crate::values::{InvalidValue, Name};

/// A validated `llmbasedos.toml`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemConfig {
    /// The TCP addresses of the named listeners: `gateway`, `sites`.
    pub listen: BTreeMap<Name, SocketAddr>,
    /// The settings of each Arc, by its name: read and checked by the Arc itself.
    pub arcs: BTreeMap<Name, toml::Table>,
}

impl SystemConfig {
    /// Reads a configuration. `file` names it in messages.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn parse(file: &str, source: &str) -> Result<Self, Problems> {
        Document::read(file, source, |root| {
            let listen = root.section("listen", |all| Some(all.entries())).unwrap_or_default();
            let arcs = root.named_sections("arcs", |_, settings| Some(settings.raw()));
            Some(Self { listen: names(root, "listen", listen), arcs: names(root, "arcs", arcs) })
        })
    }

    /// This configuration with what `later` says in place of what is said here: whole Arcs and listeners.
    #[must_use]
    pub fn overridden_by(mut self, later: Self) -> Self {
        self.listen.extend(later.listen);
        self.arcs.extend(later.arcs);
        self
    }
}

fn names<T>(root: &Section<'_>, key: &str, map: BTreeMap<String, T>) -> BTreeMap<Name, T> {
    let checked = |(name, value): (String, T)| match name.parse::<Name>() {
        Ok(name) => Some((name, value)),
        Err(InvalidValue(message)) => {
            root.report(key, message);
            None
        }
    };
    map.into_iter().filter_map(checked).collect()
}

impl TomlValue for SocketAddr {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, |text| {
            text.parse()
                .map_err(|_| InvalidValue(format!("must be ADDRESS:PORT such as \"127.0.0.1:8000\", not {text:?}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_wins_arc_by_arc() {
        let first = SystemConfig::parse("a", "[arcs.kv]\nsize = 1\n[arcs.llm_router]\nx = 1").expect("sound");
        let later =
            SystemConfig::parse("b", "[listen]\ngateway = \"127.0.0.1:9\"\n[arcs.kv]\nother = 2").expect("sound");
        let both = first.overridden_by(later);
        let kv = &both.arcs[&"kv".parse().expect("a name")];
        assert_eq!(kv.to_string(), "other = 2\n");
        assert_eq!((both.listen.len(), both.arcs.len()), (1, 2));
    }

    #[test]
    fn problems_name_the_key() {
        let problems =
            SystemConfig::parse("llmbasedos.toml", "[listen]\ngateway = \"everywhere\"\n[arc.kv]\n").expect_err("two");
        let expected = "\
llmbasedos.toml:2: listen.gateway: must be ADDRESS:PORT such as \"127.0.0.1:8000\", not \"everywhere\"
llmbasedos.toml:3: arc: unknown key. Close to it: arcs";
        assert_eq!(problems.to_string(), expected);
    }
}
