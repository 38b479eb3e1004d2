//! The layout of a disk: partitions with their names, types and sizes, in one place. Linux finds them by name
//! (`spec::boot`), the firmware of a PC finds the first by its type, that of a Raspberry Pi by their numbers
//! (`spec::boot::mbr`, which says why its table is an MBR).

use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{BASIC, EFI, LINUX_FS, Type};
use gpt::{GptConfig, GptDisk};
use sha2::{Digest, Sha256};
use spec::boot::mbr::{self, Entry, Kind};
use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, STATE_PARTITION, Slot};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
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

/// The usual size of a root, and the step in which it is larger, in MiB.
const ROOT_MIB: u64 = 512;

/// A partition of the layout.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    pub(crate) name: &'static str,
    /// In bytes.
    pub(crate) size: u64,
}

/// Where a partition lies on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// The kind of table that a disk has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Table {
    /// That of UEFI.
    #[default]
    Gpt,
    /// That of a Raspberry Pi.
    Mbr,
}

/// The layout of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) table: Table,
    /// How much its data take from the beginning, in MiB.
    pub(crate) data_mib: u64,
    /// How much larger than usual each of its roots is, in MiB.
    pub(crate) root_mib: u64,
}

impl Layout {
    /// The same with roots for an image of so many bytes, and for a later one that is larger by a quarter; no smaller than
    /// they are.
    pub(crate) fn with_root_of(self, bytes: u64) -> Self {
        let wanted = (bytes + bytes / 4).div_ceil(MIB).next_multiple_of(ROOT_MIB);
        Self { root_mib: self.root_mib.max(wanted.saturating_sub(ROOT_MIB)), ..self }
    }

    /// All partitions in the order in which they lie. The data are the last, so that they can be grown to the disk's end.
    pub(crate) fn partitions(self) -> Vec<Partition> {
        let names = match self.table {
            Table::Gpt => vec![
                esp::PARTITION,
                STATE_PARTITION,
                Slot::A.boot_partition(),
                Slot::B.boot_partition(),
                Slot::A.root_partition(),
                Slot::B.root_partition(),
                CONFIG_PARTITION,
                DATA_PARTITION,
            ],
            Table::Mbr => (1..).take(8).filter_map(mbr::name).collect(),
        };
        names.into_iter().map(|name| Partition { name, size: self.mib(name) * MIB }).collect()
    }

    /// The size of a partition, in MiB.
    fn mib(self, name: &str) -> u64 {
        match name {
            esp::PARTITION => 8,
            CONFIG_PARTITION => 16,
            // With less than two groups of blocks ext4 has no second superblock to be mended from.
            DATA_PARTITION => 384 + self.data_mib,
            _ if [Slot::A.root_partition(), Slot::B.root_partition()].contains(&name) => ROOT_MIB + self.root_mib,
            // The kernel of a 64-bit ARM is not packed.
            _ if [Slot::A.boot_partition(), Slot::B.boot_partition()].contains(&name) => 64,
            _ => 1,
        }
    }

