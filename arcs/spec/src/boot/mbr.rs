//! The partition table of a Raspberry Pi's card: an MBR (UEFI specification 2.10, section 5.2.1, "Legacy Master
//! Boot Record"; the chain as Linux reads it, `block/partitions/msdos.c`).
//!
//! It is no GPT because not all of their boot loaders read one: that of a Compute Module 5 finds no partition there. An MBR
//! has room for four partitions. Three are what the firmware reads, and the fourth, the extended one, holds the others as a
//! chain: before each of these logical partitions lies a sector of the form of an MBR ([`Table`]) with two entries, the
//! partition and the rest of the chain.
//!
//! There are no names in it. What a partition is for is told by its number ([`name`]), and whether a disk is one of ours by
//! its identifier ([`IDENTIFIER`]).
//!
//! | number | name | what |
//! | --- | --- | --- |
//! | 1 | `config` | FAT: `autoboot.txt` ([`super::Autoboot`]), the owner's `llmbasedos.toml` |
//! | 2, 3 | `boot-a`, `boot-b` | FAT: firmware and kernel of a slot |
//! | 4 | – | the extended one |
//! | 5 | `state` | as on every disk ([`super::BootState`]) |
//! | 6, 7 | `root-a`, `root-b` | the roots |
//! | 8 | `data` | what is kept; it is grown to the disk's end |

use super::{CONFIG_PARTITION, DATA_PARTITION, SECTOR, STATE_PARTITION, Slot};

/// The identifier of the disks that are partitioned so: `llmb`.
pub const IDENTIFIER: u32 = u32::from_be_bytes(*b"llmb");
/// The number of the extended partition.
pub const EXTENDED: u32 = 4;
/// The number of the first logical partition.
pub const FIRST_LOGICAL: u32 = 5;

/// Where a table has the identifier, the entries of 16 bytes, and its signature.
const IDENTIFIER_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY: usize = 16;
const SIGNATURE_AT: usize = 510;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// What an entry has in the place of cylinder, head and sector where those cannot say it.
const NO_CYLINDER: [u8; 3] = [0xfe, 0xff, 0xff];

/// The name of a partition of ours.
#[must_use]
pub fn name(number: u32) -> Option<&'static str> {
    match number {
        1 => Some(CONFIG_PARTITION),
        2 => Some(Slot::A.boot_partition()),
        3 => Some(Slot::B.boot_partition()),
        5 => Some(STATE_PARTITION),
        6 => Some(Slot::A.root_partition()),
        7 => Some(Slot::B.root_partition()),
        8 => Some(DATA_PARTITION),
        _ => None,
    }
}

/// What a partition is for, as tables call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A FAT file system, addressed by sectors.
    Fat,
    /// One of Linux.
    Linux,
    /// The rest of a chain.
    Extended,
    /// What an MBR says of a disk whose table is a GPT.
    Protective,
    /// Anything else.
    Other(u8),
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0x0c => Self::Fat,
            0x83 => Self::Linux,
            0x05 | 0x0f | 0x85 => Self::Extended,
            0xee => Self::Protective,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Fat => 0x0c,
            Self::Linux => 0x83,
            // The one that says that it is addressed by sectors.
            Self::Extended => 0x0f,
            Self::Protective => 0xee,
            Self::Other(byte) => byte,
        }
    }
}

/// An entry of a table. Where it begins is told from that table's own sector; for the rest of a chain, from the beginning
/// of the extended partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What the partition is for.
    pub kind: Kind,
    /// Its first sector.
    pub first: u32,
    /// How many it has.
    pub sectors: u32,
}

/// A sector with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table([u8; SECTOR]);

impl Table {
    /// An empty one of a disk of ours.
    #[must_use]
    pub fn of_disk() -> Self {
        let mut table = Self::of_logical();
        table.put(IDENTIFIER_AT, &IDENTIFIER.to_le_bytes());
        table
    }

    /// An empty one before a logical partition.
    #[must_use]
    pub fn of_logical() -> Self {
        let mut table = Self([0; SECTOR]);
        table.put(SIGNATURE_AT, &SIGNATURE);
        table
    }

    /// That of a sector; `None` where there is none.
    #[must_use]
    pub fn parse(sector: &[u8; SECTOR]) -> Option<Self> {
        sector.ends_with(&SIGNATURE).then_some(Self(*sector))
    }

    /// Whether it is that of a disk of ours.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.number(IDENTIFIER_AT) == Some(IDENTIFIER)
    }

    /// The entry in one of the four places, from 0 on; `None` where that is empty.
    #[must_use]
    pub fn entry(&self, place: usize) -> Option<Entry> {
        let at = ENTRIES_AT + place.min(3) * ENTRY;
        let entry =
            Entry { kind: Kind::of(*self.0.get(at + 4)?), first: self.number(at + 8)?, sectors: self.number(at + 12)? };
        (entry.sectors > 0).then_some(entry)
    }

    /// The entry of that kind, with its place.
    #[must_use]
    pub fn find(&self, kind: Kind) -> Option<(usize, Entry)> {
        (0..4).find_map(|place| Some((place, self.entry(place).filter(|entry| entry.kind == kind)?)))
    }

    /// The same with an entry in one of the four places.
    #[must_use]
    pub fn with(mut self, place: usize, entry: Entry) -> Self {
        let at = ENTRIES_AT + place.min(3) * ENTRY;
        self.put(at + 1, &NO_CYLINDER);
        self.put(at + 4, &[entry.kind.byte()]);
        self.put(at + 5, &NO_CYLINDER);
        self.put(at + 8, &entry.first.to_le_bytes());
        self.put(at + 12, &entry.sectors.to_le_bytes());
        self
    }

    /// The sector that it is.
    #[must_use]
    pub fn to_sector(self) -> [u8; SECTOR] {
        self.0
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.0.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0.iter_mut().skip(at).zip(bytes).for_each(|(place, byte)| *place = *byte);
    }
}

