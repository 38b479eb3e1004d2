//! The root: what is on it, as a compressed erofs image, and behind that the hash tree against which every block is
//! checked as it is read.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use spec::boot::{DEFAULT_CONFIG, INIT, MANIFESTS, MODULES, ROOT_BLOCK, RootImage, Slot};

use super::modules::Modules;
use super::{Tools, layout, text};
use crate::cache::make_folder;
use crate::failure::Failure;
use crate::release::PROGRAMS;
use crate::repository::Repository;
use crate::services::{SERVICES, SUPPLICANT};

/// Folders that something is mounted on.
const MOUNTED: [&str; 6] = ["dev", "proc", "sys", "run", "tmp", "data"];
/// Where older programs look, and what lies there.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("etc/resolv.conf", "/run/network/resolv.conf"),
    ("etc/machine-id", "/run/machine-id"),
];
/// Small files with their content.
const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/:/usr/bin/luca-shell\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/os-release", concat!("NAME=llmbasedos\nID=llmbasedos\nVERSION_ID=", env!("CARGO_PKG_VERSION"), "\n")),
];
/// What a machine says unless its owner says otherwise.
const DEFAULTS: &str = include_str!("defaults.toml");
/// What is taken for granted of every root, beside our programs.
const REQUIRED: [&str; 2] = ["usr/sbin/e2fsck", "etc/ssl/certs/ca-certificates.crt"];
/// What of a tree does not get into the image: all modules of the kernel, of which some are taken, and Buildroot's word to
/// those who take the tree for a root.
const LEFT_OUT: [&str; 2] = ["usr/lib/modules", "THIS_IS_NOT_YOUR_ROOT_FILESYSTEM"];

/// What a root is made of.
pub(super) struct Root<'a> {
    /// Its files, but for what is named above.
    pub(super) tree: &'a Path,
    pub(super) modules: &'a Modules,
    /// The modules that the first stage has loaded.
    pub(super) loaded: &'a [String],
    pub(super) repository: &'a Repository,
}

impl Root<'_> {
    /// Makes the image; answers where it lies and what the kernel is told of it.
    pub(super) fn make(&self, tools: &Tools<'_>, slot: Slot) -> Result<(PathBuf, RootImage), Failure> {
        let tree = tools.work.join("root");
        self.fill(&tree, tools)?;
        set_modes(&tree).map_err(|error| Failure::io("write", &tree, &error))?;
        let image = tools.work.join("root.img");
        let epoch = tools.epoch.to_string();
        let name = layout::identifier("root").to_string();
        tools
            .run("mkfs.erofs", &["-zlz4hc,12", "-T", &epoch, "--all-root", "-U", &name, &text(&image), &text(&tree)])?;
        let block = u64::from(ROOT_BLOCK);
        let size = File::open(&image).and_then(|file| Ok(file.metadata()?.len()));
        let blocks = size.map_err(|error| Failure::io("read", &image, &error))?.div_ceil(block);
        let resized = File::options().write(true).open(&image).and_then(|file| file.set_len(blocks * block));
        resized.map_err(|error| Failure::io("write", &image, &error))?;
        let hash = hash_tree(tools, &image, blocks)?;
        Ok((image, RootImage { slot, blocks, hash }))
    }

    fn fill(&self, tree: &Path, tools: &Tools<'_>) -> Result<(), Failure> {
        let at = |path: &str| tree.join(path.trim_start_matches('/'));
        tools.run("cp", &["--archive", "--no-target-directory", &text(self.tree), &text(tree)])?;
        for path in LEFT_OUT.iter().chain(&MOUNTED) {
            remove(&at(path))?;
        }
        for folder in MOUNTED.iter().copied().chain(["etc/ssl/certs", "usr/bin", "usr/sbin", "usr/lib"]) {
            make_folder(&at(folder))?;
        }
        for (link, target) in LINKS {
            // A folder that is no link has something in it, which stays.
            let _ = fs::remove_file(at(link));
            symlink(target, at(link)).map_err(|error| Failure::io("make the link", &at(link), &error))?;
        }
        for (path, content) in FILES {
            make_folder(at(path).parent().unwrap_or(tree))?;
            super::write(&at(path), content)?;
        }
        let has_wifi = at(SUPPLICANT).is_file();
        self.modules.copy(&self.modules.of_root(has_wifi), self.loaded, &at(MODULES), tools)?;
        let manifests = at(MANIFESTS);
        make_folder(&manifests)?;
        self.manifests(&manifests)?;
        let mut defaults = DEFAULTS.to_owned();
        for service in SERVICES.iter().filter(|service| at(service.program).is_file()) {
            super::write(&manifests.join(service.file), service.manifest)?;
            defaults.push_str(service.defaults);
        }
        super::write(&at(DEFAULT_CONFIG), &defaults)?;
        let programs = Path::new(INIT).parent().unwrap_or(Path::new("/"));
        let programs = PROGRAMS.iter().map(|program| text(&programs.join(program)));
        match programs.chain(REQUIRED.map(str::to_owned)).find(|path| !at(path).is_file()) {
            Some(path) => Err(Failure::new(
                "the root is not complete",
                format!("{path} is not among its files"),
                format!("put it into {}", self.tree.display()),
            )),
            None => Ok(()),
        }
    }

    /// Writes those of the Arcs and of our own services.
    fn manifests(&self, folder: &Path) -> Result<(), Failure> {
        let arcs = self.repository.path("arcs");
        let entries = fs::read_dir(&arcs).map_err(|error| Failure::io("read", &arcs, &error))?;
        for entry in entries.flatten().filter(|entry| entry.path().join("arc.toml").is_file()) {
            let target = folder.join(entry.file_name());
            make_folder(&target)?;
            copy(&entry.path().join("arc.toml"), &target.join("arc.toml"), 0o644)?;
        }
        copy(&self.repository.path("init/netd/netd.toml"), &folder.join("netd.toml"), 0o644)
    }
}

