//! The kernel's modules that go into the image, with what they need, in the order in which they can be loaded: there is
//! no modprobe in it. Each is copied under a name that begins with its place in that order, and unpacked: what it lies in
//! is packed as a whole, by what is faster to unpack.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Tools;
use crate::cache::make_folder;
use crate::failure::Failure;
use crate::process::{self, Running};
use crate::signals::Signals;

/// The watchdogs, and what it takes to find and check the root, on a disk of QEMU's and on the card of a Raspberry Pi. The
/// sums are asked for by a name of their own, not by that of their module.
pub(crate) const FIRST: &[&str] = &[
    "i6300esb",
    "bcm2835_wdt",
    "virtio_blk",
    "bcm2835",
    "sdhci-iproc",
    "crc32c_generic",
    "sha256-arm64",
    "erofs",
    "dm-verity",
];
/// Everything else.
const SECOND: &[&str] = &[
    "ext4",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "quota_v2",
    "tpm_tis",
    "tpm_crb",
    "virtio_net",
    "virtio-rng",
    "phy-generic",
    "dwc2",
    "smsc95xx",
    "cdc_ether",
    "bcm2835-rng",
];

/// What goes beside that into a root with wpa_supplicant, of a kernel that was built for everything: the radios of the
/// Raspberry Pi and of common PCs, and those that tests simulate. Sums and ciphers of Wi-Fi are asked for when a network is
/// joined, and no module is loaded any more then.
const RADIOS: &[&str] = &["ccm", "cmac", "gcm", "brcmfmac", "brcmfmac-wcc", "iwlmvm", "mac80211_hwsim"];

/// The modules of a kernel, by name. One that has no file is part of the kernel itself.
#[derive(Debug)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    /// Whether the kernel was configured for this system alone: what it has as a module is there to be loaded.
    is_own: bool,
}

impl Modules {
    /// Those below `/lib/modules/<release>` of an unpacked kernel package.
    pub(crate) fn read(package: &Path, release: &str) -> Result<Self, Failure> {
        let mut files = BTreeMap::new();
        let folders = [package.join("lib/modules").join(release), package.join("usr/lib/modules").join(release)];
        let mut unread: Vec<PathBuf> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
        while let Some(folder) = unread.pop() {
            let entries = fs::read_dir(&folder).map_err(|error| Failure::io("read", &folder, &error))?;
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() && !path.is_symlink() {
                    unread.push(path);
                } else if let Some(name) = name_of(&path) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Self { files, is_own: false })
    }

    /// The same of a kernel that was configured for this system alone.
    pub(crate) fn of_own_kernel(self) -> Self {
        Self { is_own: true, ..self }
    }

    /// The names of what is loaded from the root. All of an own kernel's: PID 1 cannot know which radio the firmware of a
    /// machine will show it a moment later, and the drivers of those that are not there are 6 MB in all.
    pub(crate) fn of_root(&self, has_wifi: bool) -> Vec<&str> {
        if self.is_own {
            return self.files.keys().map(String::as_str).collect();
        }
        let radios = if has_wifi { RADIOS } else { &[] };
        [SECOND, radios].concat()
    }

