//! What the machine that builds has to bring beside the sources: a build without a network fetches none of it.

use std::fs;

use super::tree::{SITES, Tree};
use crate::failure::Failure;
use crate::product::Board;
use crate::repository::Repository;

/// Debian's packages, as `scripts/build-image` installs them (`scripts/setup`).
const PACKAGES: [&str; 25] = [
    "bc",
    "binutils",
    "ca-certificates",
    "cpio",
    "cryptsetup-bin",
    "curl",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "file",
    "g++",
    "gcc",
    "git",
    "kmod",
    "libc6-dev",
    "make",
    "mtools",
    "patch",
    "perl",
    "python3",
    "rsync",
    "unzip",
    "wget",
    "xz-utils",
    "zstd",
];

/// One line for each kind.
pub(super) fn lines(board: Board, tree: &Tree, repository: &Repository) -> Result<[String; 3], Failure> {
    let pinned = repository.path("rust-toolchain.toml");
    let text = fs::read_to_string(&pinned).map_err(|error| Failure::io("read", &pinned, &error))?;
    let version = text.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap_or_default().trim_matches('"');
    Ok([
        format!("Buildroot  the tag {} of {}", tree.version(), SITES.join(" or ")),
        format!("Rust       {version} with cargo and the target {}", board.architecture().target()),
        format!("Debian     {}", PACKAGES.join(" ")),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The packages that stand in the script: each that it needs by name, and those of its tables for images.
    fn of_script() -> BTreeSet<String> {
        let script = Repository::find().expect("the checkout").path("scripts/setup");
        let script = fs::read_to_string(script).expect("read");
        let tables = script.split("<<<'").skip(1).filter_map(|rest| rest.split_once('\'')).map(|(table, _)| table);
        let in_tables = tables.flat_map(str::lines).filter_map(|line| line.split_once(' ')).map(|(_, package)| package);
        let always = ["gcc", "libc6-dev", "ca-certificates", "curl", "git"];
        for name in always {
            assert!(script.contains(&format!("need {name} ")), "{name}");
        }
        in_tables.chain(always).map(str::to_owned).collect()
    }

    #[test]
    fn the_packages_are_those_that_the_script_installs() {
        assert_eq!(of_script(), PACKAGES.map(str::to_owned).into());
    }

    #[test]
    fn rust_is_named_with_its_version_and_target() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("Makefile"), "export BR2_VERSION := 2026.02.3\n").expect("written");
        let repository = Repository::find().expect("the checkout");
        let tree = Tree::find(Some(folder.path()), &repository).expect("sound");
        let [buildroot, rust, _] = lines(Board::RaspberryPi4, &tree, &repository).expect("known");
        assert!(buildroot.contains("the tag 2026.02.3 of https://"), "{buildroot}");
        let words: Vec<&str> = rust.split_whitespace().collect();
        assert!(
            words.get(1).is_some_and(|version| version.starts_with(|digit: char| digit.is_ascii_digit())),
            "{rust}"
        );
        assert!(rust.ends_with("aarch64-unknown-linux-gnu"), "{rust}");
    }
}
