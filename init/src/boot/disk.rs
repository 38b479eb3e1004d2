//! The partitions of the machine, by the names that the partition table gives them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel tells of its block devices.
const BLOCK_DEVICES: &str = "/sys/class/block";

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its name in the partition table.
    pub(crate) name: String,
    /// `/dev/vda5`.
    pub(crate) device: PathBuf,
    /// The disk that it is on, as the kernel calls it: `vda`.
    pub(crate) disk: String,
    /// Its number in the table.
    pub(crate) number: u32,
}

/// All partitions that have a name, in the order of their devices.
pub(crate) fn partitions() -> Vec<Partition> {
    read(Path::new(BLOCK_DEVICES))
}

/// The partition of that name on the given disk.
pub(crate) fn on_disk<'p>(partitions: &'p [Partition], disk: &str, name: &str) -> Option<&'p Partition> {
    partitions.iter().find(|partition| partition.disk == disk && partition.name == name)
}

fn read(folder: &Path) -> Vec<Partition> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut partitions: Vec<Partition> = entries.filter_map(|entry| partition(&entry.path())).collect();
    partitions.sort_by(|one, other| one.device.cmp(&other.device));
    partitions
}

/// `/sys/class/block/<partition>` is a link into the folder of its disk (Linux,
/// `Documentation/ABI/stable/sysfs-block`); its `uevent` holds `KEY=value` lines.
fn partition(folder: &Path) -> Option<Partition> {
    let event = fs::read_to_string(folder.join("uevent")).ok()?;
    let value = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let disk = folder.canonicalize().ok()?.parent()?.file_name()?.to_str()?.to_owned();
    let (name, number) = (value("PARTNAME")?.to_owned(), value("PARTN")?.parse().ok()?);
    Some(Partition { name, device: Path::new("/dev").join(value("DEVNAME")?), disk, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_found_by_name_and_disk() {
        let sys = tempfile::tempdir().expect("a folder");
        let class = sys.path().join("class");
        fs::create_dir(&class).expect("made");
        for (device, event) in [
            ("vda", "MAJOR=254\nDEVNAME=vda\nDEVTYPE=disk\n"),
            ("vda/vda2", "DEVNAME=vda2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=data\n"),
            ("vdb", "DEVNAME=vdb\nDEVTYPE=disk\n"),
            ("vdb/vdb1", "DEVNAME=vdb1\nDEVTYPE=partition\nPARTN=1\nPARTNAME=data\n"),
        ] {
            let folder = sys.path().join("devices").join(device);
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("uevent"), event).expect("written");
            let name = Path::new(device).file_name().expect("a name");
            std::os::unix::fs::symlink(&folder, class.join(name)).expect("linked");
        }
        let found = read(&class);
        assert_eq!(found.len(), 2, "disks are no partitions: {found:?}");
        let data = on_disk(&found, "vdb", "data").expect("found");
        assert_eq!(data.device, Path::new("/dev/vdb1"));
        assert_eq!(on_disk(&found, "vdb", "root-a"), None);
    }
}