/// Refuses an image of so many bytes where the partition of its slot is smaller.
pub(super) fn check_size(tools: &Tools<'_>, bytes: u64, slot: Slot) -> Result<(), Failure> {
    const ADVICE: &str = "leave something out of it: Ollama (a product image: --lite), or what a --local-fragment adds";
    if bytes <= tools.layout.place(slot.root_partition())?.size {
        return Ok(());
    }
    Err(tools.too_large("the root", "it with its hash tree", bytes, slot.root_partition(), ADVICE))
}

/// Removes what is there, a folder with all that is in it.
fn remove(path: &Path) -> Result<(), Failure> {
    let outcome = match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    outcome.map_err(|error| Failure::io("remove", path, &error))
}

/// Gives every folder and file the mode that it has in the image, whatever the builder's umask is.
fn set_modes(path: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(path)?;
    if data.is_symlink() {
        return Ok(());
    }
    let is_run = data.permissions().mode() & 0o100 != 0;
    fs::set_permissions(path, Permissions::from_mode(if is_run { 0o755 } else { 0o644 }))?;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            set_modes(&entry?.path())?;
        }
    }
    Ok(())
}

/// Appends the hash tree, without a superblock: its parameters stand on the kernel's command line. Answers the root hash.
fn hash_tree(tools: &Tools<'_>, image: &Path, blocks: u64) -> Result<[u8; 32], Failure> {
    let (file, offset) = (text(image), (blocks * u64::from(ROOT_BLOCK)).to_string());
    let said = tools.run(
        "veritysetup",
        &[
            "format",
            "--no-superblock",
            "--salt=-",
            "--hash=sha256",
            "--data-block-size=4096",
            "--hash-block-size=4096",
            &format!("--data-blocks={blocks}"),
            &format!("--hash-offset={offset}"),
            &file,
            &file,
        ],
    )?;
    let digits = said.lines().find_map(|line| line.strip_prefix("Root hash:")).map(str::trim).unwrap_or_default();
    let image = format!("a:{blocks}:{digits}").parse::<RootImage>();
    image.map(|image| image.hash).map_err(|why| Failure::new("veritysetup says no root hash", why, "report this"))
}

fn copy(source: &Path, target: &Path, mode: u32) -> Result<(), Failure> {
    fs::copy(source, target).map_err(|error| Failure::io("copy", source, &error))?;
    let set = fs::set_permissions(target, Permissions::from_mode(mode));
    set.map_err(|error| Failure::io("write", target, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::layout::Layout;
    use crate::signals::Signals;

    #[test]
    fn a_root_that_is_too_large_is_refused_with_both_sizes() {
        let (work, signals) = (tempfile::tempdir().expect("a folder"), Signals::watch().expect("signals"));
        let tools = Tools { work: work.path(), host: None, layout: Layout::default(), epoch: 0, signals: &signals };
        assert_eq!(check_size(&tools, 512 << 20, Slot::A), Ok(()));
        let failure = check_size(&tools, (512 << 20) + 4096, Slot::A).expect_err("a block too many").to_string();
        let words = "the root is too large: it with its hash tree takes 513 MiB, and the partition root-a has 512";
        assert_eq!(failure, words);
    }
}
