//! Growing the data to the end of the disk: the table, the kernel's view of it, the file system.
//!
//! An image is as large as what is in it, and a disk is as large as it was bought. So at the first boot the backup of
//! the table is written to the disk's end and flushed, and only then the table at its beginning: whichever of the two is
//! torn by a power cut, the other is whole, and the kernel (told `gpt`) takes that one. Nothing is written where all is
//! as it should be. An MBR has no backup, and no need of one (`grow_mbr.rs`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use gpt::{GptConfig, GptError};

use super::disk::Partition;
use super::grow_mbr;
use super::sectors::Bytes;
use crate::sys;

/// The kernel's unit for partitions.
const SECTOR: u64 = 512;
/// Where the table has its first header.
const PRIMARY_HEADER: u64 = 1;
/// The data end at a multiple of this, in bytes, as all partitions do.
const ALIGNMENT: u64 = 1 << 20;
/// Sectors behind the partitions that the backup of the table takes: a header and 128 entries of 128 bytes.
const BEHIND: u64 = 33;
/// Where an ext4 has its superblock, and in that the low and the high half of the number of its blocks, and the binary
/// logarithm of their size in KiB (Linux, `Documentation/filesystems/ext4/super.rst`).
const SUPERBLOCK: u64 = 1024;
const BLOCKS_LOW: usize = 0x4;
const BLOCKS_HIGH: usize = 0x150;
const BLOCK_SIZE: usize = 0x18;

/// Makes the partition as large as its disk allows, if it is the last one; answers whether it grew.
pub(super) fn grow_partition(partition: &Partition) -> Result<bool, GptError> {
    let mut disk = File::options().read(true).write(true).open(Path::new("/dev").join(&partition.disk))?;
    let sectors = disk.seek(SeekFrom::End(0))? / SECTOR;
    let change = match grow_mbr::is_ours(&disk)? {
        true => grow_mbr::planned(&disk, sectors, partition.number)?,
        false => planned(&disk, partition.number)?,
    };
    let Some(change) = change else { return Ok(false) };
    change.write(&disk)?;
    if change.grows {
        sys::resize_partition(&disk, partition.number, change.start, change.length)?;
    }
    Ok(change.grows)
}

/// Grows the mounted file system to the size of its partition; answers whether it grew.
pub(super) fn grow_file_system(device: &Path, mounted_on: &Path) -> io::Result<bool> {
    let mut device = File::open(device)?;
    let mut superblock = [0; 1024];
    device.read_exact_at(&mut superblock, SUPERBLOCK)?;
    let number = |at: usize| {
        let bytes = superblock.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default();
        u64::from(u32::from_le_bytes(bytes))
    };
    let (blocks, block) = (number(BLOCKS_LOW) | number(BLOCKS_HIGH) << 32, 1024 << number(BLOCK_SIZE).min(6));
    let room = device.seek(SeekFrom::End(0))? / block;
    if blocks >= room {
        return Ok(false);
    }
    sys::grow_ext4(mounted_on, room)?;
    Ok(true)
}

/// What is to be done to a disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Sectors by their numbers, in steps: each is safe before the next one begins.
    pub(super) steps: Vec<Vec<(u64, Bytes)>>,
    pub(super) grows: bool,
    /// Of the partition, in bytes.
    pub(super) start: u64,
    pub(super) length: u64,
}

impl Change {
    pub(super) fn write(&self, disk: &File) -> io::Result<()> {
        self.steps.iter().try_for_each(|step| {
            step.iter().try_for_each(|(sector, bytes)| disk.write_all_at(bytes, sector * SECTOR))?;
            disk.sync_all()
        })
    }
}

