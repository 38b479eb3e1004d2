//! Which manifests count, and in which order: pure.

use std::collections::{BTreeMap, BTreeSet};

use spec::{Name, Transport};

use crate::cage::user_of;
use crate::manifests::Candidate;

/// What is left of all manifests once no two claim the same.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// In start order: what a service comes after stands before it.
    pub(crate) services: Vec<Candidate>,
    /// Why others are not among them, both files named.
    pub(crate) refused: Vec<String>,
}

/// Settles who gets a name or a namespace that several claim: the first. `candidates` come system before user, then in
/// the order of their files.
pub(crate) fn settle(candidates: impl IntoIterator<Item = Candidate>) -> Catalogue {
    // The log lines of init itself stand under this name.
    let own = "init".parse::<Name>().into_iter().map(|name| (name, "init itself".to_owned()));
    let mut names: BTreeMap<Name, String> = own.collect();
    let mut namespaces: BTreeMap<Name, String> = BTreeMap::new();
    let mut users: BTreeMap<u32, String> = BTreeMap::new();
    let mut ports: BTreeMap<u16, String> = BTreeMap::new();
    let mut catalogue = Catalogue::default();
    for candidate in candidates {
        let manifest = &candidate.manifest;
        let offers_tools = manifest.transport != Transport::None;
        let claimed = manifest.aliases.iter().chain([&manifest.namespace]).filter(|_| offers_tools);
        let taken = |what: &str, name: &Name, by: &String| {
            format!("{}: {what} {name} is taken by {by}; {} was not started", candidate.file, manifest.name)
        };
        let name = names.get(&manifest.name).map(|by| taken("the name", &manifest.name, by));
        let namespace = || claimed.clone().find_map(|name| Some(taken("the namespace", name, namespaces.get(name)?)));
        // Two names with one number would be one user, and share what bounds a user.
        let user = user_of(manifest.name.as_str());
        let number = || users.get(&user).map(|by| taken("the user id of the name", &manifest.name, by));
        let port = manifest.cage.serves.and_then(|port| Some((port, ports.get(&port)?)));
        let port = || {
            let (port, by) = port?;
            Some(format!(
                "{}: the port {port} that it `serves` is taken by {by}; {} was not started",
                candidate.file, manifest.name
            ))
        };
        if let Some(refusal) = name.or_else(namespace).or_else(number).or_else(port) {
            catalogue.refused.push(refusal);
            continue;
        }
        users.insert(user, candidate.file.clone());
        ports.extend(manifest.cage.serves.map(|port| (port, candidate.file.clone())));
        namespaces.extend(claimed.map(|namespace| (namespace.clone(), candidate.file.clone())));
        names.insert(manifest.name.clone(), candidate.file.clone());
        catalogue.services.push(candidate);
    }
    catalogue.services = in_start_order(catalogue.services);
    catalogue
}

/// Sorts so that each service stands behind those that it comes after; those on a circle stay where they are, at the
/// end.
fn in_start_order(services: Vec<Candidate>) -> Vec<Candidate> {
    let mut rest = services;
    let mut sorted: Vec<Candidate> = Vec::new();
    while !rest.is_empty() {
        let waiting: BTreeSet<Name> = rest.iter().map(|service| service.manifest.name.clone()).collect();
        let is_free = |service: &Candidate| service.manifest.after.iter().all(|name| !waiting.contains(name));
        let (free, bound): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_free);
        if free.is_empty() {
            sorted.extend(bound);
            break;
        }
        sorted.extend(free);
        rest = bound;
    }
    sorted
}

/// Why the `after` of `service` can never be fulfilled, if so: a name that nobody has, or a circle.
pub(crate) fn impossible_order(service: &Name, after: &BTreeMap<Name, Vec<Name>>) -> Option<String> {
    let direct = after.get(service)?;
    if let Some(unknown) = direct.iter().find(|name| !after.contains_key(*name)) {
        let hint = spec::close_to(unknown.as_str(), after.keys().map(Name::as_str));
        return Some(format!("after: there is no service {unknown}{hint}"));
    }
    path_back(service, after).map(|path| format!("after: goes in a circle: {}", path.join(" → ")))
}

