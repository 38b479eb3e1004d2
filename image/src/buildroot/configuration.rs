//! Buildroot's configuration of a build: the board's defconfig, what was asked for, and the owner's own lines, each of which
//! says the last word. What Buildroot makes of it is held against it: Kconfig drops a line of which a condition is not met.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::kernel_options::settings;
use super::make::Make;
use super::{BuildrootOptions, Places};
use crate::failure::Failure;
use crate::product::Board;

/// The packages that run models.
const MODEL_SERVERS: [&str; 3] = ["BR2_PACKAGE_OLLAMA", "BR2_PACKAGE_LLAMA_SERVER", "BR2_PACKAGE_LLAMA_CPP_SERVER"];

/// What Buildroot is to be configured as.
#[derive(Debug)]
pub(super) struct Configuration {
    text: String,
}

impl Configuration {
    /// Puts it together; `ollama` is the folder that takes the place of the release.
    pub(super) fn of(options: &BuildrootOptions, places: &Places, ollama: Option<&Path>) -> Result<Self, Failure> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error));
        let mut text = read(&defconfig(&places.external, options.board))?;
        text.push_str(&asked(options, places, ollama));
        for fragment in &options.local_fragment {
            text.push_str(&read(fragment)?);
        }
        Ok(Self { text })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether our programs are built inside Buildroot.
    pub(super) fn builds_our_programs(&self) -> bool {
        self.is_empty("BR2_PACKAGE_LLMBASEDOS_PREBUILT")
    }

    /// Whether there may be something to run models: a package, or what the owner lays over the root.
    pub(super) fn may_have_model_server(&self) -> bool {
        MODEL_SERVERS.iter().any(|name| self.value(name) == Some("y")) || !self.is_empty("BR2_ROOTFS_OVERLAY")
    }

    fn is_empty(&self, name: &str) -> bool {
        matches!(self.value(name), None | Some("\"\""))
    }

    fn value(&self, name: &str) -> Option<&str> {
        settings(&self.text).filter(|setting| setting.name == name).last()?.value
    }

    /// Has Buildroot take it, and looks at what came of it.
    pub(super) fn write(&self, make: &Make<'_>) -> Result<(), Failure> {
        let wanted = make.places.output.join("wanted_defconfig");
        fs::write(&wanted, &self.text).map_err(|error| Failure::io("write", &wanted, &error))?;
        make.configure(&wanted)?;
        let written = make.places.output.join(".config");
        let found = fs::read_to_string(&written).map_err(|error| Failure::io("read", &written, &error))?;
        let lost = lost(&self.text, &found);
        if lost.is_empty() {
            return Ok(());
        }
        let advice = "add what each option depends on, or leave the line away: `make menuconfig` shows it";
        Err(Failure::new("Buildroot does not take what it was told", lost.join("\n"), advice))
    }
}

/// The file with the configuration of a board.
pub(super) fn defconfig(external: &Path, board: Board) -> PathBuf {
    external.join("configs").join(format!("llmbasedos_{}_defconfig", board.name()))
}

/// The lines of what was asked for on the command line.
fn asked(options: &BuildrootOptions, places: &Places, ollama: Option<&Path>) -> String {
    let mut lines = String::from("\n");
    if options.lite {
        lines.push_str("# BR2_PACKAGE_OLLAMA is not set\nBR2_PACKAGE_LLAMA_SERVER=y\n");
    }
    if options.ollama_gpu {
        lines.push_str("BR2_PACKAGE_OLLAMA_GPU=y\n");
    }
    if let Some(ollama) = ollama {
        lines.push_str(&format!("BR2_PACKAGE_OLLAMA_LOCAL=\"{}\"\n", ollama.display()));
    }
    // A list of sources is one of where they are to be had.
    if options.offline && !options.list_sources {
        // What lies there flat is found as well (Buildroot manual, "Location of downloaded packages").
        let site = places.downloads.display();
        lines.push_str(&format!("BR2_PRIMARY_SITE=\"file://{site}\"\nBR2_PRIMARY_SITE_ONLY=y\n"));
    }
    lines
}

/// The lines that are not as they were wanted, each with what is there. Of two about the same the last one counts.
fn lost(wanted: &str, found: &str) -> Vec<String> {
    let found: BTreeMap<&str, Option<&str>> = settings(found).map(|setting| (setting.name, setting.value)).collect();
    let wanted: BTreeMap<&str, Option<&str>> = settings(wanted).map(|setting| (setting.name, setting.value)).collect();
    let is_lost = |(name, value): &(&str, Option<&str>)| found.get(name).copied().flatten() != *value;
    let words = |value: Option<&str>| value.map_or("not set".to_owned(), str::to_owned);
    let lost = wanted.into_iter().filter(is_lost);
    lost.map(|(name, value)| format!("{name} is {}, not {}", words(found.get(name).copied().flatten()), words(value)))
        .collect()
}

/// What a file says of a name: the text between `NAME=` and the end of the line.
pub(super) fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_about_a_model_server_counts() {
        let has_model_server = |text: &str| Configuration { text: text.to_owned() }.may_have_model_server();
        assert!(has_model_server("BR2_PACKAGE_OLLAMA=y\n"));
        assert!(has_model_server(
            "BR2_PACKAGE_OLLAMA=y\n# BR2_PACKAGE_OLLAMA is not set\nBR2_PACKAGE_LLAMA_SERVER=y\n"
        ));
        assert!(!has_model_server("BR2_PACKAGE_OLLAMA=y\n# BR2_PACKAGE_OLLAMA is not set\n"));
        assert!(has_model_server("# BR2_PACKAGE_OLLAMA is not set\nBR2_ROOTFS_OVERLAY=\"/home/me/root\"\n"));
    }
}
