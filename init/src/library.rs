//! The manifests that init knows of: those of the system, read once, and the owner's, read again whenever their folder
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use spec::{Name, Origin, SystemConfig};
use zeroize::Zeroizing;

use crate::catalogue::{self, Catalogue};
use crate::manifests::{self, Candidate, Fault, Found};

/// Something that a person is to be told, in plain lines for a log.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) plain: String,
    /// The same as a picture, in colour, where there is one.
    pub(crate) picture: Option<String>,
}

impl Complaint {
    fn of(fault: &Fault, consequence: &str) -> Self {
        let picture = match fault {
            Fault::Problems(problems) => Some(format!("{}\n{consequence}", problems.picture(true))),
            Fault::Read { .. } | Fault::TooLarge(_) => None,
        };
        Self { plain: format!("{fault}\n{consequence}"), picture }
    }

    pub(crate) fn plain(plain: String) -> Self {
        Self { plain, picture: None }
    }
}

/// All manifests.
pub(crate) struct Library {
    system: Vec<Candidate>,
    folder: PathBuf,
    /// The last sound state of each file of the owner.
    user: BTreeMap<PathBuf, Candidate>,
    /// What was complained of at the last look, so that it is not repeated.
    said: BTreeSet<String>,
}

impl Library {
    /// Reads the manifests of the system from `folders`; the owner's lie in `user_folder`.
    pub(crate) fn open(folders: &[PathBuf], user_folder: PathBuf) -> (Self, Vec<Complaint>) {
        let mut complaints = Vec::new();
        let mut found = manifests::own();
        for folder in folders {
            match manifests::read_folder(folder, Origin::System) {
                Ok(more) => found.extend(more),
                Err(fault) => complaints.push(Complaint::of(&fault, "its services were not started")),
            }
        }
        let mut system = Vec::new();
        for Found { candidate, .. } in found {
            match candidate {
                Ok(candidate) => system.push(candidate),
                Err(fault) => complaints.push(Complaint::of(&fault, "it was not started; everything else runs")),
            }
        }
        (Self { system, folder: user_folder, user: BTreeMap::new(), said: BTreeSet::new() }, complaints)
    }

    /// Looks at the owner's folder and answers what counts now, with the complaints that are new.
    pub(crate) fn look(&mut self) -> (Catalogue, Vec<Complaint>) {
        let mut complaints = Vec::new();
        match manifests::read_folder(&self.folder, Origin::User) {
            Ok(found) => self.take(found, &mut complaints),
            Err(fault) => complaints.push(Complaint::of(&fault, "what it held before still counts")),
        }
        let catalogue = catalogue::settle(self.system.iter().chain(self.user.values()).cloned());
        complaints.extend(catalogue.refused.iter().cloned().map(Complaint::plain));
        let all: BTreeSet<String> = complaints.iter().map(|complaint| complaint.plain.clone()).collect();
        complaints.retain(|complaint| !self.said.contains(&complaint.plain));
        self.said = all;
        (catalogue, complaints)
    }

    fn take(&mut self, found: Vec<Found>, complaints: &mut Vec<Complaint>) {
        let mut before = std::mem::take(&mut self.user);
        for Found { path, candidate } in found {
            let previous = before.remove(&path);
            let counts = match candidate {
                Ok(candidate) => Some(candidate),
                Err(fault) => {
                    let consequence = match &previous {
                        Some(_) => "what the file said before still counts; everything else runs",
                        None => "it was not started; everything else runs",
                    };
                    complaints.push(Complaint::of(&fault, consequence));
                    previous
                }
            };
            self.user.extend(counts.map(|candidate| (path, candidate)));
        }
    }
}

/// Reads the configuration files, a later one over an earlier one. A broken file is left out and complained of.
pub(crate) fn read_config(files: &[PathBuf]) -> (SystemConfig, Vec<Complaint>) {
    let read = |file: &Path| {
        // It may hold secrets that could not be moved to the store.
        let text = Zeroizing::new(manifests::read_text(file)?);
        SystemConfig::parse(&file.to_string_lossy(), &text).map_err(Fault::Problems)
    };
    let mut complaints = Vec::new();
    let mut config = SystemConfig::default();
    for file in files {
        match read(file) {
            Ok(later) => config = config.overridden_by(later),
            Err(fault) => complaints.push(Complaint::of(&fault, "the file was left out; everything else runs")),
        }
    }
    (config, complaints)
}

