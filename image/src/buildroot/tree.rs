//! The tree of Buildroot: a release of which everything here is known to build.

use std::fs;
use std::path::{Path, PathBuf};

use super::configuration::value_of;
use crate::failure::{Failure, plain};
use crate::repository::{Repository, short};

/// The release. A later one of the same year and month has only had mistakes mended (Buildroot manual, "Release
/// Engineering").
const RELEASE: &str = "2026.02";
/// The one that everything was tried with.
const TRIED: &str = "2026.02.3";
/// Where it is to be had.
pub(super) const SITES: [&str; 2] =
    ["https://gitlab.com/buildroot.org/buildroot.git", "https://github.com/buildroot/buildroot.git"];

/// Buildroot's own files.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
    version: String,
}

impl Tree {
    /// The one that is stated, or that of the checkout's build folder; refuses another release.
    pub(super) fn find(stated: Option<&Path>, repository: &Repository) -> Result<Self, Failure> {
        let folder = stated.map_or_else(|| repository.path("build/buildroot/tree"), Path::to_owned);
        let makefile = folder.join("Makefile");
        let what = || format!("there is no Buildroot in {}", short(&folder));
        let text =
            fs::read_to_string(&makefile).map_err(|error| Failure::new(what(), plain(&error), advice(&folder)))?;
        let version = version(&text).ok_or_else(|| {
            Failure::new(what(), format!("{} does not say its version", makefile.display()), advice(&folder))
        })?;
        if version != RELEASE && !version.starts_with(&format!("{RELEASE}.")) {
            let why = format!("it is {version}, and buildroot-config is for {RELEASE}");
            return Err(Failure::new(format!("{} is another Buildroot", short(&folder)), why, advice(&folder)));
        }
        let folder = fs::canonicalize(&folder).map_err(|error| Failure::io("find", &folder, &error))?;
        Ok(Self { version: version.to_owned(), folder })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

fn advice(folder: &Path) -> String {
    let folder = folder.display();
    let [first, second] = SITES;
    format!(
        "git clone --depth 1 --branch {TRIED} {first} {folder}\n\
         (or from {second}), or unpack buildroot-{TRIED}.tar.xz of buildroot.org there, or say --buildroot DIR"
    )
}

/// `2026.02.3` of `export BR2_VERSION := 2026.02.3`.
fn version(makefile: &str) -> Option<&str> {
    value_of(makefile, "export BR2_VERSION :").map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(version: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("Makefile"), format!("# Makefile\nexport BR2_VERSION := {version}\n"))
            .expect("written");
        let repository = Repository::find().expect("the checkout");
        Tree::find(Some(folder.path()), &repository)
            .map(|tree| tree.version().to_owned())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_release_is_known_by_its_makefile() {
        assert_eq!(find("2026.02.3").as_deref(), Ok("2026.02.3"));
        assert_eq!(find("2026.02").as_deref(), Ok("2026.02"));
        let other = find("2026.05.1").expect_err("another release");
        assert!(other.contains("it is 2026.05.1, and buildroot-config is for 2026.02"), "{other}");
        assert!(find("2026.020").is_err());
    }

    #[test]
    fn who_has_none_is_told_how_to_get_it() {
        let repository = Repository::find().expect("the checkout");
        let failure = Tree::find(Some(Path::new("/nowhere")), &repository).expect_err("nothing is there");
        let Failure::Error { what, advice, .. } = failure else { panic!("an error") };
        assert_eq!(what, "there is no Buildroot in /nowhere");
        assert!(advice.to_string().contains("git clone --depth 1 --branch 2026.02.3"), "{advice}");
    }
}
