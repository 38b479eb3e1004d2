//! Where a file in the root folder of a FAT file system lies, so that a sector of it can be replaced without the file
//! system: of what a FAT driver writes, a power cut may keep any part (Microsoft, "FAT File System Specification", 1.03).

use super::SECTOR;

/// The fields of the first sector: bytes in a sector; sectors in a cluster; sectors before the first table; tables; entries
/// of the root folder; sectors in a table.
const BYTES_IN_SECTOR: usize = 11;
const SECTORS_IN_CLUSTER: usize = 13;
const RESERVED: usize = 14;
const TABLES: usize = 16;
const ROOT_ENTRIES: usize = 17;
const SECTORS_IN_TABLE: usize = 22;
/// An entry of a folder: its size, and in it the attributes, the first cluster, and the size in bytes.
const ENTRY: usize = 32;
const ATTRIBUTES: usize = 11;
const CLUSTER: usize = 26;
const SIZE: usize = 28;
/// The attributes that no file has: it is a label (or part of a long name), a folder.
const NO_FILE: u8 = 0x08 | 0x10;

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its first sector, from the beginning of the file system.
    pub sector: u64,
    /// How long it is, in bytes.
    pub size: u32,
}

/// Looks for a file, by its name as it stands in the folder, on the file system of which `read` reads a sector. `None`:
/// it is not there, or this is no FAT12 or FAT16 (the root folder of a FAT32 lies anywhere).
///
/// # Errors
/// Those of `read`.
pub fn find<E>(name: &[u8; 11], mut read: impl FnMut(u64) -> Result<[u8; SECTOR], E>) -> Result<Option<File>, E> {
    let Some(form) = Form::of(&read(0)?) else { return Ok(None) };
    for sector in form.root..form.data {
        let folder = read(sector)?;
        let (entries, _) = folder.as_chunks::<ENTRY>();
        let named = |entry: &&[u8; ENTRY]| {
            entry.starts_with(name) && entry.get(ATTRIBUTES).is_some_and(|attributes| attributes & NO_FILE == 0)
        };
        if let Some(entry) = entries.iter().find(named) {
            return Ok(form.file(entry));
        }
    }
    Ok(None)
}

/// Where the parts of a file system begin, in sectors.
struct Form {
    root: u64,
    data: u64,
    sectors_in_cluster: u64,
}

impl Form {
    fn of(sector: &[u8; SECTOR]) -> Option<Self> {
        let byte = |at: usize| sector.get(at).map(|byte| u64::from(*byte));
        let tables = byte(TABLES)? * number(sector, SECTORS_IN_TABLE)?;
        let entries = number(sector, ROOT_ENTRIES)?;
        let sectors_in_cluster = byte(SECTORS_IN_CLUSTER)?;
        let is_known = number(sector, BYTES_IN_SECTOR)? == SECTOR as u64 && tables * entries * sectors_in_cluster > 0;
        let root = number(sector, RESERVED)? + tables;
        let data = root + (entries * ENTRY as u64).div_ceil(SECTOR as u64);
        is_known.then_some(Self { root, data, sectors_in_cluster })
    }

    fn file(&self, entry: &[u8]) -> Option<File> {
        let size = u32::from_le_bytes(*entry.get(SIZE..)?.first_chunk()?);
        let cluster = number(entry, CLUSTER)?.checked_sub(2)?;
        Some(File { sector: self.data + cluster * self.sectors_in_cluster, size })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from(u16::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8; 11] = b"AUTOBOOTTXT";

    /// A file system with a sector before its two tables of three, 32 entries, clusters of four sectors, and one file that
    /// begins in the fourth cluster.
    fn sector(number: u64) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        match number {
            0 => put(BYTES_IN_SECTOR, &[0, 2, 4, 1, 0, 2, 32, 0, 0, 0, 0, 3, 0]),
            7 => put(0, b"LLMBASEDOS \x08"),
            8 => {
                put(0, b"AUTOBOOTTXT\x08");
                put(ENTRY, b"AUTOBOOTTXT\x20");
                put(ENTRY + CLUSTER, &[5, 0, 66, 0, 0, 0]);
            }
            _ => panic!("nobody asks for sector {number}"),
        }
        sector
    }

    #[test]
    fn a_file_is_found_by_its_entry() {
        let found = find(NAME, |number| Ok::<_, ()>(sector(number)));
        assert_eq!(found, Ok(Some(File { sector: 9 + 3 * 4, size: 66 })));
        assert_eq!(find(b"LLMBASE TOM", |number| Ok::<_, ()>(sector(number))), Ok(None));
        assert_eq!(find(b"LLMBASEDOS ", |number| Ok::<_, ()>(sector(number))), Ok(None), "that is its label");
    }

    #[test]
    fn what_is_no_such_file_system_has_none() {
        assert_eq!(find(NAME, |_| Ok::<_, ()>([0; SECTOR])), Ok(None));
        assert_eq!(find(NAME, |_| Ok::<_, ()>([0xff; SECTOR])), Ok(None));
        assert_eq!(find(NAME, |_| Err(5)), Err(5));
    }
}
