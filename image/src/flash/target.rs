//! What is written to: a disk that nobody uses, or a file in its place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise, major, minor};

use super::disks::{Disk, Facts};
use super::write::{Medium, too_small};
use crate::failure::{Failure, plain};

/// What is written to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A disk.
    Disk(Disk),
    /// A file that stands in the place of one, as it is and of the size that it has.
    File {
        /// Its path, as it was stated.
        path: PathBuf,
        /// In bytes.
        size: u64,
    },
}

impl Target {
    /// Finds what a person stated: `/dev/sdb`, `sdb`, a link to it, or a file.
    ///
    /// # Errors
    /// It is not there, or is neither.
    pub(super) fn find(stated: &Path, facts: &Facts) -> Result<Self, Failure> {
        let wrong = |why: &str, advice: &str| {
            Err(Failure::new(format!("nothing can be written to {}", stated.display()), why, advice))
        };
        let path = if !stated.exists() && stated.components().count() == 1 {
            Path::new("/dev").join(stated)
        } else {
            stated.to_owned()
        };
        let Ok(data) = fs::metadata(&path) else {
            return wrong("it is not there", "run scripts/flash without it: it lists what there is");
        };
        if data.is_file() {
            return Ok(Self::File { path, size: data.len() });
        }
        if !data.file_type().is_block_device() {
            return wrong("it is neither a disk nor a file", "run scripts/flash without it: it lists what there is");
        }
        let real = fs::canonicalize(&path).unwrap_or(path);
        let name = real.strip_prefix("/dev").unwrap_or(&real).to_string_lossy().replace('/', "!");
        if let Some(disk) = facts.disk(&name) {
            return Ok(Self::Disk(disk));
        }
        match facts.disk_of_partition(&name) {
            Some(disk) => wrong("it is a partition, and an image takes a whole disk", &format!("state /dev/{disk}")),
            None => wrong("/sys/block does not tell of it", "is /sys mounted?"),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Disk(disk) => disk.path(),
            Self::File { path, .. } => path.clone(),
        }
    }

    /// What a person types to say that this one is meant.
    pub(super) fn name(&self) -> String {
        let path = self.path();
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.size,
            Self::File { size, .. } => *size,
        }
    }

    /// Refuses a disk that is in use or cannot be written.
    ///
    /// # Errors
    /// Why it is refused, and what to do.
    pub(super) fn check(&self, allows_fixed: bool) -> Result<(), Failure> {
        match self {
            Self::Disk(disk) => disk.refusal(allows_fixed).map_or(Ok(()), |(why, advice)| {
                Err(Failure::new(format!("{} is not written to", disk.path().display()), why, advice))
            }),
            Self::File { .. } => Ok(()),
        }
    }

    /// Refuses what an image of that many bytes does not fit on, or what is that image.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn takes(&self, image: &Path, size: u64) -> Result<(), Failure> {
        if self.size() < size {
            return Err(too_small(&self.path().display().to_string(), self.size(), size));
        }
        let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
        if identity(&self.path()) == identity(image) {
            return Err(Failure::new("an image cannot be written onto itself", "", "state another file or a disk"));
        }
        Ok(())
    }

    /// Opens it for writing; a disk for us alone, so that nobody mounts it meanwhile.
    ///
    /// # Errors
    /// It is in use after all, is another one by now, or cannot be opened.
    pub(super) fn open(&self, allows_fixed: bool) -> Result<Opened, Failure> {
        let path = self.path();
        let exclusively = if matches!(self, Self::Disk(_)) { OFlags::EXCL } else { OFlags::empty() };
        let flags = |more: OFlags| i32::try_from((exclusively | more).bits()).unwrap_or_default();
        let open = |flags| File::options().read(true).write(true).custom_flags(flags).open(&path);
        let (file, is_direct) = match open(flags(OFlags::DIRECT)) {
            // Not every file system can do without its cache.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => (open(flags(OFlags::empty())), false),
            opened => (opened, true),
        };
        let file = file.map_err(|error| self.not_opened(&error))?;
        self.is_still(&file, allows_fixed)?;
        Ok(Opened { file, is_direct })
    }

    /// Whether what was opened is what was looked at: between the two a card may have been changed.
    fn is_still(&self, file: &File, allows_fixed: bool) -> Result<(), Failure> {
        let Self::Disk(before) = self else { return Ok(()) };
        let number = file.metadata().map(|data| format!("{}:{}", major(data.rdev()), minor(data.rdev())));
        let now = Facts::now().disk(&before.name).filter(|now| number.is_ok_and(|number| number == now.number));
        match now {
            Some(now) if (now.size, &now.model) == (before.size, &before.model) => Self::Disk(now).check(allows_fixed),
            _ => Err(Failure::new(
                format!("{} is another disk now", before.path().display()),
                "it was changed while this ran",
                "run this again; nothing was written",
            )),
        }
    }

    fn not_opened(&self, error: &io::Error) -> Failure {
        let advice = match error.kind() {
            io::ErrorKind::ResourceBusy => {
                "something uses it that is not seen from here, such as another program; end that"
            }
            io::ErrorKind::PermissionDenied => "run this as root",
            _ => "plug it in again, or use another",
        };
        Failure::new(format!("cannot open {} for writing", self.path().display()), plain(error), advice)
    }
}

/// Something that is opened for writing.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    /// Whether what is read and written goes past the kernel's cache.
    is_direct: bool,
}

impl Medium for Opened {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn read_at(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if !self.is_direct {
            fadvise(&self.file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}
