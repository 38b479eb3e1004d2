//! Debian packages of which files go into the image: fetched by apt from the archive that this machine uses, checked
//! by apt's signatures, and unpacked in the cache. Nothing is installed, and no root is needed.
//!
//! The kernel is the newest of the first series since 6.12 that the archive has, in its stable part or its backports: that
//! one knows Landlock's fifth ABI and the watchdog that QEMU has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::architecture::Architecture;
use crate::cache::{Cache, make_folder, publish, remove_folder};
use crate::disk::esp::Grub;
use crate::disk::write;
use crate::failure::{Failure, plain};
use crate::process;
use crate::signals::Signals;

/// The first kernel that serves.
const FIRST_KERNEL: [u32; 2] = [6, 12];
/// The keys that the archive is signed with (package `debian-archive-keyring`, which every Debian has).
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// UEFI firmware for QEMU in the output folder, and what one that has never run keeps.
pub(super) const FIRMWARE: &str = "firmware.fd";
pub(super) const VARIABLES: &str = "variables.fd";
/// What apt is to know of the world: our lists and no others, and what the packages are for.
const CONFIGURATION: &str = r#"
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "@/sources";
Dir::State "@";
Dir::State::Lists "@/lists";
Dir::Cache "@/cache";
APT::Get::List-Cleanup "false";
APT::Sandbox::User "";
APT::Architecture "%";
APT::Architectures { "%"; };
Acquire::Languages "none";
Acquire::AllowReleaseInfoChange "true";
APT::Update::Error-Mode "any";
"#;

/// The unpacked packages of which files go into the image.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) kernel: PathBuf,
    /// That of the kernel.
    pub(super) release: String,
    e2fsck: PathBuf,
    certificates: PathBuf,
    pub(super) grub: Grub,
    architecture: Architecture,
    boot: PathBuf,
    firmware: PathBuf,
}

impl Packages {
    /// Fetches what is not there yet. `has_radios`: the kernel is one with the drivers of all that Debian runs on.
    pub(super) fn unpack(
        cache: &Cache,
        architecture: Architecture,
        has_radios: bool,
        day: &str,
        signals: &Signals,
    ) -> Result<Self, Failure> {
        let here = Archive::open(cache, Architecture::HOST, Release::This, day, signals)?;
        let there = Archive::open(cache, architecture, Release::This, day, signals)?;
        let (kernel, release) = there.kernel(has_radios)?;
        let e2fsck = there.unpacked("e2fsck-static")?;
        let certificates = here.unpacked("ca-certificates")?;
        let modules = there.unpacked(&format!("grub-efi-{}-bin", architecture.debian()))?;
        let modules = modules.join("usr/lib/grub").join(Grub::kind(architecture));
        let grub = Grub { programs: here.unpacked("grub-common")?.join("usr/bin"), modules };
        let boot = there.unpacked("systemd-boot-efi")?;
        let firmware = there.unpacked(match architecture {
            Architecture::X86_64 => "ovmf",
            Architecture::Aarch64 => "qemu-efi-aarch64",
        })?;
        Ok(Self { kernel, release, e2fsck, certificates, grub, architecture, boot, firmware })
    }

    /// The kernel as it is packed.
    pub(super) fn kernel_file(&self) -> PathBuf {
        self.kernel.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// What a kernel is told of a Raspberry Pi: its device tree of that name.
    pub(super) fn device_tree(&self, name: &str) -> PathBuf {
        self.kernel.join("usr/lib").join(format!("linux-image-{}/broadcom", self.release)).join(name)
    }

    /// Puts what of a root comes from packages into `tree`: what mends file systems, and whom a client of TLS trusts.
    pub(super) fn fill(&self, tree: &Path) -> Result<(), Failure> {
        let (programs, certificates) = (tree.join("usr/sbin"), tree.join("etc/ssl/certs"));
        make_folder(&programs)?;
        make_folder(&certificates)?;
        let e2fsck = self.e2fsck.join("sbin/e2fsck.static");
        fs::copy(&e2fsck, programs.join("e2fsck")).map_err(|error| Failure::io("copy", &e2fsck, &error))?;
        write(&certificates.join("ca-certificates.crt"), &self.certificates()?)
    }

    /// All that Mozilla trusts, one after the other.
    fn certificates(&self) -> Result<String, Failure> {
        let folder = self.certificates.join("usr/share/ca-certificates/mozilla");
        let entries = fs::read_dir(&folder).map_err(|error| Failure::io("read", &folder, &error))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let read = |file: &PathBuf| fs::read_to_string(file).map_err(|error| Failure::io("read", file, &error));
        files.iter().map(read).collect()
    }

    /// The program that starts a kernel that it carries.
    pub(super) fn stub(&self) -> PathBuf {
        self.boot.join(format!("usr/lib/systemd/boot/efi/linux{}.efi.stub", self.architecture.efi()))
    }

    /// Copies the firmware, and what it keeps before it has ever run, into `folder`.
    pub(super) fn copy_firmware(&self, folder: &Path) -> Result<(), Failure> {
        let copy = |name: &str, target: &str| {
            let source = self.firmware.join("usr/share").join(name);
            fs::copy(&source, folder.join(target)).map(|_| ()).map_err(|error| Failure::io("copy", &source, &error))
        };
        let (code, variables) = match self.architecture {
            Architecture::X86_64 => ("OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"),
            Architecture::Aarch64 => ("AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd"),
        };
        copy(code, FIRMWARE)?;
        copy(variables, VARIABLES)
    }
}

/// A release of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// That of this machine, with its backports.
    This,
    /// The one that is to come.
    Testing,
}