    /// Copies the modules of `wanted` and what they need, but for those in `there`, into `folder`; answers their names.
    pub(crate) fn copy(
        &self,
        wanted: &[&str],
        there: &[String],
        folder: &Path,
        tools: &Tools<'_>,
    ) -> Result<Vec<String>, Failure> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(&plain_name(name), there, &mut order, tools)?;
        }
        make_folder(folder)?;
        for (place, name) in order.iter().enumerate() {
            let Some(source) = self.files.get(name) else { continue };
            let target = folder.join(format!("{place:03}-{name}.ko"));
            if source.extension().is_some_and(|extension| extension == "xz") {
                unpack(source, &target, tools.signals)?;
            } else {
                fs::copy(source, &target).map_err(|error| Failure::io("write", &target, &error))?;
            }
        }
        Ok(order)
    }

    fn add(&self, name: &str, there: &[String], order: &mut Vec<String>, tools: &Tools<'_>) -> Result<(), Failure> {
        let is_there = order.iter().chain(there).any(|known| known == name);
        let Some(file) = self.files.get(name).filter(|_| !is_there) else { return Ok(()) };
        let mut ask = super::tool(tools.host, "modinfo");
        let said = process::ask(ask.args(["--field", "depends"]).arg(file), tools.signals)?;
        let needs = said.map_err(|why| Failure::new(format!("cannot read {}", file.display()), why, "report this"))?;
        for needed in needs.trim().split(',').filter(|needed| !needed.is_empty()) {
            self.add(&plain_name(needed), there, order, tools)?;
        }
        order.push(name.to_owned());
        Ok(())
    }
}

fn unpack(source: &Path, target: &Path, signals: &Signals) -> Result<(), Failure> {
    let output = File::create(target).map_err(|error| Failure::io("write", target, &error))?;
    let mut unpack = Command::new("xz");
    unpack.args(["--decompress", "--stdout"]).arg(source).stdout(output);
    let status = Running::start(&mut unpack)?.wait(signals, || {})?;
    let failed = || Failure::new(format!("cannot unpack {}", source.display()), status, "report this");
    if status.success() { Ok(()) } else { Err(failed()) }
}

/// The kernel takes `-` and `_` for the same.
fn plain_name(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(plain_name(name))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::disk::layout::Layout;

    const RELEASE: &str = "6.18.1";
    /// Names in their folders, each with what it needs.
    const KERNEL: [(&str, &str); 4] = [
        ("drivers/net/wireless/a/a-radio", "z_core,cfg80211"),
        ("drivers/net/wireless/a/z-core", "cfg80211"),
        ("drivers/other/erofs", ""),
        ("net/wireless/cfg80211", ""),
    ];

    /// A kernel's package with modules that modinfo can read.
    fn package() -> TempDir {
        let package = tempfile::tempdir().expect("a folder");
        for (path, needs) in KERNEL {
            let file = package.path().join(format!("usr/lib/modules/{RELEASE}/kernel/{path}.ko"));
            make_folder(file.parent().expect("inside")).expect("made");
            let words = package.path().join("words");
            fs::write(&words, format!("depends={needs}\0")).expect("written");
            let mut objcopy = Command::new("objcopy");
            objcopy.args(["-I", "binary", "-O", "elf64-x86-64", "--rename-section", ".data=.modinfo"]);
            assert!(objcopy.arg(&words).arg(&file).status().expect("binutils").success());
        }
        package
    }

    /// The files that a root gets, the first stage having loaded these.
    fn root(modules: &Modules, loaded: &[&str]) -> Vec<String> {
        let (work, signals) = (tempfile::tempdir().expect("a folder"), Signals::watch().expect("signals"));
        let tools = Tools { work: work.path(), host: None, layout: Layout::default(), epoch: 0, signals: &signals };
        let folder = work.path().join("modules");
        let loaded: Vec<String> = loaded.iter().map(|name| (*name).to_owned()).collect();
        modules.copy(&modules.of_root(true), &loaded, &folder, &tools).expect("copied");
        let files = fs::read_dir(&folder).expect("made").map(|entry| entry.expect("read").file_name());
        let mut names: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_module_of_an_own_kernel_is_loaded_after_what_it_needs() {
        let package = package();
        let modules = Modules::read(package.path(), RELEASE).expect("read").of_own_kernel();
        assert_eq!(root(&modules, &["erofs"]), ["000-cfg80211.ko", "001-z_core.ko", "002-a_radio.ko"]);
    }

    #[test]
    fn of_a_kernel_for_everything_only_what_is_named_is_loaded() {
        let package = package();
        let modules = Modules::read(package.path(), RELEASE).expect("read");
        assert_eq!(root(&modules, &[]), Vec::<String>::new());
    }
}
