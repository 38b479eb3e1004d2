//! What a build is made of: the files that Buildroot's packages are unpacked from, and the crates of our own programs. All
//! of them have a hash that is checked before they are used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::make::Make;
use super::{Places, builder};
use crate::cache::{make_folder, publish, remove_folder};
use crate::failure::Failure;
use crate::process::{self, Running};
use crate::repository::Repository;
use crate::signals::Signals;
use crate::terminal::{Terminal, result, say};

/// A package of Buildroot's, of what `make show-info` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Package {
    /// `host-` before it where it is for the machine that builds.
    #[serde(skip)]
    pub(super) name: String,
    stamp_dir: Option<String>,
    dl_dir: String,
    downloads: Vec<Download>,
    hashes: Vec<String>,
}

/// A file of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Download {
    source: String,
    uris: Vec<String>,
}

impl Package {
    pub(super) fn of_info(json: &str) -> Result<Vec<Self>, serde_json::Error> {
        let packages: BTreeMap<String, Self> = serde_json::from_str(json)?;
        Ok(packages.into_iter().map(|(name, package)| Self { name, ..package }).collect())
    }

    /// Its folder in Buildroot's build folder.
    pub(super) fn folder(&self) -> Option<&str> {
        self.stamp_dir.as_deref()?.strip_prefix("build/")
    }
}

/// A file to bring.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// Its place in the folder of downloads; of a crate none, because cargo lays those there.
    path: String,
    /// The algorithm and its result, as a file of hashes has them; `None` where nothing is known of it.
    hash: Option<String>,
    site: String,
}

/// What stands for the place of a crate.
const NO_PLACE: &str = "-";

/// Prints what the machine that builds has to bring, and every file that the build takes: its hash, its place below the
/// folder of downloads, and where it is to be had.
pub(super) fn print(make: &Make<'_>, repository: &Repository) -> Result<(), Failure> {
    let sources = of_packages(&make.packages()?, make.tree.folder());
    let lock = repository.path("Cargo.lock");
    let text = fs::read_to_string(&lock).map_err(|error| Failure::io("read", &lock, &error))?;
    let crates = of_crates(&text).map_err(|error| Failure::new("Cargo.lock cannot be read", error, "report this"))?;
    for line in builder::lines(make.options.board, make.tree, repository)? {
        result(format_args!("# {line}"));
    }
    for Source { path, hash, site } in sources.iter().chain(&crates) {
        result(format_args!("{}  {path}  {site}", hash.as_deref().unwrap_or("none")));
    }
    say(format_args!(
        "{} files of Buildroot's packages and {} crates: hash, place below the folder of downloads, site",
        sources.len(),
        crates.len()
    ));
    say(
        "next     lay the files there; for the crates, in the checkout: cargo vendor --locked DOWNLOADS/llmbasedos/vendor",
    );
    say("         then scripts/build-image BOARD --downloads DOWNLOADS --offline");
    match sources.iter().chain(&crates).find(|source| source.hash.is_none()) {
        Some(source) => Err(Failure::new(format!("{} has no hash", source.site), "", "report this")),
        None => Ok(()),
    }
}

fn of_packages(packages: &[Package], tree: &Path) -> BTreeSet<Source> {
    let mut sources = BTreeSet::new();
    for package in packages {
        let hashes: String =
            package.hashes.iter().filter_map(|file| fs::read_to_string(tree.join(file)).ok()).collect();
        for download in &package.downloads {
            // `https|urlencode+https://…`: before the `+` stands by which means.
            let site = download.uris.iter().find(|uri| !uri.contains("sources.buildroot.net"));
            let site = site.map_or("", |uri| uri.split_once('+').map_or(uri.as_str(), |(_, address)| address));
            // What lies on this machine is not to be brought.
            if !site.contains("://") || site.starts_with("file:") {
                continue;
            }
            sources.insert(Source {
                path: format!("{}/{}", package.dl_dir, download.source),
                hash: hash_of(&hashes, &download.source),
                site: format!("{site}/{}", download.source),
            });
        }
    }
    sources
}

/// What files of hashes have for a file (Buildroot manual, "The .hash file"): one that nobody can forge.
fn hash_of(hashes: &str, file: &str) -> Option<String> {
    let known = |algorithm: &str| {
        hashes.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, hash, of] if name == algorithm && of == file => Some(format!("{name}  {hash}")),
            _ => None,
        })
    };
    known("sha256").or_else(|| known("sha512"))
}

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates that a `Cargo.lock` names, but for those that lie beside it.
fn of_crates(lock: &str) -> Result<BTreeSet<Source>, toml::de::Error> {
    let lock: Lock = toml::from_str(lock)?;
    let source = |Locked { name, version, checksum }| {
        checksum.map(|hash| Source {
            path: NO_PLACE.to_owned(),
            hash: Some(format!("sha256  {hash}")),
            // A package URL, <https://github.com/package-url/purl-spec>: cargo knows where that is.
            site: format!("pkg:cargo/{name}@{version}"),
        })
    };
    Ok(lock.package.into_iter().filter_map(source).collect())
}