/// The archive, as apt sees it from here, for one kind of machine.
pub(super) struct Archive<'a> {
    folder: PathBuf,
    architecture: Architecture,
    day: &'a str,
    signals: &'a Signals,
}

impl<'a> Archive<'a> {
    /// Asks which archive this machine uses, and reads what it has. `day` keeps the lists for as long as it stays the
    /// same.
    pub(super) fn open(
        cache: &Cache,
        architecture: Architecture,
        release: Release,
        day: &'a str,
        signals: &'a Signals,
    ) -> Result<Self, Failure> {
        let folder = match release {
            Release::This => cache.path("apt").join(architecture.name()),
            Release::Testing => cache.path("apt").join(format!("{architecture}-testing")),
        };
        let archive = Self { folder, architecture, day, signals };
        for below in ["sources", "lists/partial", "cache/archives/partial", "packages"] {
            make_folder(&archive.folder.join(below))?;
        }
        let configuration = CONFIGURATION.replace('@', &archive.folder.display().to_string());
        archive.write("apt.conf", &configuration.replace('%', architecture.debian()))?;
        archive.write("sources/debian.sources", &archive.sources(release)?)?;
        let read_on = archive.folder.join("read-on");
        if fs::read_to_string(&read_on).is_ok_and(|text| text == day) {
            return Ok(archive);
        }
        archive.update()?;
        Ok(archive)
    }

    fn update(&self) -> Result<(), Failure> {
        self.run(Command::new("apt-get").arg("update"), "read what the archive has")?;
        self.write("read-on", self.day)
    }

    /// Looks once more after reading anew what the archive has: the versions of an older list may be gone.
    fn retried<T>(&self, look: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        look().or_else(|_| {
            self.signals.check()?;
            self.update()?;
            look()
        })
    }

    /// The sources of this machine, with what the release adds or in place of its own, as deb822 (sources.list(5)).
    fn sources(&self, release: Release) -> Result<String, Failure> {
        let mut list = Command::new("apt-get");
        list.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages", "Origin: Debian"]);
        let said = process::ask(&mut list, self.signals)?.map_err(|why| trouble("find the archive", why))?;
        let mut suites: BTreeSet<(String, String)> = BTreeSet::new();
        for (address, codename) in said.lines().filter_map(|line| line.split_once(' ')) {
            // Its updates have names such as `bookworm-security`.
            let is_whole = !codename.contains('-');
            let wanted = match release {
                Release::This if is_whole => vec![codename.to_owned(), format!("{codename}-backports")],
                Release::This => vec![codename.to_owned()],
                Release::Testing if is_whole => vec!["testing".to_owned()],
                Release::Testing => Vec::new(),
            };
            suites.extend(wanted.into_iter().map(|suite| (address.to_owned(), suite)));
        }
        if suites.is_empty() {
            return Err(trouble("find the archive", "apt names none".to_owned()));
        }
        let signed = if Path::new(KEYS).exists() { format!("Signed-By: {KEYS}\n") } else { String::new() };
        let source = |(address, suite): &(String, String)| {
            format!("Types: deb\nURIs: {address}\nSuites: {suite}\nComponents: main\n{signed}")
        };
        Ok(suites.iter().map(source).collect::<Vec<_>>().join("\n"))
    }

    /// The unpacked files of the kernel package, and the kernel's release.
    fn kernel(&self, has_radios: bool) -> Result<(PathBuf, String), Failure> {
        self.retried(|| self.find_kernel(has_radios))
    }