/// A partition of a disk, with the entries that say where it lies: each is a sector of the disk and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// From 1 on; logical ones from [`FIRST_LOGICAL`] on.
    pub number: u32,
    /// Its first sector.
    pub first: u64,
    /// How many it has.
    pub sectors: u64,
    /// What says so.
    pub entry: (u64, usize),
    /// Of a logical one, what leads to that.
    pub link: Option<(u64, usize)>,
}

/// All partitions of a disk of which `read` reads a sector, but for the extended one. A chain that never ends is followed
/// for [`LONGEST_CHAIN`] partitions.
///
/// # Errors
/// Those of `read`.
pub fn partitions<E>(mut read: impl FnMut(u64) -> Result<[u8; SECTOR], E>) -> Result<Vec<Partition>, E> {
    let mut found = Vec::new();
    let Some(disk) = Table::parse(&read(0)?) else { return Ok(found) };
    for (number, place) in (1..).zip(0..4) {
        let entry = disk.entry(place).filter(|entry| entry.kind != Kind::Extended);
        found.extend(entry.map(|entry| entry.partition(number, 0, place, None)));
    }
    let Some((place, extended)) = disk.find(Kind::Extended) else { return Ok(found) };
    let begin = u64::from(extended.first);
    let (mut at, mut link) = (begin, (0, place));
    for number in (FIRST_LOGICAL..).take(LONGEST_CHAIN) {
        let Some(table) = Table::parse(&read(at)?) else { break };
        let Some(entry) = table.entry(0).filter(|entry| entry.kind != Kind::Extended) else { break };
        found.push(entry.partition(number, at, 0, Some(link)));
        let Some((place, rest)) = table.find(Kind::Extended) else { break };
        link = (at, place);
        at = begin + u64::from(rest.first);
    }
    Ok(found)
}

/// So many logical partitions are looked at.
pub const LONGEST_CHAIN: usize = 16;

impl Entry {
    fn partition(self, number: u32, table: u64, place: usize, link: Option<(u64, usize)>) -> Partition {
        let first = table + u64::from(self.first);
        Partition { number, first, sectors: u64::from(self.sectors), entry: (table, place), link }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_table_is_read_back() {
        let (fat, rest) = (
            Entry { kind: Kind::Fat, first: 2048, sectors: 7 },
            Entry { kind: Kind::Extended, first: 1 << 20, sectors: u32::MAX },
        );
        let table = Table::of_disk().with(0, fat).with(3, rest);
        let read = Table::parse(&table.to_sector()).expect("a table");
        assert_eq!((read.entry(0), read.entry(1), read.find(Kind::Extended)), (Some(fat), None, Some((3, rest))));
        assert!(read.is_ours() && !Table::of_logical().is_ours());
        assert_eq!(Table::parse(&[0; SECTOR]), None);
        assert_eq!(table.to_sector().get(440..444), Some(&b"bmll"[..]), "Linux shows it as 6c6c6d62");
    }

    #[test]
    fn a_chain_is_followed_to_its_end_and_not_for_ever() {
        let part = |first, sectors| Entry { kind: Kind::Linux, first, sectors };
        let rest = |first, sectors| Entry { kind: Kind::Extended, first, sectors };
        let disk = Table::of_disk().with(1, part(10, 5)).with(3, rest(100, 60));
        let one = Table::of_logical().with(0, part(4, 8)).with(1, rest(20, 40));
        let other = Table::of_logical().with(0, part(4, 36));
        let read = |last: Table| {
            partitions(move |sector| {
                Ok::<_, ()>(match sector {
                    0 => disk.to_sector(),
                    100 => one.to_sector(),
                    120 => last.to_sector(),
                    _ => panic!("nobody asks for sector {sector}"),
                })
            })
            .expect("read")
        };
        let found = read(other);
        let lies = |one: &Partition| (one.number, one.first, one.sectors, one.entry, one.link);
        let expected =
            [(2, 10, 5, (0, 1), None), (5, 104, 8, (100, 0), Some((0, 3))), (6, 124, 36, (120, 0), Some((100, 1)))];
        assert_eq!(found.iter().map(lies).collect::<Vec<_>>(), expected);
        assert_eq!(read(other.with(1, rest(0, 9))).len(), 1 + LONGEST_CHAIN, "it bites its own tail");
        assert_eq!(partitions(|_| Ok::<_, ()>([0; SECTOR])), Ok(Vec::new()));
    }

    #[test]
    fn each_number_has_a_name_of_its_own() {
        let names: Vec<&str> = (1..=9).filter_map(name).collect();
        assert_eq!(names, ["config", "boot-a", "boot-b", "state", "root-a", "root-b", "data"]);
        assert_eq!(name(EXTENDED), None);
    }
}
