//! The rules that `buildroot-config/` keeps, as far as they can be looked at without Buildroot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::EXTERNAL;
use super::again::files_below;
use super::configuration::{defconfig, value_of};
use super::kernel_options::{Setting, fragments, settings};
use crate::product::Board;
use crate::release::PROGRAMS;
use crate::repository::Repository;

fn external() -> PathBuf {
    Repository::find().expect("the checkout").path(EXTERNAL)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder whose names end so.
fn files(folder: &Path, end: &str) -> BTreeSet<PathBuf> {
    let ends = |path: &PathBuf| path.to_string_lossy().ends_with(end);
    files_below(folder).expect("a folder").into_iter().filter(ends).collect()
}

/// The configuration of a board, with its name.
fn boards() -> Vec<(&'static str, String)> {
    let boards = Board::value_variants().iter();
    boards.map(|board| (board.name(), read(&defconfig(&external(), *board)))).collect()
}

#[test]
fn each_board_has_a_configuration_of_which_every_line_is_an_option() {
    let found = files(&external().join("configs"), "_defconfig");
    assert_eq!(found.len(), Board::value_variants().len(), "{found:?}");
    for (board, text) in boards() {
        let options: Vec<Setting<'_>> = settings(&text).collect();
        let lines =
            text.lines().filter(|line| !line.is_empty() && (!line.starts_with('#') || line.ends_with("is not set")));
        assert_eq!(options.len(), lines.count(), "{board}");
        let names: BTreeSet<&str> = options.iter().map(|option| option.name).collect();
        assert_eq!(names.len(), options.len(), "{board} names an option twice");
        assert!(names.iter().all(|name| name.starts_with("BR2_")), "{board}: {names:?}");
    }
}

#[test]
fn what_a_configuration_names_is_there() {
    for (board, text) in boards() {
        let named = text.split(['"', ' ']).filter_map(|word| word.strip_prefix("$(BR2_EXTERNAL_LLMBASEDOS_PATH)/"));
        let mut count = 0;
        for path in named {
            assert!(external().join(path).exists(), "{board}: {path}");
            count += 1;
        }
        assert!(count > 5, "{board} names {count} files");
    }
}

#[test]
fn no_image_has_a_shell_an_init_or_a_source_without_a_hash() {
    for (board, text) in boards() {
        let has = |line: &str| text.lines().any(|one| one == line);
        for line in [
            "BR2_INIT_NONE=y",
            "BR2_SYSTEM_BIN_SH_NONE=y",
            "# BR2_PACKAGE_BUSYBOX is not set",
            "BR2_DOWNLOAD_FORCE_CHECK_HASHES=y",
            "BR2_REPRODUCIBLE=y",
            "BR2_PACKAGE_LLMBASEDOS=y",
        ] {
            assert!(has(line), "{board} lacks {line}");
        }
        let arguments = value_of(&text, "BR2_ROOTFS_POST_SCRIPT_ARGS").expect("the hooks know the board");
        assert_eq!(arguments.trim_matches('"'), board);
    }
}

#[test]
fn the_kernels_fragments_do_not_contradict_each_other() {
    let mut used = BTreeSet::new();
    for (board, text) in boards() {
        let mut said: BTreeMap<String, (PathBuf, Setting<'_>)> = BTreeMap::new();
        let texts: Vec<(PathBuf, String)> =
            fragments(&text, &external()).into_iter().map(|path| (path.clone(), read(&path))).collect();
        for (path, text) in &texts {
            used.insert(path.clone());
            for setting in settings(text) {
                assert!(setting.name.starts_with("CONFIG_"), "{}:{}", path.display(), setting.line);
                let first = said.entry(setting.name.to_owned()).or_insert_with(|| (path.clone(), setting));
                assert_eq!(
                    first.1.value,
                    setting.value,
                    "{board}: {} in {} and {}",
                    setting.name,
                    first.0.display(),
                    path.display()
                );
                let is_twice = first.0 == *path && first.1.line != setting.line;
                assert!(!is_twice, "{}:{}: {} stands there twice", path.display(), setting.line, setting.name);
            }
        }
        for wanted in ["CONFIG_EROFS_FS", "CONFIG_DM_VERITY", "CONFIG_SECURITY_LANDLOCK", "CONFIG_EFI_STUB"] {
            assert_eq!(said.get(wanted).and_then(|(_, setting)| setting.value), Some("y"), "{board}: {wanted}");
        }
    }
    // One is for the tests of Wi-Fi alone, and is asked for by their own configuration.
    let unused: Vec<PathBuf> = files(&external().join("board"), ".config").difference(&used).cloned().collect();
    let [one] = unused.as_slice() else { panic!("used by no board: {unused:?}") };
    assert!(one.ends_with("board/kernel/test-wifi.config"), "{one:?}");
}

#[test]
fn each_package_is_listed_and_what_it_fetches_has_a_hash() {
    let list = read(&external().join("Config.in"));
    let mut fetching = Vec::new();
    for folder in fs::read_dir(external().join("package")).expect("packages").map(|entry| entry.expect("read").path()) {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let source = format!("source \"$BR2_EXTERNAL_LLMBASEDOS_PATH/package/{name}/Config.in\"");
        assert!(list.contains(&source), "{name} is not in Config.in");
        let option = format!("config BR2_PACKAGE_{}\n", name.to_uppercase().replace('-', "_"));
        assert!(read(&folder.join("Config.in")).contains(&option), "{name}: no {option}");
        let recipe = read(&folder.join(format!("{name}.mk")));
        let hashes = fs::read_to_string(folder.join(format!("{name}.hash"))).unwrap_or_default();
        let fetches = recipe.lines().any(|line| line.contains("_SITE = ") && line.contains("://"))
            || recipe.contains("_SITE = $(call github,");
        let has_hash = hashes.lines().any(|line| line.starts_with("sha256  ") && line.split_whitespace().count() == 3);
        assert!(!fetches || has_hash, "{name} fetches what has no hash");
        fetching.extend(fetches.then_some(name));
    }
    fetching.sort();
    assert_eq!(fetching, ["ollama", "systemd-stub"]);
}

#[test]
fn the_release_of_ollama_has_a_hash_for_each_kind_of_machine() {
    let recipe = read(&external().join("package/ollama/ollama.mk"));
    let version = value_of(&recipe, "OLLAMA_VERSION ").expect("stated").trim();
    let hashes = read(&external().join("package/ollama/ollama.hash"));
    assert!(hashes.contains(&format!("/v{version}/")), "the hashes are those of another release than {version}");
    for machine in ["amd64", "arm64"] {
        let ending = format!("  ollama-linux-{machine}.tar.zst");
        let is_its = |line: &str| line.starts_with("sha256  ") && line.ends_with(&ending);
        assert!(hashes.lines().any(is_its), "{machine}");
    }
}

#[test]
fn the_kernels_version_has_a_hash_and_is_the_same_everywhere() {
    let hashes = read(&external().join("patches/linux/linux.hash"));
    let versions: BTreeSet<String> = boards()
        .iter()
        .map(|(_, text)| {
            value_of(text, "BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE").expect("stated").trim_matches('"').to_owned()
        })
        .collect();
    let [version] = versions.iter().collect::<Vec<_>>()[..] else { panic!("one: {versions:?}") };
    let file = format!("linux-{version}.tar.xz");
    let is_its = |line: &str| line.starts_with("sha256  ") && line.ends_with(&file);
    assert!(hashes.lines().any(is_its), "{file} has no hash");
}

#[test]
fn the_package_of_our_programs_installs_what_ships() {
    let recipe = read(&external().join("package/llmbasedos/llmbasedos.mk"));
    let programs = value_of(&recipe, "LLMBASEDOS_PROGRAMS ").expect("listed");
    assert_eq!(programs.split_whitespace().collect::<Vec<_>>(), PROGRAMS);
}