    fn find_kernel(&self, has_radios: bool) -> Result<(PathBuf, String), Failure> {
        // A package without files, which names the one that has them.
        let newest = match self.architecture {
            Architecture::X86_64 if has_radios => "linux-image-amd64",
            Architecture::X86_64 => "linux-image-cloud-amd64",
            // With the drivers of a Raspberry Pi.
            Architecture::Aarch64 => "linux-image-arm64",
        };
        let versions = self.run(Command::new("apt-cache").args(["madison", newest]), "find a kernel")?;
        let versions = versions.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
        let mut fitting: Vec<(Vec<u32>, &str)> = versions
            .map(|version| (numbers(version), version))
            .filter(|(numbers, _)| *numbers >= FIRST_KERNEL.to_vec())
            .collect();
        fitting.sort();
        let (first, _) =
            fitting.first().ok_or_else(|| trouble("find a kernel", "none is as new as 6.12".to_owned()))?;
        let is_of_first = |numbers: &[u32]| numbers.iter().take(2).eq(first.iter().take(2));
        let newest_of_first = fitting.iter().rfind(|(numbers, _)| is_of_first(numbers)).map(|(_, version)| *version);
        let version = newest_of_first.unwrap_or_default();
        let shown =
            self.run(Command::new("apt-cache").arg("show").arg(format!("{newest}={version}")), "find a kernel")?;
        let name = shown.lines().find_map(|line| line.strip_prefix("Depends: ")?.split([' ', ',']).next());
        let name = name.filter(|name| name.starts_with("linux-image-"));
        let name = name.ok_or_else(|| trouble("find a kernel", format!("{newest} names none")))?;
        let release = name.trim_start_matches("linux-image-").to_owned();
        Ok((self.unpack(&format!("{name}={version}"))?, release))
    }

    /// The folder with the unpacked files of a package.
    pub(super) fn unpacked(&self, name: &str) -> Result<PathBuf, Failure> {
        self.retried(|| self.unpack(name))
    }

    /// The same, of `name` or `name=version`.
    fn unpack(&self, package: &str) -> Result<PathBuf, Failure> {
        let name = package.split_once('=').map_or(package, |(name, _)| name);
        let policy = self.run(Command::new("apt-cache").args(["policy", name]), "find a package")?;
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).unwrap_or_default();
        let version = package.split_once('=').map_or(candidate, |(_, version)| version);
        let whole = self.folder.join("packages").join(format!("{name}_{version}"));
        if whole.is_dir() {
            return Ok(whole);
        }
        let part = whole.with_extension("part");
        remove_folder(&part)?;
        make_folder(&part)?;
        let step = format!("fetch {name}");
        let mut fetch = Command::new("apt-get");
        self.run(fetch.current_dir(&part).arg("download").arg(format!("{name}={version}")), &step)?;
        let entries = fs::read_dir(&part).map_err(|error| Failure::io("read", &part, &error))?;
        let mut files = entries.flatten().map(|entry| entry.path());
        let file = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let file = file.ok_or_else(|| trouble(&step, "apt-get fetched nothing".to_owned()))?;
        self.run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&part), &format!("unpack {name}"))?;
        fs::remove_file(&file).map_err(|error| Failure::io("remove", &file, &error))?;
        publish(&part, &whole)?;
        Ok(whole)
    }

    /// A package and all that it needs, by their names.
    pub(super) fn needs(&self, package: &str) -> Result<Vec<String>, Failure> {
        let mut depends = Command::new("apt-cache");
        depends.args(["depends", "--recurse", "--important", package]);
        let said = self.run(&mut depends, "find what a package needs")?;
        // What begins a line and is no `<virtual>` package is the name of one.
        let names = said.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
        Ok(names.map(|name| name.split(':').next().unwrap_or(name).to_owned()).collect())
    }

    fn run(&self, command: &mut Command, step: &str) -> Result<String, Failure> {
        let configured = command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        process::ask(configured, self.signals)?.map_err(|why| trouble(step, why))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.folder.join(name);
        fs::write(&path, text)
            .map_err(|error| Failure::new("cannot prepare apt", plain(&error), path.display().to_string()))
    }
}

/// The numbers that a version begins with: 6, 12, 95 of `6.12.95-1~bpo12+1`.
fn numbers(version: &str) -> Vec<u32> {
    let upstream = version.split(['-', '+', '~']).next().unwrap_or_default();
    upstream.split('.').map_while(|number| number.parse().ok()).collect()
}

fn trouble(step: &str, why: String) -> Failure {
    let advice = "look at the network and at the Debian archive in /etc/apt, then run this again";
    Failure::new(format!("cannot {step}"), why, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert_eq!(numbers("6.12.95-1~bpo12+1"), [6, 12, 95]);
        assert!(numbers("6.1.176-1") < FIRST_KERNEL.to_vec());
        assert!(numbers("6.12-1") >= FIRST_KERNEL.to_vec());
    }
}
