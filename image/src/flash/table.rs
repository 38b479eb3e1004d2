//! What lies at the beginning of a disk: whether it is a disk of ours, how far it reaches, and where its `llmbasedos.toml`
//! lies. A disk of a PC has a GUID partition table, where partitions have names; that of a Raspberry Pi has a master boot
//! record ([`mbr`]), where they have numbers.
//!
//! The bytes may come from anywhere: they are hostile until they are checked.

use std::io::Cursor;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, Slot, mbr};

/// The unit of both tables, in bytes.
pub(super) const SECTOR: u64 = 512;
/// Both tables and all that belongs to them lie within this many bytes.
const TABLES: usize = 1 << 20;

/// A disk of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// How many bytes it has at least.
    pub(super) size: u64,
    /// Where the file system with `llmbasedos.toml` begins, in bytes.
    pub(super) config: u64,
}

impl Table {
    /// Reads it from the first bytes of a disk.
    ///
    /// # Errors
    /// Why it is none of ours, in words.
    pub(super) fn read(head: &[u8]) -> Result<Self, String> {
        if head.get(510..512) != Some(&[0x55, 0xaa]) {
            return Err("it has no partition table".to_owned());
        }
        if head.get(512..520) == Some(b"EFI PART") { of_names(head) } else { of_numbers(head) }
    }
}

fn of_names(head: &[u8]) -> Result<Table, String> {
    // The library takes no other size of an entry (UEFI specification 2.10, section 5.3.2).
    if number(head, 512 + 84) != Some(128) {
        return Err("the entries of its partition table have an unknown size".to_owned());
    }
    let mut tables = head.get(..TABLES).unwrap_or(head).to_vec();
    // The library would look for the second table here, which lies at the end of the whole disk.
    tables.iter_mut().rev().take(512).for_each(|byte| *byte = 0);
    let broken = |error: &dyn std::fmt::Display| format!("its partition table is broken ({error})");
    let config = GptConfig::new().logical_block_size(LogicalBlockSize::Lb512);
    let disk = config.open_from_device(Cursor::new(tables)).map_err(|error| broken(&error))?;
    let last = disk.primary_header().map_err(|error| broken(&error))?.backup_lba;
    let first = |name: &str| disk.partitions().values().find(|one| one.name == name).map(|one| one.first_lba);
    let wanted = [Slot::A.root_partition(), Slot::B.root_partition(), DATA_PARTITION, CONFIG_PARTITION];
    match wanted.iter().find(|name| first(name).is_none()) {
        Some(name) => Err(format!("it has no partition {name}")),
        None => {
            let bytes = |sectors: u64| sectors.checked_mul(SECTOR).ok_or("its partition table is broken".to_owned());
            Ok(Table {
                size: bytes(last.saturating_add(1))?,
                config: bytes(first(CONFIG_PARTITION).unwrap_or_default())?,
            })
        }
    }
}

fn of_numbers(head: &[u8]) -> Result<Table, String> {
    let table = head.first_chunk().and_then(mbr::Table::parse).filter(mbr::Table::is_ours);
    let table = table.ok_or("its partition table is none of ours")?;
    let bytes = |sectors: u32| u64::from(sectors) * SECTOR;
    let ends = (0..4).filter_map(|place| table.entry(place)).map(|entry| bytes(entry.first) + bytes(entry.sectors));
    let config = table.entry(0).ok_or(format!("it has no partition {CONFIG_PARTITION}"))?;
    Ok(Table { size: ends.max().unwrap_or_default(), config: bytes(config.first) })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::layout::{self, Layout};

    /// The first bytes of an empty disk of ours.
    fn of_ours(layout: Layout) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk.img");
        layout.create(&path).expect("made");
        let mut head = vec![0; 4 << 20];
        std::io::Read::read_exact(&mut std::fs::File::open(&path).expect("there"), &mut head).expect("read");
        head
    }

    /// A sound table of a PC with one partition, which is not named as ours are.
    fn of_another_system() -> Vec<u8> {
        let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
        let mut device = Cursor::new(vec![0; 4 << 20]);
        gpt::mbr::ProtectiveMBR::with_lb_size(8191).overwrite_lba0(&mut device).expect("written");
        let mut disk = config.create_from_device(device, None).expect("made");
        disk.add_partition("data", 1 << 20, gpt::partition_types::LINUX_FS, 0, None).expect("added");
        disk.write().expect("written").into_inner()
    }

    #[test]
    fn a_disk_of_ours_is_known_by_names_or_by_its_identifier() {
        let tables = [(layout::Table::Gpt, 1 << 20), (layout::Table::Mbr, 0)];
        for ((table, behind), root_mib) in tables.into_iter().flat_map(|table| [(table, 0), (table, 3584)]) {
            let layout = Layout { table, root_mib, ..Layout::default() };
            let read = Table::read(&of_ours(layout)).expect("ours");
            let config = layout.place(CONFIG_PARTITION).expect("there");
            let data = layout.place(DATA_PARTITION).expect("there");
            assert_eq!((read.config, read.size), (config.start, data.start + data.size + behind));
        }
        let mut others = of_ours(Layout { table: layout::Table::Mbr, ..Layout::default() });
        others[440] ^= 1;
        assert_eq!(Table::read(&others).expect_err("another"), "its partition table is none of ours");
    }

    #[test]
    fn what_is_none_of_ours_is_refused_whatever_it_is() {
        let sound = of_ours(Layout::default());
        let refused = |head: &[u8]| Table::read(head).expect_err("refused");
        assert_eq!(refused(b""), "it has no partition table");
        assert_eq!(refused(&vec![0; 4 << 20]), "it has no partition table");
        assert_eq!(refused(&of_another_system()), "it has no partition root-a");
        let mut odd = sound.clone();
        odd[512 + 84] = 129;
        assert_eq!(refused(&odd), "the entries of its partition table have an unknown size");
        // The header's sum, the number of entries, where they lie, a letter of a name.
        for at in [512 + 16, 512 + 80, 512 + 72, 1024 + 5 * 128 + 56] {
            let mut broken = sound.clone();
            broken[at] ^= 0xff;
            assert!(refused(&broken).starts_with("its partition table is broken"), "{at}");
        }
        for length in [511, 512, 600, 1024, 1100, 16 << 10] {
            assert!(Table::read(&sound[..length]).is_err(), "{length}");
        }
    }
}
