//! What a program of a distribution takes to run: its libraries and the loader of programs, out of packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::Archive;
use crate::architecture::Architecture;
use crate::failure::Failure;
use crate::process;
use crate::signals::Signals;

/// What of some packages a program takes to run.
pub(super) struct Gathering<'a> {
    architecture: Architecture,
    signals: &'a Signals,
    /// The files that are in the packages so far, by name.
    offered: BTreeMap<String, PathBuf>,
    taken: BTreeMap<String, PathBuf>,
    /// What the names of libraries begin with that programs open by themselves.
    plugins: Option<&'static str>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(architecture: Architecture, signals: &'a Signals) -> Self {
        Self { architecture, signals, offered: BTreeMap::new(), taken: BTreeMap::new(), plugins: None }
    }

    /// With all libraries whose names begin so.
    pub(super) fn with_plugins(self, plugins: &'static str) -> Self {
        Self { plugins: Some(plugins), ..self }
    }

    /// The files of these names with all that they are linked to: package for package of those that `package` depends on,
    /// until nothing is missing.
    pub(super) fn gather(
        mut self,
        archive: &Archive<'_>,
        package: &str,
        mut missing: BTreeSet<String>,
    ) -> Result<BTreeMap<String, PathBuf>, Failure> {
        for package in archive.needs(package)? {
            let folder = archive.unpacked(&package)?;
            // The oldest lie where there was no /usr yet.
            for programs in ["usr/bin", "usr/sbin", "sbin"] {
                self.offer(&folder.join(programs))?;
            }
            for libraries in ["lib", "usr/lib"] {
                self.offer(&folder.join(libraries).join(format!("{}-linux-gnu", self.architecture)))?;
            }
            let is_plugin = |name: &&String| self.plugins.is_some_and(|plugins| name.starts_with(plugins));
            let plugins = self.offered.keys().filter(is_plugin);
            missing.extend(plugins.filter(|name| !self.taken.contains_key(*name)).cloned());
            while let Some(name) = missing.iter().find(|name| self.offered.contains_key(*name)).cloned() {
                missing.remove(&name);
                let needed = self.take(name)?;
                missing.extend(needed.into_iter().filter(|name| !self.taken.contains_key(name)));
            }
            if missing.is_empty() {
                return Ok(self.taken);
            }
        }
        let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
        Err(Failure::new("a program is not complete", format!("no package has {missing}"), "report this"))
    }

    /// Adds the files of a folder and of those below it.
    fn offer(&mut self, folder: &Path) -> Result<(), Failure> {
        if !folder.is_dir() {
            return Ok(());
        }
        let entries = fs::read_dir(folder).map_err(|error| Failure::io("read", folder, &error))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                self.offer(&path)?;
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                self.offered.insert(name.to_owned(), path.clone());
            }
        }
        Ok(())
    }

    /// Takes a file; answers the names of what it is linked to.
    fn take(&mut self, name: String) -> Result<Vec<String>, Failure> {
        let Some(path) = self.offered.get(&name) else { return Ok(Vec::new()) };
        let path = path.canonicalize().map_err(|error| Failure::io("find", path, &error))?;
        let needed = needed_by(&path, self.architecture, self.signals)?;
        self.taken.insert(name, path);
        Ok(needed)
    }
}

/// The names of the libraries that a program or library is linked to (objdump(1)).
pub(super) fn needed_by(path: &Path, architecture: Architecture, signals: &Signals) -> Result<Vec<String>, Failure> {
    let mut dump = Command::new(architecture.tool("objdump"));
    let said = process::ask(dump.arg("--private-headers").arg(path), signals)?;
    let said = said.map_err(|why| Failure::new(format!("cannot read {}", path.display()), why, "report this"))?;
    let needed = said.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
    Ok(needed.map(|name| name.trim().to_owned()).collect())
}
