//! The layout of a disk: partitions with their names, types and sizes, in one place. Linux finds them by name
//! (`spec::boot`), the firmware finds the first by its type.

use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{EFI, LINUX_FS, Type};
use gpt::{GptConfig, GptDisk};
use sha2::{Digest, Sha256};
use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, STATE_PARTITION, Slot};
use std::fs::File;
use std::path::Path;
use uuid::Uuid;

use super::esp;
use crate::failure::Failure;

const MIB: u64 = 1 << 20;
/// Partitions begin at multiples of this, in bytes: what flash erases at once is no larger.
const ALIGNMENT: u64 = MIB;
/// The kernel's unit for partitions.
const SECTOR: u64 = 512;
/// A disk needs room for the table behind the partitions as well.
const BEHIND: u64 = MIB;

/// A partition of the layout.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    pub(crate) name: &'static str,
    kind: Type,
    /// In bytes.
    pub(crate) size: u64,
}

/// Where a partition lies on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// The layout of a disk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layout {
    /// How much its data take from the beginning, in MiB.
    pub(crate) data_mib: u64,
}

impl Layout {
    /// All partitions in the order in which they lie. The data are the last, so that they can be grown to the disk's end.
    pub(crate) fn partitions(self) -> Vec<Partition> {
        let linux = |name, mib: u64| Partition { name, kind: LINUX_FS, size: mib * MIB };
        vec![
            Partition { name: esp::PARTITION, kind: EFI, size: 8 * MIB },
            linux(STATE_PARTITION, 1),
            // The kernel of a 64-bit ARM is not packed.
            linux(Slot::A.boot_partition(), 64),
            linux(Slot::B.boot_partition(), 64),
            linux(Slot::A.root_partition(), 512),
            linux(Slot::B.root_partition(), 512),
            Partition { name: CONFIG_PARTITION, kind: gpt::partition_types::BASIC, size: 16 * MIB },
            // With less than two groups of blocks ext4 has no second superblock to be mended from.
            linux(DATA_PARTITION, 384 + self.data_mib),
        ]
    }

    /// Where each partition lies.
    fn places(self) -> Vec<(Partition, Place)> {
        let mut start = ALIGNMENT;
        let place = |partition: Partition| {
            let place = Place { start, size: partition.size };
            start += partition.size;
            (partition, place)
        };
        self.partitions().into_iter().map(place).collect()
    }

    /// Where the partition of that name lies.
    pub(crate) fn place(self, name: &str) -> Result<Place, Failure> {
        let found = self.places().into_iter().find(|(partition, _)| partition.name == name).map(|(_, place)| place);
        found.ok_or_else(|| Failure::new(format!("there is no partition {name}"), "", "report this"))
    }

    /// The size of a disk that holds them all.
    fn disk_size(self) -> u64 {
        ALIGNMENT + self.partitions().iter().map(|partition| partition.size).sum::<u64>() + BEHIND
    }

    /// Whether the partitions of a disk lie where these do; the last may be larger.
    pub(crate) fn is_that_of(self, disk: &Path) -> Result<bool, gpt::GptError> {
        let disk = GptConfig::new().open(disk)?;
        let lies = |partition: &Partition, place: Place| {
            let mut there = disk.partitions().values();
            there.any(|there| there.name == partition.name && there.first_lba * SECTOR == place.start)
        };
        Ok(self.places().iter().all(|(partition, place)| lies(partition, *place)))
    }

    /// Makes an empty disk with its table at `path`; answers where each partition lies.
    pub(crate) fn create(self, path: &Path) -> Result<Vec<(Partition, Place)>, Failure> {
        let failed = |error: std::io::Error| Failure::io("write", path, &error);
        let file = File::create(path).map_err(failed)?;
        let size = self.disk_size();
        file.set_len(size).map_err(failed)?;
        drop(file);
        let places = self.places();
        write_table(path, size, &places)
            .map_err(|error| Failure::new(format!("cannot partition {}", path.display()), error, "report this"))?;
        Ok(places)
    }
}

/// An identifier that depends on nothing but its name, so that the same inputs give the same bytes.
pub(crate) fn identifier(name: &str) -> Uuid {
    let digest = Sha256::digest(format!("llmbasedos {name}"));
    let bytes = digest.first_chunk().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn write_table(path: &Path, size: u64, places: &[(Partition, Place)]) -> Result<(), gpt::GptError> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let sectors = u32::try_from(size / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file).map_err(std::io::Error::other)?;
    let sector = gpt::disk::LogicalBlockSize::Lb512;
    let config = GptConfig::new().writable(true).logical_block_size(sector);
    let mut disk: GptDisk<File> = config.create_from_device(file, Some(identifier("disk")))?;
    let entry = |(partition, place): &(Partition, Place)| gpt::partition::Partition {
        part_type_guid: partition.kind.clone(),
        part_guid: identifier(partition.name),
        first_lba: place.start / SECTOR,
        last_lba: (place.start + place.size) / SECTOR - 1,
        flags: 0,
        name: partition.name.to_owned(),
    };
    disk.update_partitions((1..).zip(places.iter().map(entry)).collect())?;
    Ok(disk.write()?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_the_same_each_time_and_its_table_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (folder.path().join("1"), folder.path().join("2"));
        let places = Layout::default().create(&one).expect("made");
        Layout::default().create(&other).expect("made");
        assert!(places.iter().all(|(_, place)| place.start % ALIGNMENT == 0));
        let head = |path: &Path| {
            let mut bytes = vec![0; 64 << 10];
            std::io::Read::read_exact(&mut File::open(path).expect("there"), &mut bytes).expect("read");
            bytes
        };
        assert_eq!(head(&one), head(&other));
        let disk = GptConfig::new().open(&one).expect("a table");
        assert!(Layout::default().is_that_of(&one).expect("read"));
        assert!(Layout { data_mib: 1 }.is_that_of(&one).expect("read"), "data may have grown");
        let names: Vec<&str> = disk.partitions().values().map(|partition| partition.name.as_str()).collect();
        assert_eq!(names, ["esp", "state", "boot-a", "boot-b", "root-a", "root-b", "config", "data"]);
        let (data, place) = places.last().expect("data are the last");
        let written = disk.partitions().get(&8).expect("written");
        assert_eq!((data.name, written.first_lba * SECTOR, place.size), ("data", place.start, 384 * MIB));
    }
}
