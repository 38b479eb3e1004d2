//! A build in a folder in which there was one before. Buildroot does not look at a package again that is built, and takes
//! nothing away that was installed (its manual, "Understanding when a full rebuild is necessary").

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::configuration::Configuration;
use super::kernel_options::settings;
use super::make::Make;
use crate::cache::hex;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// What the folder was built by last.
const KEPT: &str = "built_defconfig";
/// How the options begin that tell where sources come from, not what is built.
const SITES: &str = "BR2_PRIMARY_SITE";
/// What is always taken anew where it is built at all: files that lie here, or are given, are copied without being compiled.
const COPIED: [&str; 3] = ["llmbasedos", "ollama", "rpi-firmware"];

/// Takes away what must not stay: everything, if another system is to be built now, else what is built from files of which
/// Buildroot does not see whether they have changed.
pub(super) fn prepare(make: &Make<'_>, configuration: &Configuration, terminal: &Terminal) -> Result<(), Failure> {
    let kept = make.places.output.join(KEPT);
    let patches = patches(&make.places.external)?;
    let wanted = format!("BUILDROOT={}\nPATCHES={patches}\n{}", make.tree.version(), configuration.text());
    match fs::read_to_string(&kept) {
        Ok(before) if is_other(&before, &wanted) => {
            let stage = terminal.stage("again", "another system than last time", "removing what was built");
            make.target("clean")?;
            stage.finish("all of it is built anew");
        }
        _ => COPIED.iter().try_for_each(|package| make.target(&format!("{package}-dirclean")))?,
    }
    fs::write(&kept, wanted).map_err(|error| Failure::io("write", &kept, &error))
}

/// A digest of the patches, which Buildroot puts into what it unpacks and does not look at again.
fn patches(external: &Path) -> Result<String, Failure> {
    let mut digest = Sha256::new();
    for file in files_below(&external.join("patches"))? {
        let text = fs::read(&file).map_err(|error| Failure::io("read", &file, &error))?;
        let name = file.strip_prefix(external).unwrap_or(&file).display().to_string();
        digest.update(format!("{name}\0{}\0", text.len()));
        digest.update(text);
    }
    Ok(hex(&digest.finalize()))
}

/// All files below a folder, in order.
pub(super) fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::io("read", folder, &error))?;
    let mut files = BTreeSet::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.insert(path);
        }
    }
    Ok(files)
}

/// Whether two configurations build something else. Of two lines about the same the last one counts.
fn is_other(before: &str, wanted: &str) -> bool {
    let said = |text| -> BTreeMap<&str, Option<&str>> {
        let settings = settings(text).filter(|setting| !setting.name.starts_with(SITES));
        settings.map(|setting| (setting.name, setting.value)).collect()
    };
    said(before) != said(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_package_or_buildroot_is_another_system_and_another_site_of_sources_is_not() {
        let before = "BUILDROOT=2026.02.3\nBR2_PACKAGE_OLLAMA=y\n";
        assert!(!is_other(before, before));
        assert!(!is_other(before, &format!("{before}# A remark\nBR2_PRIMARY_SITE=\"file:///downloads\"\n")));
        assert!(is_other(before, &format!("{before}# BR2_PACKAGE_OLLAMA is not set\n")));
        assert!(is_other(before, &before.replace("02.3", "02.4")));
    }

    #[test]
    fn a_patch_that_changes_is_another_system() {
        let external = tempfile::tempdir().expect("a folder");
        let patch = external.path().join("patches/linux/0001-a.patch");
        fs::create_dir_all(patch.parent().expect("inside")).expect("made");
        let with = |text: &str| {
            fs::write(&patch, text).expect("written");
            patches(external.path()).expect("read")
        };
        let (first, second, again) = (with("+a\n"), with("+b\n"), with("+a\n"));
        assert!(first != second && first == again);
    }
}
