//! Growing the data where the table is an MBR: they are the last of the chain of logical partitions, so three sectors say
//! how large they are: that of the extended partition, that of the link to them, and their own. Each is written for
//! itself, from the outside to the inside; wherever that is cut, the kernel reads the old size or the new one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use spec::boot::mbr::{self, Entry, Table};

use super::grow::Change;
use super::sectors::Bytes;

/// The kernel's unit for partitions.
const SECTOR: u64 = 512;
/// The data end at a multiple of this, in sectors, as all partitions do.
const ALIGNMENT: u64 = (1 << 20) / SECTOR;

/// Whether the table of a disk is an MBR of ours.
pub(super) fn is_ours(disk: &File) -> io::Result<bool> {
    Ok(Table::parse(&read(disk, 0)?).is_some_and(|table| table.is_ours()))
}

/// The change that gives partition `number` all room behind it, up to what an entry can say; `None` where there is nothing
/// to do. `sectors` is what the disk has.
pub(super) fn planned(disk: &File, sectors: u64, number: u32) -> io::Result<Option<Change>> {
    let partitions = mbr::partitions(|sector| read(disk, sector))?;
    let Some(data) = partitions.iter().find(|one| one.number == number) else { return Ok(None) };
    let Some(link) = data.link else { return Ok(None) };
    if partitions.iter().any(|other| other.first > data.first) {
        return Ok(None);
    }
    let end = (sectors.min(u64::from(u32::MAX)) / ALIGNMENT * ALIGNMENT).max(data.first + data.sectors);
    let Some((place, extended)) = Table::parse(&read(disk, 0)?).and_then(|table| table.find(mbr::Kind::Extended))
    else {
        return Ok(None);
    };
    let begin = u64::from(extended.first);
    let mut steps = Vec::new();
    // Where each begins, from the outside to the inside; of a chain with one member, the first two are the same.
    for ((sector, place), from) in [((0, place), begin), (link, data.entry.0), (data.entry, data.first)] {
        let table = Table::parse(&read(disk, sector)?);
        let Some((table, entry)) = table.and_then(|table| Some((table, table.entry(place)?))) else { continue };
        let length = u32::try_from(end.saturating_sub(from)).unwrap_or(u32::MAX);
        if entry.sectors < length {
            steps.push(vec![(sector, table.with(place, Entry { sectors: length, ..entry }).to_sector())]);
        }
    }
    if steps.is_empty() {
        return Ok(None);
    }
    let (start, length) = (data.first * SECTOR, (end - data.first) * SECTOR);
    Ok(Some(Change { steps, grows: end > data.first + data.sectors, start, length }))
}

fn read(disk: &File, sector: u64) -> io::Result<Bytes> {
    let mut bytes = [0; 512];
    disk.read_exact_at(&mut bytes, sector * SECTOR)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use spec::boot::mbr::Kind;

    use super::*;

    const MIB: u64 = ALIGNMENT;

    /// A disk of 8 MiB, the last 5 of which are an extended partition with two logical ones: 1 MiB, and the data with 2.
    fn disk() -> File {
        let disk = tempfile::tempfile().expect("a file");
        disk.set_len(8 << 20).expect("made");
        let entry = |kind, first: u64, sectors: u64| Entry {
            kind,
            first: u32::try_from(first).expect("small"),
            sectors: u32::try_from(sectors).expect("small"),
        };
        let table = Table::of_disk().with(0, entry(Kind::Fat, MIB, 2 * MIB));
        let table = table.with(3, entry(Kind::Extended, 3 * MIB, 5 * MIB));
        let one = Table::of_logical().with(0, entry(Kind::Linux, MIB, MIB));
        let one = one.with(1, entry(Kind::Extended, 2 * MIB, 3 * MIB));
        let data = Table::of_logical().with(0, entry(Kind::Linux, MIB, 2 * MIB));
        for (sector, table) in [(0, table), (3 * MIB, one), (5 * MIB, data)] {
            disk.write_all_at(&table.to_sector(), sector * SECTOR).expect("written");
        }
        disk
    }

    fn plan(disk: &File) -> Option<Change> {
        planned(disk, disk.metadata().expect("there").len() / SECTOR, 6).expect("read")
    }

    fn size_of_data(disk: &File) -> u64 {
        let partitions = mbr::partitions(|sector| read(disk, sector)).expect("read");
        partitions.iter().find(|one| one.number == 6).expect("there").sectors / MIB
    }

    #[test]
    fn the_last_of_the_chain_gets_all_that_is_behind_it_and_nothing_is_done_twice() {
        let disk = disk();
        assert!(is_ours(&disk).expect("read"));
        assert_eq!(plan(&disk), None, "the image fills its disk");
        disk.set_len((20 << 20) + 4096).expect("a larger disk");
        let change = plan(&disk).expect("it can grow");
        assert_eq!((change.grows, change.start, change.length), (true, 6 << 20, 14 << 20));
        change.write(&disk).expect("written");
        assert_eq!((size_of_data(&disk), plan(&disk)), (14, None));
        assert_eq!(planned(&disk, 99 * MIB, 5).expect("read"), None, "one in the middle stays");
        assert_eq!(planned(&disk, 99 * MIB, 1).expect("read"), None, "one outside of the chain stays");
        let extended = Table::parse(&read(&disk, 0).expect("read")).and_then(|table| table.find(Kind::Extended));
        assert_eq!(extended.map(|(_, entry)| u64::from(entry.sectors)), Some(17 * MIB));
    }

    #[test]
    fn cut_after_any_sector_the_table_is_sound_and_the_next_start_finishes_it() {
        for cut in 0..=3 {
            let disk = disk();
            disk.set_len(20 << 20).expect("a larger disk");
            let mut change = plan(&disk).expect("it can grow");
            assert_eq!(change.steps.len(), 3);
            change.steps.truncate(cut);
            change.write(&disk).expect("written");
            assert_eq!(size_of_data(&disk), if cut == 3 { 14 } else { 2 }, "cut {cut}");
            if let Some(rest) = plan(&disk) {
                assert_eq!(rest.steps.len(), 3 - cut);
                rest.write(&disk).expect("written");
            }
            assert_eq!((size_of_data(&disk), plan(&disk)), (14, None), "cut {cut}");
        }
    }

    #[test]
    fn more_than_a_table_can_say_is_left() {
        let disk = disk();
        let change = planned(&disk, 1 << 33, 6).expect("read").expect("it can grow");
        let end = (change.start + change.length) / SECTOR;
        assert!(end <= u64::from(u32::MAX) && end + ALIGNMENT > u64::from(u32::MAX), "{end}");
    }
}
