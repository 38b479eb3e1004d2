//! A disk in memory over a file that is never written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// What a disk writes whole or not at all, in bytes.
pub(crate) const SECTOR: usize = 512;

/// The content of one.
pub(crate) type Sector = [u8; SECTOR];

/// A disk: an image, zeros behind it, and what was written since.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    image: Arc<File>,
    image_size: u64,
    /// In bytes.
    pub(crate) size: u64,
    written: BTreeMap<u64, Sector>,
}

impl Disk {
    /// A disk of `size` bytes that begins with an image: both whole numbers of sectors.
    pub(crate) fn open(image: &Path, size: u64) -> io::Result<Self> {
        let image = File::open(image)?;
        let image_size = image.metadata()?.len();
        let are_whole = [size, image_size].iter().all(|bytes| bytes.is_multiple_of(SECTOR as u64));
        assert!(are_whole && size >= image_size, "a disk of {size} bytes for an image of {image_size}");
        Ok(Self { image: Arc::new(image), image_size, size, written: BTreeMap::new() })
    }

    /// Reads what is at `offset`, which like the length is a whole number of sectors within the disk.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = sectors(offset, buffer.len());
        let within = self.image_size.saturating_sub(offset).min(buffer.len() as u64);
        let (image, behind) = buffer.split_at_mut(usize::try_from(within).map_err(io::Error::other)?);
        self.image.read_exact_at(image, offset)?;
        behind.fill(0);
        for (number, sector) in self.written.range(range.clone()) {
            let at = usize::try_from(number - range.start).map_err(io::Error::other)? * SECTOR;
            buffer[at..at + SECTOR].copy_from_slice(sector);
        }
        Ok(())
    }

    /// Writes whole sectors.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for (number, sector) in split(offset, data) {
            self.write_sector(number, *sector);
        }
    }

    /// Writes one sector.
    pub(crate) fn write_sector(&mut self, number: u64, sector: Sector) {
        self.written.insert(number, sector);
    }

    /// Copies a part of the disk to an empty file, whose beginning is the byte `origin` of the disk; what was never
    /// written stays a hole in it.
    pub(crate) fn copy_to(&self, part: Range<u64>, file: &File, origin: u64) -> io::Result<()> {
        file.set_len(part.end - origin)?;
        let mut at = part.start;
        while let Some(data) = self.next_data(at..part.end)? {
            let mut piece = vec![0; usize::try_from(data.end - data.start).map_err(io::Error::other)?];
            self.image.read_exact_at(&mut piece, data.start)?;
            file.write_all_at(&piece, data.start - origin)?;
            at = data.end;
        }
        for (number, sector) in self.written.range(numbers(&part)) {
            file.write_all_at(sector, number * SECTOR as u64 - origin)?;
        }
        Ok(())
    }

    /// Where the image's file first holds something in a part of the disk: 1 MiB of it at the most.
    fn next_data(&self, part: Range<u64>) -> io::Result<Option<Range<u64>>> {
        const PIECE: u64 = 1 << 20;
        let end = part.end.min(self.image_size);
        let start = match seek(&*self.image, SeekFrom::Data(part.start)) {
            Ok(start) if start < end => start,
            Ok(_) | Err(Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let hole = seek(&*self.image, SeekFrom::Hole(start))?;
        Ok(Some(start..hole.min(end).min(start + PIECE)))
    }
}

/// The sectors of a write, with their numbers.
pub(crate) fn split(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &Sector)> {
    let (whole, rest) = data.as_chunks();
    let are_whole = rest.is_empty() && offset.is_multiple_of(SECTOR as u64);
    assert!(are_whole, "{} bytes at {offset} are not whole sectors", data.len());
    (offset / SECTOR as u64..).zip(whole)
}

/// The numbers of the sectors that so many bytes at `offset` take.
fn sectors(offset: u64, length: usize) -> Range<u64> {
    numbers(&(offset..offset + length as u64))
}

fn numbers(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / SECTOR as u64..bytes.end / SECTOR as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_shows_its_image_what_was_written_and_zeros_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image");
        std::fs::write(&path, [1; 4 * SECTOR]).expect("written");
        let mut disk = Disk::open(&path, 8 * SECTOR as u64).expect("opened");
        disk.write(3 * SECTOR as u64, &[2; 2 * SECTOR]);
        let mut all = [9; 8 * SECTOR];
        disk.read(0, &mut all).expect("read");
        let firsts = |bytes: &[u8]| bytes.iter().step_by(SECTOR).copied().collect::<Vec<_>>();
        assert_eq!(firsts(&all), [1, 1, 1, 2, 2, 0, 0, 0]);
        assert_eq!(std::fs::read(&path).expect("there"), [1; 4 * SECTOR], "the image stays as it was");

        let copy = File::options().read(true).write(true).create_new(true).open(folder.path().join("copy"));
        let copy = copy.expect("made");
        disk.copy_to(2 * SECTOR as u64..6 * SECTOR as u64, &copy, 2 * SECTOR as u64).expect("copied");
        let mut part = [9; 4 * SECTOR];
        copy.read_exact_at(&mut part, 0).expect("read");
        assert_eq!(firsts(&part), [1, 2, 2, 0]);
        assert_eq!(copy.metadata().expect("there").len(), 4 * SECTOR as u64);
    }
}