/// Lays the sources of the crates where the package of our programs looks for them: what `Cargo.lock` names, checked by
/// cargo, from its own cache where they are there.
pub(super) fn vendor(
    places: &Places,
    is_offline: bool,
    repository: &Repository,
    terminal: &Terminal,
    signals: &Signals,
) -> Result<(), Failure> {
    let (whole, lock) = (places.vendor(), repository.path("Cargo.lock"));
    let advice = format!("where there is a network, run in the checkout: cargo vendor --locked {}", whole.display());
    if is_offline {
        return held_against_lock(&whole, &repository.path(""), &advice, signals);
    }
    let kept = whole.join("Cargo.lock");
    let read = |path: &Path| fs::read(path).ok();
    if read(&kept).is_some_and(|kept| Some(kept) == read(&lock)) {
        return Ok(());
    }
    let stage = terminal.stage("crates", "sources of our programs", "laid beside the others");
    let part = whole.with_extension("part");
    remove_folder(&part)?;
    make_folder(&part)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repository.path("")).args(["vendor", "--locked", "--quiet"]).arg(&part);
    let said = process::ask(&mut cargo, signals)?;
    let advice = "look at the network, or lay them into --downloads DIR as --list-sources tells";
    said.map_err(|why| Failure::new("the crates cannot be fetched", why, advice))?;
    fs::copy(&lock, part.join("Cargo.lock")).map_err(|error| Failure::io("write", &kept, &error))?;
    remove_folder(&whole)?;
    publish(&part, &whole)?;
    stage.finish("there");
    Ok(())
}

/// Whether the crates that lie there are those that `Cargo.lock` names: cargo is asked before Buildroot has worked for
/// half an hour until it asks the same. File by file it looks at them as it compiles them.
fn held_against_lock(vendor: &Path, checkout: &Path, advice: &str, signals: &Signals) -> Result<(), Failure> {
    if !vendor.is_dir() {
        return Err(Failure::new("the crates are not there", format!("there is no {}", vendor.display()), advice));
    }
    // As the package of our programs takes them (buildroot-config/package/llmbasedos).
    let mut cargo = Command::new("cargo");
    cargo.current_dir(checkout).args(["fetch", "--quiet", "--offline", "--locked"]);
    cargo.args(["--config", "source.crates-io.replace-with=\"vendored\"", "--config"]);
    cargo.arg(format!("source.vendored.directory=\"{}\"", vendor.display()));
    let status = Running::start(&mut cargo)?.wait(signals, || {})?;
    let why = || format!("cargo tells above what {} lacks", vendor.display());
    if status.success() { Ok(()) } else { Err(Failure::new("the crates are not those of Cargo.lock", why(), advice)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_hash_and_its_site() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(
            folder.path().join("zlib.hash"),
            "# From the site\nmd5  00  zlib.tar.xz\nsha256  ab12  zlib.tar.xz\n",
        )
        .expect("written");
        let info = r#"{
            "host-zlib": {"dl_dir": "zlib", "hashes": ["zlib.hash"], "downloads": [
                {"source": "zlib.tar.xz", "uris": ["https|urlencode+https://zlib.net/pub"]}]},
            "zlib": {"dl_dir": "zlib", "hashes": ["zlib.hash"], "downloads": [
                {"source": "zlib.tar.xz", "uris": ["https|urlencode+https://zlib.net/pub"]}]},
            "other": {"dl_dir": "other", "downloads": [{"source": "other.tar", "uris": ["https+https://a.org"]}]},
            "mine": {"dl_dir": "mine", "downloads": [{"source": "mine.tar", "uris": ["/checkout"]}]},
            "virtual": {"virtual": true}}"#;
        let packages = Package::of_info(info).expect("sound");
        let source = |path: &str, hash: Option<&str>, site: &str| Source {
            path: path.to_owned(),
            hash: hash.map(str::to_owned),
            site: site.to_owned(),
        };
        let expected = BTreeSet::from([
            source("zlib/zlib.tar.xz", Some("sha256  ab12"), "https://zlib.net/pub/zlib.tar.xz"),
            source("other/other.tar", None, "https://a.org/other.tar"),
        ]);
        assert_eq!(of_packages(&packages, folder.path()), expected);
    }

    #[test]
    fn without_a_network_the_crates_are_what_lies_there_if_the_lock_names_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let (repository, signals) = (Repository::find().expect("the checkout"), Signals::watch().expect("signals"));
        let (vendor, other) = (folder.path().join("vendor"), folder.path().join("other"));
        let refused = |checkout: &Path| match held_against_lock(&vendor, checkout, "vendor them", &signals) {
            Ok(()) => None,
            Err(Failure::Error { what, why, .. }) => Some(format!("{what}: {why}")),
            Err(failure) => panic!("{failure}"),
        };
        assert!(refused(&repository.path("")).is_some_and(|said| said.contains("there is no ")));
        make_folder(&vendor).expect("made");
        assert!(refused(&repository.path("")).is_some_and(|said| said.contains("not those of Cargo.lock")));

        make_folder(&other.join("src")).expect("made");
        let names = "name = \"other\"\nversion = \"0.1.0\"\n";
        fs::write(other.join("Cargo.toml"), format!("[package]\n{names}")).expect("written");
        fs::write(other.join("Cargo.lock"), format!("version = 4\n\n[[package]]\n{names}")).expect("written");
        fs::write(other.join("src/lib.rs"), "").expect("written");
        assert_eq!(refused(&other), None, "it needs no crates");
    }

    #[test]
    fn the_crates_are_those_of_the_lock() {
        let lock = "version = 4\n[[package]]\nname = \"init\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"libc\"\n\
                    version = \"0.2.1\"\nsource = \"registry+x\"\nchecksum = \"cd34\"\n";
        let crates: Vec<Source> = of_crates(lock).expect("sound").into_iter().collect();
        let [one] = crates.as_slice() else { panic!("one: {crates:?}") };
        assert_eq!(one.hash.as_deref(), Some("sha256  cd34"));
        assert_eq!(one.site, "pkg:cargo/libc@0.2.1");
    }
}
