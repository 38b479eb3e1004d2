//! A build in a folder in which there was one before. Buildroot does not look at a package again that is built, and takes
//! nothing away that was installed (its manual, "Understanding when a full rebuild is necessary").

use std::collections::BTreeMap;
use std::fs;

use super::configuration::Configuration;
use super::kernel_options::settings;
use super::make::Make;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// What the folder was built by last.
const KEPT: &str = "built_defconfig";
/// How the options begin that tell where sources come from, not what is built.
const SITES: &str = "BR2_PRIMARY_SITE";

/// Takes away what must not stay: everything, if another system is to be built now, else what is built from files of which
/// Buildroot does not see whether they have changed.
pub(super) fn prepare(make: &Make<'_>, configuration: &Configuration, terminal: &Terminal) -> Result<(), Failure> {
    let kept = make.places.output.join(KEPT);
    let wanted = format!("BUILDROOT={}\n{}", make.tree.version(), configuration.text());
    match fs::read_to_string(&kept) {
        Ok(before) if is_other(&before, &wanted) => {
            let stage = terminal.stage("again", "another system than last time", "removing what was built");
            make.target("clean")?;
            stage.finish("all of it is built anew");
        }
        _ => {
            make.target("llmbasedos-dirclean")?;
            if make.options.ollama.is_some() {
                make.target("ollama-dirclean")?;
            }
        }
    }
    fs::write(&kept, wanted).map_err(|error| Failure::io("write", &kept, &error))
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
}
