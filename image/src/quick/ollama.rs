//! Ollama on the root of the quick image, with what of a distribution it takes to run: the root has no libraries otherwise.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::libraries::{Gathering, needed_by};
use super::packages::{Archive, Release};
use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::failure::Failure;
use crate::ollama::Ollama;
use crate::signals::Signals;

/// The package that its libraries come with or depend on: C++ and C.
const PACKAGE: &str = "libstdc++6";

/// Puts it into the tree of a root.
pub(super) fn install(
    ollama: &Ollama,
    tree: &Path,
    architecture: Architecture,
    cache: &Cache,
    day: &str,
    signals: &Signals,
) -> Result<(), Failure> {
    ollama.install(tree)?;
    let mut needed = BTreeSet::new();
    for program in ollama.programs()? {
        needed.extend(needed_by(&program, architecture, signals)?);
    }
    let libraries = tree.join("usr/lib");
    needed.retain(|name| !libraries.join("ollama").join(name).exists());
    let lock = cache.lock(signals, || {})?;
    let archive = Archive::open(cache, architecture, Release::This, day, signals)?;
    let gathered = Gathering::new(architecture, signals).gather(&archive, PACKAGE, needed)?;
    for (name, source) in gathered {
        let target = libraries.join(name);
        fs::copy(&source, &target).map_err(|error| Failure::io("copy", &source, &error))?;
        // The kernel runs the loader among them.
        let set = fs::set_permissions(&target, Permissions::from_mode(0o755));
        set.map_err(|error| Failure::io("write", &target, &error))?;
    }
    drop(lock);
    if architecture == Architecture::X86_64 {
        // Where the programs of a PC name their loader (System V ABI, AMD64 supplement).
        let link = tree.join("lib64");
        symlink("usr/lib", &link).map_err(|error| Failure::io("make the link", &link, &error))?;
    }
    Ok(())
}
