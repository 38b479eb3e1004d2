//! A compiler for another kind of machine. Where the pinned toolchain has the standard library of that machine (`rustup
//! target add`), it is that one; else Debian's, unpacked in the cache: its package cannot be installed beside rustup.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::{Archive, Release};
use crate::architecture::Architecture;
use crate::cache::{Cache, make_folder, publish, remove_folder};
use crate::disk::write;
use crate::failure::{Failure, plain};
use crate::process;
use crate::repository::Repository;
use crate::signals::Signals;

/// Debian's newest compiler in a stable release: the one that it builds browsers with.
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";
/// What every Debian has, in the one version that all its programs run with.
const EVERYWHERE: [&str; 4] = ["libc6", "libgcc-s1", "libstdc++6", "gcc-"];

/// What starts it where it lies: it looks for its libraries in the system.
const START: &str = "rustc";
const START_SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here/usr/lib/%-linux-gnu" exec "$here/usr/bin/rustc" --sysroot "$here/usr" "$@"
"#;

/// The rustc that compiles for `architecture`; `None` if that is the one that cargo takes by itself.
pub(super) fn find(
    architecture: Architecture,
    cache: &Cache,
    day: &str,
    repository: &Repository,
    signals: &Signals,
) -> Result<Option<PathBuf>, Failure> {
    if architecture == Architecture::HOST || has_library(architecture, repository, signals)? {
        return Ok(None);
    }
    let here = Archive::open(cache, Architecture::HOST, Release::This, day, signals)?;
    let there = Archive::open(cache, architecture, Release::This, day, signals)?;
    let library = there.unpacked(LIBRARY)?;
    let version = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let whole = cache.path("rust").join(format!("{architecture}-{version}"));
    let rustc = whole.join(START);
    if rustc.is_file() {
        return Ok(Some(rustc));
    }
    let part = whole.with_extension("part");
    remove_folder(&part)?;
    make_folder(&part)?;
    merge(&library, &part)?;
    merge(&here.unpacked(COMPILER)?, &part)?;
    for package in here.needs(LIBRARY)?.iter().filter(|name| !EVERYWHERE.iter().any(|other| name.starts_with(other))) {
        merge(&here.unpacked(package)?, &part)?;
    }
    let (start, script) = (part.join(START), START_SCRIPT.replace('%', Architecture::HOST.name()));
    write(&start, &script)?;
    let made = fs::set_permissions(&start, Permissions::from_mode(0o755));
    made.map_err(|error| Failure::io("write", &start, &error))?;
    publish(&part, &whole)?;
    Ok(Some(rustc))
}

/// The same for programs that ship; the pinned toolchain is given what it lacks, if that can be had.
pub(crate) fn provide(
    architecture: Architecture,
    is_offline: bool,
    repository: &Repository,
    signals: &Signals,
) -> Result<Option<PathBuf>, Failure> {
    if has_library(architecture, repository, signals)? {
        return Ok(None);
    }
    let target = architecture.target();
    if is_offline {
        let what = format!("Rust has no standard library for {target}");
        let advice = format!("where there is a network, run in the checkout: rustup target add {target}");
        return Err(Failure::new(what, "nothing is fetched with --offline", advice));
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(repository.path("")).args(["target", "add", &target]);
    let added = process::ask(&mut rustup, signals);
    signals.check()?;
    if let Ok(Ok(_)) = added {
        return Ok(None);
    }
    let cache = Cache::find()?;
    let _lock = cache.lock(signals, || {})?;
    let day = (super::epoch(repository, signals)? / 86_400).to_string();
    find(architecture, &cache, &day, repository, signals)
}

/// Whether the toolchain that the checkout pins has it.
fn has_library(architecture: Architecture, repository: &Repository, signals: &Signals) -> Result<bool, Failure> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(repository.path(""));
    rustc.args(["--print", "target-libdir", "--target", &architecture.target()]);
    Ok(process::ask(&mut rustc, signals)?.is_ok_and(|folder| Path::new(folder.trim()).is_dir()))
}

/// Adds the files of an unpacked package, without copying their content.
fn merge(package: &Path, folder: &Path) -> Result<(), Failure> {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--link", "--no-target-directory"]).arg(package).arg(folder);
    let status = copy.status().map_err(|error| Failure::new("cannot run cp", plain(&error), "install coreutils"))?;
    if status.success() { Ok(()) } else { Err(Failure::new("cannot unpack the compiler", status, "see above")) }
}