/// The change that gives partition `number` all room behind it; `None` where there is nothing to do.
fn planned(disk: &File, number: u32) -> Result<Option<Change>, GptError> {
    let mut staged = Staged::of(disk)?;
    let sectors = staged.seek(SeekFrom::End(0))? / SECTOR;
    let Table { guid, mut partitions, ends } = Table::read(&mut staged)?;
    let is_whole = ends == (Some(sectors - 1), Some(sectors - 1));
    let is_last = |first: u64| partitions.values().all(|other| other.first_lba <= first);
    let Some(data) = partitions.get(&number).filter(|data| is_last(data.first_lba)) else { return Ok(None) };
    let end = sectors.saturating_sub(BEHIND) * SECTOR / ALIGNMENT * ALIGNMENT / SECTOR;
    let last = data.last_lba.max(end.saturating_sub(1));
    let grows = last > data.last_lba;
    if is_whole && !grows {
        return Ok(None);
    }
    let first = data.first_lba;
    partitions.entry(number).and_modify(|data| data.last_lba = last);
    let mut table = config().create_from_device(&mut staged, Some(guid))?;
    table.update_partitions(partitions)?;
    table.write_inplace()?;
    drop(table);
    Ok(Some(Change { steps: staged.steps(), grows, start: first * SECTOR, length: (last + 1 - first) * SECTOR }))
}

fn config() -> GptConfig {
    GptConfig::new().writable(true).logical_block_size(gpt::disk::LogicalBlockSize::Lb512)
}

/// What a disk says of its partitions.
struct Table {
    guid: uuid::Uuid,
    partitions: BTreeMap<u32, gpt::partition::Partition>,
    /// Where the backup is, as the primary header and as the backup itself say.
    ends: (Option<u64>, Option<u64>),
}

impl Table {
    /// That of the primary header; where it or its entries are broken, that of the backup.
    fn read(staged: &mut Staged<File>) -> Result<Self, GptError> {
        Self::read_first(staged).or_else(|_| {
            // A header whose entries are not its own, as a power cut leaves one, would be taken before the backup.
            staged.sectors.insert(PRIMARY_HEADER, [0; 512]);
            Self::read_first(staged)
        })
    }

    fn read_first(staged: &mut Staged<File>) -> Result<Self, GptError> {
        let table = config().open_from_device(staged)?;
        let primary = table.primary_header().ok().map(|header| header.backup_lba);
        let backup = table.backup_header().ok().map(|header| header.current_lba);
        Ok(Self { guid: *table.guid(), partitions: table.partitions().clone(), ends: (primary, backup) })
    }
}

/// A disk whose writes are kept back, so that they can be done in an order that survives a power cut.
#[derive(Debug)]
struct Staged<D> {
    disk: D,
    at: u64,
    sectors: BTreeMap<u64, Bytes>,
}

impl Staged<File> {
    fn of(disk: &File) -> io::Result<Self> {
        Ok(Self { disk: disk.try_clone()?, at: 0, sectors: BTreeMap::new() })
    }

    /// What was kept back, as it is to be written: the second half of the disk, and when that is safe the first.
    fn steps(mut self) -> Vec<Vec<(u64, Bytes)>> {
        let last = self.sectors.keys().next_back().copied().unwrap_or_default();
        let second = self.sectors.split_off(&(last / 2 + 1));
        [second, self.sectors].map(|half| half.into_iter().collect()).into()
    }

    fn sector(&self, number: u64) -> io::Result<Bytes> {
        if let Some(staged) = self.sectors.get(&number) {
            return Ok(*staged);
        }
        let mut bytes = [0; 512];
        self.disk.read_exact_at(&mut bytes, number * SECTOR)?;
        Ok(bytes)
    }

    /// The sector at the place reached, where in it that is, and how much of `wanted` bytes lies in it.
    fn place(&self, wanted: usize) -> (u64, usize, usize) {
        let within = usize::try_from(self.at % SECTOR).unwrap_or_default();
        (self.at / SECTOR, within, wanted.min(512 - within))
    }
}