/// What the configuration says of listeners and Arcs that are not there: it counts for nothing, most likely because of
/// a slip in the name.
pub(crate) fn unknown_names(config: &SystemConfig, catalogue: &Catalogue) -> Vec<Complaint> {
    let manifests = || catalogue.services.iter().map(|service| &service.manifest);
    let listeners: BTreeSet<&str> = manifests().flat_map(|manifest| &manifest.listen).map(Name::as_str).collect();
    let services: BTreeSet<&str> = manifests().map(|manifest| manifest.name.as_str()).collect();
    let unknown = |table: &str, name: &Name, known: &BTreeSet<&str>, what: &str| {
        let hint = spec::close_to(name.as_str(), known.iter().copied());
        Complaint::plain(format!("llmbasedos.toml: {table}.{name}: there is no {what} of that name{hint}"))
    };
    let listen = config.listen.keys().filter(|name| !listeners.contains(name.as_str()));
    let arcs = config.arcs.keys().filter(|name| !services.contains(name.as_str()));
    let grants = config.grants.keys().filter(|name| !services.contains(name.as_str()));
    listen
        .map(|name| unknown("listen", name, &listeners, "listener"))
        .chain(arcs.map(|name| unknown("arcs", name, &services, "Arc")))
        .chain(grants.map(|name| unknown("grants", name, &services, "Arc")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KV: &str = "name = \"kv\"\nversion = \"1\"\ndescription = \"\"\nexec = [\"x\"]\n";

    fn names(catalogue: &Catalogue) -> Vec<String> {
        let services = catalogue.services.iter();
        services.map(|service| format!("{} {}", service.manifest.name, service.manifest.version)).collect()
    }

    fn plain(complaints: Vec<Complaint>, folder: &Path) -> Vec<String> {
        let folder = format!("{}/", folder.display());
        complaints.into_iter().map(|complaint| complaint.plain.replace(&folder, "")).collect()
    }

    #[test]
    fn a_file_that_breaks_keeps_what_it_said_and_is_complained_of_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("kv.toml");
        let (mut library, complaints) = Library::open(&[], folder.path().to_owned());
        assert!(complaints.is_empty());

        fs::write(&file, KV).expect("written");
        let (catalogue, complaints) = library.look();
        assert_eq!(
            (names(&catalogue), plain(complaints, folder.path())),
            (vec!["logd 0.1.0".into(), "gateway 0.1.0".into(), "kv 1".into()], vec![])
        );

        fs::write(&file, format!("{KV}idle_exitt = \"5m\"\n")).expect("written");
        let (catalogue, complaints) = library.look();
        assert_eq!(names(&catalogue), ["logd 0.1.0", "gateway 0.1.0", "kv 1"]);
        let expected = "kv.toml:5: idle_exitt: unknown key. Close to it: idle_exit\n\
                        what the file said before still counts; everything else runs";
        assert_eq!(plain(complaints, folder.path()), [expected]);
        assert_eq!(plain(library.look().1, folder.path()), [""; 0]);

        fs::remove_file(&file).expect("removed");
        assert_eq!(names(&library.look().0), ["logd 0.1.0", "gateway 0.1.0"]);
    }

    #[test]
    fn a_broken_configuration_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let files = [
            file("1.toml", "[arcs.kv]\nsize = 1\n"),
            file("2.toml", "[arcs.kv]\nsize = 2\n[lissten]\n"),
            folder.path().join("3.toml"),
        ];
        let (config, complaints) = read_config(&files);
        assert_eq!(config.arcs.values().map(ToString::to_string).collect::<Vec<_>>(), ["size = 1\n"]);
        let expected = [
            "2.toml:3: lissten: unknown key. Close to it: listen\nthe file was left out; everything else runs",
            "3.toml: cannot be read: No such file or directory (os error 2)\nthe file was left out; everything else runs",
        ];
        assert_eq!(plain(complaints, folder.path()), expected);
    }

    #[test]
    fn a_name_that_nothing_has_is_complained_of() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("kv.toml"), KV).expect("written");
        let (mut library, _) = Library::open(&[folder.path().to_owned()], folder.path().join("none"));
        let source = "[listen]\ngatewey = \"127.0.0.1:1\"\ngateway = \"127.0.0.1:2\"\n[arcs.kw]\n[arcs.kv]\n";
        let config = SystemConfig::parse("c", source).expect("sound");
        let said: Vec<String> =
            unknown_names(&config, &library.look().0).into_iter().map(|complaint| complaint.plain).collect();
        assert_eq!(
            said,
            [
                "llmbasedos.toml: listen.gatewey: there is no listener of that name. Close to it: gateway",
                "llmbasedos.toml: arcs.kw: there is no Arc of that name",
            ]
        );
    }
}