    /// Where each partition lies.
    fn places(self) -> Vec<(Partition, Place)> {
        let mut start = ALIGNMENT;
        let place = |partition: Partition| {
            if self.table == Table::Mbr && logical(partition.name) {
                start += ALIGNMENT;
            }
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
        self.places().last().map_or(ALIGNMENT, |(_, place)| place.start + place.size) + BEHIND
    }

    /// Whether the partitions of a disk lie where these do; the last may be larger.
    pub(crate) fn is_that_of(self, disk: &Path) -> io::Result<bool> {
        let there = match self.table {
            Table::Gpt => {
                let disk = GptConfig::new().open(disk).map_err(io::Error::other)?;
                let partitions = disk.partitions().values();
                partitions.map(|there| (there.name.clone(), there.first_lba * SECTOR)).collect()
            }
            Table::Mbr => read_mbr(disk)?,
        };
        let lies = |partition: &Partition, place: Place| {
            there.iter().any(|(name, start)| name == partition.name && *start == place.start)
        };
        Ok(self.places().iter().all(|(partition, place)| lies(partition, *place)))
    }

    /// Makes an empty disk with its table at `path`; answers where each partition lies.
    pub(crate) fn create(self, path: &Path) -> Result<Vec<(Partition, Place)>, Failure> {
        let failed = |error: io::Error| Failure::io("write", path, &error);
        let file = File::create(path).map_err(failed)?;
        let size = self.disk_size();
        file.set_len(size).map_err(failed)?;
        drop(file);
        let places = self.places();
        let written = match self.table {
            Table::Gpt => write_gpt(path, size, &places).map_err(io::Error::other),
            Table::Mbr => write_mbr(path, &places),
        };
        written.map_err(|error| Failure::new(format!("cannot partition {}", path.display()), error, "report this"))?;
        Ok(places)
    }
}

/// An identifier that depends on nothing but its name, so that the same inputs give the same bytes.
pub(crate) fn identifier(name: &str) -> Uuid {
    let digest = Sha256::digest(format!("llmbasedos {name}"));
    let bytes = digest.first_chunk().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Whether a partition lies in the extended one of an MBR.
fn logical(name: &str) -> bool {
    (1..mbr::FIRST_LOGICAL).all(|number| mbr::name(number) != Some(name))
}

/// Where the partitions of a disk of ours begin, by name.
fn read_mbr(disk: &Path) -> io::Result<Vec<(String, u64)>> {
    let disk = File::open(disk)?;
    let sector = |number: u64| {
        let mut bytes = [0; 512];
        disk.read_exact_at(&mut bytes, number * SECTOR).map(|()| bytes)
    };
    if !mbr::Table::parse(&sector(0)?).is_some_and(|table| table.is_ours()) {
        return Ok(Vec::new());
    }
    let named = |one: &mbr::Partition| Some((mbr::name(one.number)?.to_owned(), one.first * SECTOR));
    Ok(mbr::partitions(sector)?.iter().filter_map(named).collect())
}

fn write_mbr(path: &Path, places: &[(Partition, Place)]) -> io::Result<()> {
    let disk = File::options().write(true).open(path)?;
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).map_err(io::Error::other);
    let (inside, outside): (Vec<_>, Vec<_>) = places.iter().partition(|(partition, _)| logical(partition.name));
    // Before each that is logical lies its table; with the first of them the extended partition begins.
    let table_of = |place: &Place| place.start - ALIGNMENT;
    let end = |(_, place): &(Partition, Place)| place.start + place.size;
    let begin = inside.first().map_or(0, |(_, place)| table_of(place));
    let extended = inside.last().map_or(0, |last| end(last) - begin);
    let mut table = mbr::Table::of_disk();
    for (place_in_table, (_, place)) in outside.iter().enumerate() {
        let entry = Entry { kind: Kind::Fat, first: sectors(place.start)?, sectors: sectors(place.size)? };
        table = table.with(place_in_table, entry);
    }
    let rest = Entry { kind: Kind::Extended, first: sectors(begin)?, sectors: sectors(extended)? };
    disk.write_all_at(&table.with(outside.len(), rest).to_sector(), 0)?;
    for (number, (_, place)) in inside.iter().enumerate() {
        let entry = Entry { kind: Kind::Linux, first: sectors(ALIGNMENT)?, sectors: sectors(place.size)? };
        let mut table = mbr::Table::of_logical().with(0, entry);
        if let Some((_, next)) = inside.get(number + 1) {
            let first = sectors(table_of(next) - begin)?;
            table = table.with(1, Entry { kind: Kind::Extended, first, sectors: sectors(ALIGNMENT + next.size)? });
        }
        disk.write_all_at(&table.to_sector(), table_of(place))?;
    }
    disk.sync_all()
}

fn write_gpt(path: &Path, size: u64, places: &[(Partition, Place)]) -> Result<(), gpt::GptError> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let sectors = u32::try_from(size / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file).map_err(io::Error::other)?;
    let sector = gpt::disk::LogicalBlockSize::Lb512;
    let config = GptConfig::new().writable(true).logical_block_size(sector);
    let mut disk: GptDisk<File> = config.create_from_device(file, Some(identifier("disk")))?;
    let entry = |(partition, place): &(Partition, Place)| gpt::partition::Partition {
        part_type_guid: gpt_type(partition.name),
        part_guid: identifier(partition.name),
        first_lba: place.start / SECTOR,
        last_lba: (place.start + place.size) / SECTOR - 1,
        flags: 0,
        name: partition.name.to_owned(),
    };
    disk.update_partitions((1..).zip(places.iter().map(entry)).collect())?;
    Ok(disk.write()?.sync_all()?)
}

