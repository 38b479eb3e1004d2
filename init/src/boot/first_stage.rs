//! What PID 1 does in the initramfs: it finds the root, has every block of it checked, and goes on there.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use spec::boot::{FIRST_MODULES, INIT, Loader, ROOT_BLOCK, RootImage, Slot, Standing, TRYBOOT};

use super::disk::{self, Partition};
use super::slots::{Slots, Turn};
use super::{KERNEL_FILE_SYSTEMS, load_modules, say, seconds_since_boot, upkeep};
use crate::sys::{self, Access, Mount};

/// How long a disk may take to appear: a slow USB disk spins up for half a minute.
const DISK_PATIENCE: Duration = Duration::from_secs(60);
/// How long one that has the kernel's root may take, where there is another of ours: an older system on another disk. The
/// firmware has read from it a moment ago, so that it spins.
const RIGHT_DISK_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much of a boot partition is looked at, in bytes: twice what ours have.
const MOST_OF_BOOT: u64 = 128 << 20;
/// Where the root is mounted before it is the root.
const ROOT: &str = "/root";

/// Why the root cannot be used. There is nothing that runs without it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("cannot mount {target}: {source}")]
    Mount { target: &'static str, source: io::Error },
    #[error("the kernel's command line cannot be read: {0}")]
    CommandLine(#[source] io::Error),
    #[error("{0}")]
    Argument(spec::InvalidValue),
    #[error("no disk has a partition named {wanted} (found: {})", found.join(", "))]
    NoRoot { wanted: &'static str, found: Vec<String> },
    #[error(
        "no disk has the {wanted} that this kernel belongs to: take out all disks but the one that it was started from"
    )]
    OtherRoots { wanted: &'static str },
    #[error("{}: its blocks cannot be checked: {source}", partition.display())]
    Verity { partition: PathBuf, source: io::Error },
    #[error("{}: is not the root that this kernel belongs to: {source}", partition.display())]
    Root { partition: PathBuf, source: io::Error },
    #[error("cannot change to the new root: {0}")]
    Switch(#[source] io::Error),
    #[error("{INIT}: cannot be executed: {0}")]
    Execute(#[source] io::Error),
}

/// Finds, checks and mounts the root, and becomes the `init` on it.
pub(super) fn run() -> Result<Infallible, Trouble> {
    for mount in KERNEL_FILE_SYSTEMS {
        mount.mount().map_err(|source| Trouble::Mount { target: mount.target, source })?;
    }
    let started = seconds_since_boot().to_string();
    for trouble in load_modules(Path::new(FIRST_MODULES)) {
        say(&trouble);
    }
    let line = fs::read_to_string("/proc/cmdline").map_err(Trouble::CommandLine)?;
    // From here on a slot that hangs is ended by it; the next stage goes on feeding it.
    let watchdog = upkeep::start_watchdog(&line);
    let image = RootImage::of_command_line(&line).map_err(Trouble::Argument)?;
    let found = upkeep::during(watchdog.as_ref(), 2 * DISK_PATIENCE, || find(&image));
    let Partition { device: partition, disk, .. } = found?;
    begin_trial(image.slot, Loader::of_command_line(&line), &disk);
    upkeep::hang_in_first_stage(&line);
    let verified = sys::open_verified(&image, &partition)
        .map_err(|source| Trouble::Verity { partition: partition.clone(), source })?;
    let device = verified.display().to_string();
    let root = Mount { source: &device, target: ROOT, kind: "erofs", access: Access::ReadOnly, options: "" };
    root.mount().map_err(|source| Trouble::Root { partition, source })?;
    // The initramfs is memory; what is deleted is given back.
    let _ = fs::remove_dir_all(FIRST_MODULES);
    let _ = fs::remove_file("/init");
    let kept: Vec<&str> = KERNEL_FILE_SYSTEMS.iter().map(|mount| mount.target).collect();
    sys::switch_root(Path::new(ROOT), &kept).map_err(Trouble::Switch)?;
    let mut arguments = vec!["init", super::APPLIANCE, super::STARTED, &started];
    let handed_on = watchdog.as_ref().and_then(|watchdog| watchdog.hand_on().ok()).map(|number| number.to_string());
    arguments.extend(handed_on.iter().flat_map(|number| [super::WATCHDOG, number]));
    Err(Trouble::Execute(sys::become_program(Path::new(INIT), &arguments)))
}

/// From here on until the machine is healthy, what goes wrong counts against the slot. That a count cannot be kept is no
/// reason not to boot.
fn begin_trial(slot: Slot, loader: Loader, disk: &str) {
    match Slots::open(loader, &disk::partitions(), disk).and_then(|slots| slots.begin(slot)) {
        Ok(Turn::Own(Standing::Confirmed)) => {}
        Ok(Turn::Own(Standing::OnTrial(left))) => {
            say(&format!("slot {slot} has yet to come up well; {left} more tries are left"));
        }
        Ok(Turn::Others) => {
            say(&format!("it is the turn of slot {}: the machine restarts", slot.other()));
            say(&format!("the machine cannot be restarted: {}", sys::restart_with(TRYBOOT)));
        }
        Err(error) => say(&format!("the tries of slot {slot} cannot be counted: {error}")),
    }
}

/// Finds the partition with the kernel's root. Where there is none, that of the disk with the kernel is damaged or cut
/// short, which its check will say. Any other is another system's, and nothing is to be written there.
fn find(image: &RootImage) -> Result<Partition, Trouble> {
    let wanted = image.slot.root_partition();
    let begun = Instant::now();
    let mut others_since = None;
    loop {
        let partitions = disk::partitions();
        let named: Vec<&Partition> = partitions.iter().filter(|partition| partition.name == wanted).collect();
        if let Some(found) = named.iter().find(|partition| has_hash_tree(&partition.device, image)) {
            return Ok((*found).clone());
        }
        match (named.first(), others_since) {
            (Some(other), None) => {
                let device = other.device.display();
                say(&format!("{device} is not the root that this kernel belongs to: waiting for another"));
                others_since = Some(Instant::now());
            }
            (None, Some(_)) => others_since = None,
            _ => {}
        }
        if others_since.is_some_and(|since| since.elapsed() >= RIGHT_DISK_PATIENCE) {
            let damaged = named.iter().find(|partition| has_kernel(&partitions, &partition.disk, image));
            return damaged.map(|partition| (*partition).clone()).ok_or(Trouble::OtherRoots { wanted });
        }
        if others_since.is_none() && begun.elapsed() >= DISK_PATIENCE {
            let found = partitions.into_iter().map(|partition| partition.name).collect();
            return Err(Trouble::NoRoot { wanted, found });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether the kernel of that root lies on a disk: the boot partition of its slot holds the command line as it is.
fn has_kernel(partitions: &[Partition], disk: &str, image: &RootImage) -> bool {
    let boot = disk::on_disk(partitions, disk, image.slot.boot_partition());
    boot.is_some_and(|boot| holds(&boot.device, &image.to_string()))
}

fn holds(partition: &Path, text: &str) -> bool {
    let mut content = Vec::new();
    // A sector that cannot be read hides nothing of those before it, and the command line lies near the beginning.
    let _ = File::open(partition).and_then(|partition| partition.take(MOST_OF_BOOT).read_to_end(&mut content));
    content.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whether behind the file system there begins the hash tree with the image's root hash, which is the hash of its first
/// block (Linux, `Documentation/admin-guide/device-mapper/verity.rst`, "Hash Tree").
fn has_hash_tree(partition: &Path, image: &RootImage) -> bool {
    let mut block = vec![0; ROOT_BLOCK as usize];
    let place = image.blocks.saturating_mul(ROOT_BLOCK.into());
    let read = File::open(partition).and_then(|partition| partition.read_exact_at(&mut block, place));
    read.is_ok() && Sha256::digest(&block)[..] == image.hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_with_the_kernels_root_is_told_from_one_with_another() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let tree = [7; ROOT_BLOCK as usize];
        let image = RootImage { slot: Slot::A, blocks: 2, hash: Sha256::digest(tree).into() };
        assert!(!has_hash_tree(file.path(), &image), "it is cut short");
        file.as_file().write_all_at(&tree, 2 * u64::from(ROOT_BLOCK)).expect("written");
        assert!(has_hash_tree(file.path(), &image));
        assert!(!has_hash_tree(file.path(), &RootImage { blocks: 1, ..image }));
        assert!(!has_hash_tree(file.path(), &RootImage { hash: [7; 32], ..image }));
    }

    #[test]
    fn a_kernels_command_line_is_found_in_its_partition() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let [a, b] = [Slot::A, Slot::B].map(|slot| RootImage { slot, blocks: 2, hash: [7; 32] }.to_string());
        assert!(!holds(file.path(), &a));
        file.as_file().write_all_at(format!("console=tty0 {a} quiet").as_bytes(), 3 << 20).expect("written");
        assert!(holds(file.path(), &a));
        assert!(!holds(file.path(), &b));
    }
}
