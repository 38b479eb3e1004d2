//! Single sectors of a partition, read and written where they lie, past the file system that they are part of and past the
//! kernel's cache: a file system changes more than one sector, and the cache writes whole pages; either can be torn by a
//! power cut.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::O_DIRECT;
use spec::boot::SECTOR;

/// The bytes of a sector.
pub(super) type Bytes = [u8; SECTOR];

/// What sectors are read from and written to, by their numbers.
pub(super) trait Sectors {
    /// Reads one.
    fn read(&self, number: u64) -> io::Result<Bytes>;
    /// Writes one; what was written before is safe by then, and this is once it returns.
    fn write(&self, number: u64, bytes: &Bytes) -> io::Result<()>;

    /// The same, unless that is what it holds already.
    fn change(&self, number: u64, bytes: &Bytes) -> io::Result<()> {
        if self.read(number).is_ok_and(|there| there == *bytes) {
            return Ok(());
        }
        self.write(number, bytes)
    }
}

/// Those of a partition.
#[derive(Debug)]
pub(super) struct Device(File);

/// Memory that a device reads and writes directly: so aligned for all of them (open(2), `O_DIRECT`).
#[repr(align(4096))]
struct Block(Bytes);

impl Device {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let opened = File::options().read(true).write(true).custom_flags(O_DIRECT).open(path);
        opened.map(Self).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }

    #[cfg(test)]
    pub(super) fn of(file: File) -> Self {
        Self(file)
    }
}

impl Sectors for Device {
    fn read(&self, number: u64) -> io::Result<Bytes> {
        let mut block = Block([0; SECTOR]);
        self.0.read_exact_at(&mut block.0, number * SECTOR as u64)?;
        Ok(block.0)
    }

    fn write(&self, number: u64, bytes: &Bytes) -> io::Result<()> {
        self.0.write_all_at(&Block(*bytes).0, number * SECTOR as u64)?;
        self.0.sync_all()
    }
}
