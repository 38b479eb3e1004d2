//! The partitions of the machine, by the names that the partition table gives them; an MBR of ours gives them numbers
//! (`spec::boot::mbr`).

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use spec::boot::{SECTOR, mbr};

/// Where the kernel tells of its block devices, and where they are.
const BLOCK_DEVICES: &str = "/sys/class/block";
const DEVICES: &str = "/dev";

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its name in the partition table, or what stands for it there.
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
    read(Path::new(BLOCK_DEVICES), Path::new(DEVICES))
}

/// The partition of that name on the given disk.
pub(crate) fn on_disk<'p>(partitions: &'p [Partition], disk: &str, name: &str) -> Option<&'p Partition> {
    partitions.iter().find(|partition| partition.disk == disk && partition.name == name)
}

fn read(folder: &Path, devices: &Path) -> Vec<Partition> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut partitions: Vec<Partition> = entries.filter_map(|entry| partition(&entry.path(), devices)).collect();
    partitions.sort_by(|one, other| one.device.cmp(&other.device));
    partitions
}

/// `/sys/class/block/<partition>` is a link into the folder of its disk (Linux,
/// `Documentation/ABI/stable/sysfs-block`); its `uevent` holds `KEY=value` lines.
fn partition(folder: &Path, devices: &Path) -> Option<Partition> {
    let event = fs::read_to_string(folder.join("uevent")).ok()?;
    let value = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let number = value("PARTN")?.parse().ok()?;
    let disk = folder.canonicalize().ok()?.parent()?.file_name()?.to_str()?.to_owned();
    let name = match value("PARTNAME") {
        Some(name) => name.to_owned(),
        None => mbr::name(number).filter(|_| has_our_mbr(&devices.join(&disk)))?.to_owned(),
    };
    Some(Partition { name, device: Path::new(DEVICES).join(value("DEVNAME")?), disk, number })
}

/// Whether the numbers of a disk's partitions mean what those of ours do.
fn has_our_mbr(disk: &Path) -> bool {
    let mut sector = [0; SECTOR];
    let read = File::open(disk).and_then(|mut disk| disk.read_exact(&mut sector));
    read.is_ok() && mbr::Table::parse(&sector).is_some_and(|table| table.is_ours())
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
            ("mmcblk0", "DEVNAME=mmcblk0\nDEVTYPE=disk\n"),
            ("mmcblk0/mmcblk0p4", "DEVNAME=mmcblk0p4\nDEVTYPE=partition\nPARTN=4\n"),
            ("mmcblk0/mmcblk0p6", "DEVNAME=mmcblk0p6\nDEVTYPE=partition\nPARTN=6\n"),
            ("sda", "DEVNAME=sda\nDEVTYPE=disk\n"),
            ("sda/sda6", "DEVNAME=sda6\nDEVTYPE=partition\nPARTN=6\n"),
        ] {
            let folder = sys.path().join("devices").join(device);
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("uevent"), event).expect("written");
            let name = Path::new(device).file_name().expect("a name");
            std::os::unix::fs::symlink(&folder, class.join(name)).expect("linked");
        }
        let devices = sys.path().join("dev");
        fs::create_dir(&devices).expect("made");
        for (disk, table) in [("mmcblk0", mbr::Table::of_disk()), ("sda", mbr::Table::of_logical())] {
            fs::write(devices.join(disk), table.to_sector()).expect("written");
        }
        let found = read(&class, &devices);
        assert_eq!(found.len(), 3, "disks are no partitions, and those of others' are not ours: {found:?}");
        let root = on_disk(&found, "mmcblk0", "root-a").expect("the sixth of a card of ours");
        assert_eq!(root.device, Path::new("/dev/mmcblk0p6"));
        let data = on_disk(&found, "vdb", "data").expect("found");
        assert_eq!(data.device, Path::new("/dev/vdb1"));
        assert_eq!(on_disk(&found, "vdb", "root-a"), None);
    }
}