impl Read for Staged<File> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (number, within, count) = self.place(buffer.len());
        let sector = self.sector(number)?;
        for (target, source) in buffer.iter_mut().zip(sector.iter().skip(within)) {
            *target = *source;
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Staged<File> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (number, within, count) = self.place(buffer.len());
        let mut sector = self.sector(number)?;
        for (target, source) in sector.iter_mut().skip(within).zip(buffer) {
            *target = *source;
        }
        self.sectors.insert(number, sector);
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Staged<File> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            end @ SeekFrom::End(_) => self.disk.seek(end)?,
        };
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use gpt::mbr::ProtectiveMBR;
    use gpt::partition_types::LINUX_FS;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of 8 MiB with two partitions, the second of which is numbered 2 and called `data`.
    fn disk(folder: &Path) -> PathBuf {
        let path = folder.join("disk");
        File::create(&path).expect("made").set_len(8 * MIB).expect("made");
        let mut file = File::options().read(true).write(true).open(&path).expect("opened");
        ProtectiveMBR::with_lb_size(1).overwrite_lba0(&mut file).expect("written");
        let mut table = config().create_from_device(file, None).expect("made");
        let entry = |name: &str, first_mib: u64, mib: u64| gpt::partition::Partition {
            part_type_guid: LINUX_FS,
            part_guid: *table.guid(),
            first_lba: first_mib * MIB / SECTOR,
            last_lba: (first_mib + mib) * MIB / SECTOR - 1,
            flags: 0,
            name: name.to_owned(),
        };
        let partitions = [(1, entry("root", 1, 2)), (2, entry("data", 3, 4))].into();
        table.update_partitions(partitions).expect("sound");
        table.write().expect("written");
        path
    }

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).expect("opened")
    }

    fn size_of_data(path: &Path) -> u64 {
        let table = Table::read(&mut Staged::of(&open(path)).expect("opened")).expect("a table");
        table.partitions.get(&2).expect("there").bytes_len(gpt::disk::LogicalBlockSize::Lb512).expect("sound")
    }

    #[test]
    fn the_last_partition_gets_all_that_is_behind_it_and_nothing_is_done_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = disk(folder.path());
        assert!(planned(&open(&path), 2).expect("read").is_none(), "the image fills its disk");
        open(&path).set_len(20 * MIB).expect("a larger disk");
        let change = planned(&open(&path), 2).expect("read").expect("it can grow");
        assert_eq!((change.grows, change.start, change.length), (true, 3 * MIB, 16 * MIB));
        change.write(&open(&path)).expect("written");
        assert_eq!(size_of_data(&path), 16 * MIB);
        assert!(planned(&open(&path), 2).expect("read").is_none(), "it has grown");
        assert!(planned(&open(&path), 1).expect("read").is_none(), "one in the middle stays");
    }

    #[test]
    fn cut_after_any_sector_the_table_is_whole_at_one_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = disk(folder.path());
        open(&path).set_len(20 * MIB).expect("a larger disk");
        let change = planned(&open(&path), 2).expect("read").expect("it can grow");
        let writes: Vec<_> = change.steps.iter().flatten().collect();
        assert!(writes.len() >= 4, "two headers and two arrays: {}", writes.len());
        for cut in 0..=writes.len() {
            let copy = folder.path().join("cut");
            std::fs::copy(&path, &copy).expect("copied");
            for (sector, bytes) in writes.iter().take(cut) {
                open(&copy).write_all_at(bytes, sector * SECTOR).expect("written");
            }
            let size = size_of_data(&copy);
            assert!(size == 4 * MIB || size == 16 * MIB, "cut {cut}: {size}");
            if let Some(again) = planned(&open(&copy), 2).expect("read") {
                again.write(&open(&copy)).expect("written");
            }
            assert_eq!(size_of_data(&copy), 16 * MIB, "cut {cut}");
        }
    }

    #[test]
    fn a_file_system_says_how_large_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let file = File::create(&path).expect("made");
        file.set_len(8 * MIB).expect("made");
        file.write_all_at(&(8 * MIB / 4096).to_le_bytes()[..4], SUPERBLOCK + 4).expect("written");
        file.write_all_at(&[2], SUPERBLOCK + 0x18).expect("written");
        assert!(!grow_file_system(&path, folder.path()).expect("read"), "it fills its partition");
    }
}