/// The way from `start` along `after` back to it.
fn path_back(start: &Name, after: &BTreeMap<Name, Vec<Name>>) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut paths = vec![vec![start]];
    while let Some(path) = paths.pop() {
        let here = path.last().copied()?;
        for next in after.get(here).into_iter().flatten() {
            let longer: Vec<&Name> = path.iter().copied().chain([next]).collect();
            if next == start {
                return Some(longer.into_iter().map(Name::to_string).collect());
            }
            if seen.insert(next) {
                paths.push(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use spec::{Manifest, Origin};

    use super::*;

    fn candidate(file: &str, name: &str, more: &str) -> Candidate {
        let text = format!("name = {name:?}\nversion = \"1\"\ndescription = \"\"\nexec = [\"x\"]\n{more}\n");
        let manifest = Manifest::parse(file, &text, Origin::System).expect("sound");
        Candidate { manifest, text, file: file.to_owned(), origin: Origin::System }
    }

    fn names(catalogue: &Catalogue) -> Vec<&str> {
        catalogue.services.iter().map(|service| service.manifest.name.as_str()).collect()
    }

    #[test]
    fn the_first_to_claim_a_name_or_namespace_keeps_it() {
        let catalogue = settle([
            candidate("1.toml", "files", "namespace = \"fs\""),
            candidate("2.toml", "files", ""),
            candidate("3.toml", "disk", "aliases = [\"fs\"]"),
            candidate("4.toml", "fs", "transport = \"none\"\nactivation = \"boot\""),
        ]);
        assert_eq!(names(&catalogue), ["files", "fs"]);
        let expected = [
            "2.toml: the name files is taken by 1.toml; files was not started",
            "3.toml: the namespace fs is taken by 1.toml; disk was not started",
        ];
        assert_eq!(catalogue.refused, expected);
    }

    #[test]
    fn a_name_that_was_made_to_have_the_number_of_another_is_refused() {
        let catalogue = settle([candidate("1.toml", "kv", ""), candidate("2.toml", "weather_dz8w4na", "")]);
        assert_eq!(names(&catalogue), ["kv"]);
        let expected =
            "2.toml: the user id of the name weather_dz8w4na is taken by 1.toml; weather_dz8w4na was not started";
        assert_eq!(catalogue.refused, [expected]);
    }

    #[test]
    fn a_port_is_served_by_one() {
        let serves = "transport = \"none\"\nactivation = \"boot\"\n[cage]\nserves = 11434";
        let catalogue = settle([candidate("1.toml", "llama", serves), candidate("2.toml", "a_weather", serves)]);
        assert_eq!(names(&catalogue), ["llama"]);
        assert!(catalogue.refused[0].contains("the port 11434 that it `serves` is taken by 1.toml"));
    }

    #[test]
    fn start_order_follows_after() {
        let catalogue = settle([
            candidate("1", "c", "after = [\"b\"]"),
            candidate("2", "x", "after = [\"y\"]"),
            candidate("3", "y", "after = [\"x\"]"),
            candidate("4", "b", "after = [\"a\"]"),
            candidate("5", "a", "after = [\"nobody\"]"),
        ]);
        assert_eq!(names(&catalogue), ["a", "b", "c", "x", "y"]);
    }

    #[test]
    fn what_can_never_start_is_known() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let after: BTreeMap<Name, Vec<Name>> =
            [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"]), ("d", vec!["file"]), ("files", vec![])]
                .into_iter()
                .map(|(service, after)| (name(service), after.into_iter().map(name).collect()))
                .collect();
        let reason = |service: &str| impossible_order(&name(service), &after);
        assert_eq!(reason("a"), None);
        assert_eq!(reason("b").as_deref(), Some("after: goes in a circle: b → c → b"));
        assert_eq!(reason("d").as_deref(), Some("after: there is no service file. Close to it: files"));
    }
}
