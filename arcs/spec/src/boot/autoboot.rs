//! `autoboot.txt`: which slot the firmware of a Raspberry Pi starts.
//!
//! The file lies on the first partition and says from which partition firmware boots: in `[all]` usually, in `[tryboot]`
//! where the last restart asked for that, which counts once (Raspberry Pi documentation, "autoboot.txt"). So a slot that is
//! tried and hangs is not started again, whatever it has written or not.
//!
//! Firmware cannot count tries. Whom it starts does, with the state sector that every disk has
//! ([`BootState`](super::BootState)): the slot that is started usually chooses as it begins, as GRUB does on other
//! machines, and restarts into the other one if it is that one's turn.

use super::{SECTOR, Slot};
use crate::values::InvalidValue;

/// The name of the file as a FAT file system keeps it: eight characters and three.
pub const AUTOBOOT_FILE: &[u8; 11] = b"AUTOBOOTTXT";
/// What a restart is told to have the slot of `[tryboot]` started: the partition, as always, and the word.
pub const TRYBOOT: &str = "0 tryboot";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autoboot {
    /// The slot that is started usually; the other one is started once if a restart asks for it.
    pub usual: Slot,
}

impl Autoboot {
    /// The file's content, which is as long whatever it says: it is replaced in one sector.
    #[must_use]
    pub fn text(self) -> String {
        let (usual, other) = (Self::partition(self.usual), Self::partition(self.usual.other()));
        format!("[all]\ntryboot_a_b=1\nboot_partition={usual}\n[tryboot]\nboot_partition={other}\n")
    }

    /// The sector with the file. What is behind its end is zero.
    #[must_use]
    pub fn to_sector(self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector.iter_mut().zip(self.text().bytes()).for_each(|(place, byte)| *place = byte);
        sector
    }

    /// Reads the sector with the file.
    ///
    /// # Errors
    /// It is no such file, or one that somebody else has written.
    pub fn parse(sector: &[u8; SECTOR]) -> Result<Self, InvalidValue> {
        let known = [Slot::A, Slot::B].map(|usual| Self { usual }).into_iter();
        let mut known = known.filter(|autoboot| autoboot.to_sector() == *sector);
        known.next().ok_or_else(|| InvalidValue("autoboot.txt is not as the image has it".to_owned()))
    }

    /// The number of a slot's boot partition ([`super::mbr::name`]).
    fn partition(slot: Slot) -> u32 {
        match slot {
            Slot::A => 2,
            Slot::B => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::mbr;

    #[test]
    fn the_file_says_which_partition_is_usual_and_is_always_as_long() {
        let (a, b) = (Autoboot { usual: Slot::A }, Autoboot { usual: Slot::B });
        assert_eq!(b.text(), "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n");
        assert_eq!(a.text().len(), b.text().len());
        for autoboot in [a, b] {
            assert_eq!(Autoboot::parse(&autoboot.to_sector()), Ok(autoboot));
            let number = Autoboot::partition(autoboot.usual);
            assert_eq!(mbr::name(number), Some(autoboot.usual.boot_partition()));
        }
        let mut changed = a.to_sector();
        changed[SECTOR - 1] = b'x';
        assert!(Autoboot::parse(&changed).is_err());
    }
}
