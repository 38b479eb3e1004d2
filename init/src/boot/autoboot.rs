//! `autoboot.txt` on the first partition of a Raspberry Pi's card, by which its firmware chooses a slot
//! (`spec::boot::Autoboot`).

use std::io;

use spec::boot::{AUTOBOOT_FILE, Autoboot, Slot, fat};

use super::sectors::Sectors;

/// The sector with the file.
#[derive(Debug)]
pub(super) struct AutobootFile<D> {
    device: D,
    number: u64,
}

impl<D: Sectors> AutobootFile<D> {
    /// Looks for it on the partition.
    pub(super) fn find(device: D) -> io::Result<Self> {
        let none = || io::Error::other("there is no autoboot.txt in the first folder of the first partition");
        let file = fat::find(AUTOBOOT_FILE, |number| device.read(number))?.ok_or_else(none)?;
        Ok(Self { device, number: file.sector })
    }

    #[cfg(test)]
    pub(super) fn at(device: D, number: u64) -> Self {
        Self { device, number }
    }

    /// The slot that firmware starts unless it is told otherwise.
    pub(super) fn usual(&self) -> io::Result<Slot> {
        let parsed = Autoboot::parse(&self.device.read(self.number)?);
        parsed.map(|autoboot| autoboot.usual).map_err(|spec::InvalidValue(why)| io::Error::other(why))
    }

    /// Has it start that one. A file that somebody else has written is left alone.
    pub(super) fn set_usual(&self, slot: Slot) -> io::Result<()> {
        self.usual()?;
        self.device.change(self.number, &Autoboot { usual: slot }.to_sector())
    }
}
