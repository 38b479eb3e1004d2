//! What lies at the beginning of a disk: whether it is a disk of ours, how far it reaches, and where its `llmbasedos.toml`
//! lies. A disk of a PC has a GUID partition table, where partitions have names; that of a Raspberry Pi has a master boot
//! record, where they have none, and is known by the label of the file system that the owner's settings lie on.
//!
//! The bytes may come from anywhere: they are hostile until they are checked.

use std::io::Cursor;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, Slot};

/// The unit of both tables, in bytes.
pub(super) const SECTOR: u64 = 512;
/// The label of the FAT file system with `llmbasedos.toml`, as it stands in its boot sector.
const LABEL: &[u8] = b"LLMBASEDOS ";
/// Both tables and all that belongs to them lie within this many bytes.
const TABLES: usize = 1 << 20;
/// Types of partitions with a FAT file system (<https://www.win.tue.nl/~aeb/partitions/partition_types-1.html>).
const FAT_TYPES: [u8; 6] = [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e];

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
        if head.get(512..520) == Some(b"EFI PART") { of_names(head) } else { of_labels(head) }
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

fn of_labels(head: &[u8]) -> Result<Table, String> {
    // Four entries of 16 bytes: the type at 4, the first sector at 8, the number of sectors at 12.
    let entries = (0..4).map(|index| 446 + 16 * index).filter_map(|at| {
        let sectors = (u64::from(number(head, at + 8)?), u64::from(number(head, at + 12)?));
        Some((*head.get(at + 4)?, sectors.0 * SECTOR, (sectors.0 + sectors.1) * SECTOR))
    });
    let used: Vec<(u8, u64, u64)> = entries.filter(|&(kind, ..)| kind != 0).collect();
    let config = used.iter().find(|&&(kind, start, _)| FAT_TYPES.contains(&kind) && has_label(head, start));
    match config {
        Some(&(_, config, _)) => {
            Ok(Table { size: used.iter().map(|&(.., end)| end).max().unwrap_or_default(), config })
        }
        None => Err("none of its partitions is named as ours are".to_owned()),
    }
}

/// Whether a FAT file system with our label begins there: FAT12 and FAT16 have the label at 43, FAT32 at 71
/// (Microsoft's FAT specification, section 3).
fn has_label(head: &[u8], start: u64) -> bool {
    let Ok(start) = usize::try_from(start) else { return false };
    [43, 71].iter().any(|at| head.get(start + at..start + at + LABEL.len()) == Some(LABEL))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::layout::Layout;

    fn of_a_pc() -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk.img");
        Layout::default().create(&path).expect("made");
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

    /// A master boot record with these partitions: type, first sector, sectors; FAT16 with a label at 1 MiB.
    fn of_a_pi(partitions: &[(u8, u32, u32)], label: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 4 << 20];
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (index, (kind, first, sectors)) in partitions.iter().enumerate() {
            let at = 446 + 16 * index;
            head[at + 4] = *kind;
            head[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
            head[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
        head[(1 << 20) + 43..][..label.len()].copy_from_slice(label);
        head
    }

    #[test]
    fn a_disk_of_a_pc_is_known_by_the_names_of_its_partitions() {
        let layout = Layout::default();
        let table = Table::read(&of_a_pc()).expect("ours");
        let config = layout.place(CONFIG_PARTITION).expect("there");
        let data = layout.place(DATA_PARTITION).expect("there");
        assert_eq!((table.config, table.size), (config.start, data.start + data.size + (1 << 20)));
    }

    #[test]
    fn a_disk_of_a_pi_is_known_by_a_label() {
        let partitions = [(0x0c, 2048, 32_768), (0x0c, 34_816, 131_072), (0x0c, 165_888, 131_072), (0x0f, 296_960, 9)];
        let table = Table::read(&of_a_pi(&partitions, LABEL)).expect("ours");
        assert_eq!(table, Table { size: 296_969 * 512, config: 1 << 20 });
        let others = Table::read(&of_a_pi(&partitions, b"RASPBERRY  ")).expect_err("another");
        assert_eq!(others, "none of its partitions is named as ours are");
        assert!(Table::read(&of_a_pi(&[(0x83, 2048, 9)], LABEL)).is_err(), "no FAT, whatever it says");
        assert!(Table::read(&of_a_pi(&[(0x0c, u32::MAX, u32::MAX)], LABEL)).is_err(), "beyond what was read");
    }

    #[test]
    fn what_is_none_of_ours_is_refused_whatever_it_is() {
        let sound = of_a_pc();
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
