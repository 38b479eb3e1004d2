//! The kernel's fragments against the configuration that came of them. Kconfig drops a line of which a condition is not
//! met, and says nothing; so each line is looked up again.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use super::configuration::value_of;
use crate::failure::Failure;
use crate::terminal::say;

/// The options of Buildroot that name the files, blanks between them.
const FILES: [&str; 2] = ["BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE", "BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES"];
/// What stands for the folder of the external tree in them.
const EXTERNAL: &str = "$(BR2_EXTERNAL_LLMBASEDOS_PATH)";

/// An option with what a file says of it: `y`, `m`, a number, a text in quotes; `None` for one that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting<'a> {
    /// In the file, from 1.
    pub(super) line: usize,
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
}

/// A line of a fragment that does not hold.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    file: PathBuf,
    line: usize,
    wanted: String,
    found: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, wanted, found } = self;
        write!(f, "{}:{line}: {wanted}, and the kernel has {found}", file.display())
    }
}

/// Checks the fragments that Buildroot's configuration names, and fails with each line that does not hold.
pub(super) fn run(buildroot_config: &Path, kernel_config: &Path, external: &Path) -> Result<(), Failure> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error));
    let (buildroot, kernel) = (read(buildroot_config)?, read(kernel_config)?);
    let mut broken = Vec::new();
    let files = fragments(&buildroot, external);
    for file in &files {
        broken.extend(check(file, &read(file)?, &kernel));
    }
    if files.is_empty() {
        let why = format!("it names none in {}", FILES.join(" or "));
        let what = format!("{}: no fragments of the kernel", buildroot_config.display());
        return Err(Failure::new(what, why, "start from a defconfig of buildroot-config/configs"));
    }
    if broken.is_empty() {
        say(format_args!("kernel   every line of {} fragments holds", files.len()));
        return Ok(());
    }
    let what = format!("{} lines of the kernel's fragments do not hold", broken.len());
    let why = broken.iter().fold(String::new(), |mut text, one| {
        let _ = writeln!(text, "{one}");
        text
    });
    Err(Failure::new(what, why.trim_end(), "add what each option depends on, or leave the line away"))
}

/// The files that Buildroot's configuration names, in their order.
pub(super) fn fragments(buildroot: &str, external: &Path) -> Vec<PathBuf> {
    let lists = FILES.iter().filter_map(|name| value_of(buildroot, name));
    let names = lists.flat_map(|list| list.trim_matches('"').split_whitespace());
    names.map(|name| PathBuf::from(name.replace(EXTERNAL, &external.display().to_string()))).collect()
}

fn check(file: &Path, fragment: &str, kernel: &str) -> Vec<Broken> {
    let kernel: HashMap<&str, &str> =
        settings(kernel).filter_map(|setting| Some((setting.name, setting.value?))).collect();
    let broken = |setting: Setting<'_>| {
        let found = kernel.get(setting.name).copied();
        let words = |value: Option<&str>| value.map_or_else(|| "it not set".to_owned(), str::to_owned);
        (found != setting.value).then(|| Broken {
            file: file.to_owned(),
            line: setting.line,
            wanted: format!("{} wants {}", setting.name, words(setting.value)),
            found: words(found),
        })
    };
    settings(fragment).filter_map(broken).collect()
}

/// What a configuration in Kconfig's form says (Linux, `Documentation/kbuild/kconfig.rst`).
pub(super) fn settings(text: &str) -> impl Iterator<Item = Setting<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line_number = index + 1;
        let unset = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
        let (name, value) = match unset {
            Some(name) => (name, None),
            None if line.starts_with('#') => return None,
            None => line.split_once('=').map(|(name, value)| (name, Some(value)))?,
        };
        // What is set to `n` is not set.
        Some(Setting { line: line_number, name, value: value.filter(|value| *value != "n") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "CONFIG_EROFS_FS=y\n# CONFIG_MODULES is not set\nCONFIG_LSM=\"landlock\"\nCONFIG_CFG80211=m\n";

    fn broken(fragment: &str) -> Vec<String> {
        check(Path::new("a.config"), fragment, KERNEL).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_holds_is_not_spoken_of() {
        let fragment = "# A remark\nCONFIG_EROFS_FS=y\n# CONFIG_MODULES is not set\n# CONFIG_NEVER_HEARD is not set\n\
                        CONFIG_LSM=\"landlock\"\nCONFIG_CFG80211=m\nCONFIG_SWAP=n\n";
        assert_eq!(broken(fragment), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_does_not_hold_is_named_with_what_the_kernel_has() {
        assert_eq!(
            broken("\nCONFIG_CFG80211=y\n# CONFIG_EROFS_FS is not set\nCONFIG_DM_VERITY=y\n"),
            [
                "a.config:2: CONFIG_CFG80211 wants y, and the kernel has m",
                "a.config:3: CONFIG_EROFS_FS wants it not set, and the kernel has y",
                "a.config:4: CONFIG_DM_VERITY wants y, and the kernel has it not set",
            ]
        );
    }

    #[test]
    fn the_files_are_those_that_buildroot_was_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let buildroot = file(
            "buildroot",
            "BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE=\"$(BR2_EXTERNAL_LLMBASEDOS_PATH)/base.config\"\n\
             BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES=\"$(BR2_EXTERNAL_LLMBASEDOS_PATH)/a.config\"\n",
        );
        let kernel = file("kernel", KERNEL);
        file("base.config", "CONFIG_EROFS_FS=y\n");
        let second = file("a.config", "CONFIG_SWAP=y\n");
        let failure = run(&buildroot, &kernel, folder.path()).expect_err("one does not hold").to_string();
        assert!(failure.contains(&format!("{}:1: CONFIG_SWAP wants y", second.display())), "{failure}");
        file("a.config", "CONFIG_CFG80211=m\n");
        run(&buildroot, &kernel, folder.path()).expect("all hold");
        file("buildroot", "BR2_x86_64=y\n");
        assert!(run(&buildroot, &kernel, folder.path()).is_err(), "nothing was checked");
    }
}