fn gpt_type(name: &str) -> Type {
    match name {
        esp::PARTITION => EFI,
        CONFIG_PARTITION => BASIC,
        _ => LINUX_FS,
    }
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
            io::Read::read_exact(&mut File::open(path).expect("there"), &mut bytes).expect("read");
            bytes
        };
        assert_eq!(head(&one), head(&other));
        let disk = GptConfig::new().open(&one).expect("a table");
        assert!(Layout::default().is_that_of(&one).expect("read"));
        assert!(Layout { data_mib: 1, ..Layout::default() }.is_that_of(&one).expect("read"), "data may have grown");
        let names: Vec<&str> = disk.partitions().values().map(|partition| partition.name.as_str()).collect();
        assert_eq!(names, ["esp", "state", "boot-a", "boot-b", "root-a", "root-b", "config", "data"]);
        let (data, place) = places.last().expect("data are the last");
        let written = disk.partitions().get(&8).expect("written");
        assert_eq!((data.name, written.first_lba * SECTOR, place.size), ("data", place.start, 384 * MIB));
    }

    #[test]
    fn the_card_of_a_raspberry_pi_is_read_back_as_others_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("card");
        let layout = Layout { table: Table::Mbr, ..Layout::default() };
        let places = layout.create(&path).expect("made");
        assert!(layout.is_that_of(&path).expect("read"));
        assert!(Layout { data_mib: 1, ..layout }.is_that_of(&path).expect("read"), "data may have grown");
        assert!(Layout::default().is_that_of(&path).is_err(), "it is no GPT");

        // sfdisk(8) reads it with code of its own, and says in sectors what it finds.
        let sfdisk = crate::disk::tool(None, "sfdisk").arg("--dump").arg(&path).output().expect("sfdisk runs");
        let said = String::from_utf8_lossy(&sfdisk.stdout).into_owned();
        assert!(said.contains("label: dos") && said.contains("label-id: 0x6c6c6d62"), "{said}");
        let field = |line: &str, name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.trim_start_matches(['=', ' ']).split([',', ' ']).next()?.parse::<u64>().ok()
        };
        let read: Vec<(u64, u64)> =
            said.lines().filter_map(|line| Some((field(line, "start")?, field(line, "size")?))).collect();
        let mut expected: Vec<(u64, u64)> =
            places.iter().map(|(_, place)| (place.start / SECTOR, place.size / SECTOR)).collect();
        let begin = expected[3].0 - MIB / SECTOR;
        let (first, length) = expected[6];
        expected.insert(3, (begin, first + length - begin));
        assert_eq!(read, expected, "{said}");
        assert_eq!(String::from_utf8_lossy(&sfdisk.stderr), "", "nothing is the matter with it");
    }

    #[test]
    fn a_large_root_gets_partitions_with_room_for_a_larger_one_and_its_disk_is_no_other_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        for (root_mib, partition_mib) in [(0, 512), (409, 512), (410, 1024), (2867, 3584), (2868, 4096)] {
            let layout = Layout::default().with_root_of(root_mib * MIB);
            for slot in [Slot::A, Slot::B] {
                assert_eq!(layout.place(slot.root_partition()).expect("there").size, partition_mib * MIB, "{root_mib}");
            }
        }
        for table in [Table::Gpt, Table::Mbr] {
            let usual = Layout { table, ..Layout::default() };
            assert_eq!(usual.with_root_of(100 * MIB), usual);
            let large = usual.with_root_of(3000 * MIB);
            let places = large.places().into_iter().map(|(_, place)| place);
            let mut places: Vec<Place> = places.collect();
            places.sort_by_key(|place| place.start);
            assert!(places.windows(2).all(|two| two[0].start + two[0].size <= two[1].start), "{places:?}");
            let (of_usual, of_large) = (folder.path().join("usual"), folder.path().join("large"));
            usual.create(&of_usual).expect("made");
            large.create(&of_large).expect("made");
            assert!(large.is_that_of(&of_large).expect("read") && usual.is_that_of(&of_usual).expect("read"));
            assert!(!large.is_that_of(&of_usual).expect("read") && !usual.is_that_of(&of_large).expect("read"));
        }
    }

    #[test]
    fn both_tables_hold_the_same_partitions_but_for_the_one_that_uefi_wants() {
        let sorted = |table| {
            let mut partitions = Layout { table, data_mib: 7, root_mib: 512 }.partitions();
            partitions.sort_by_key(|one| one.name);
            partitions.into_iter().map(|one| (one.name, one.size)).collect::<Vec<_>>()
        };
        let mut of_pc = sorted(Table::Gpt);
        of_pc.retain(|(name, _)| *name != esp::PARTITION);
        assert_eq!(of_pc, sorted(Table::Mbr));
    }
}
