//! The programs that make file systems and the like, and how files get onto a disk.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::initramfs;
use super::layout::{Layout, Place};
use crate::failure::{Advice, Failure};
use crate::process;
use crate::signals::Signals;

const MIB: u64 = 1 << 20;

/// What makes file systems, with all that could make two builds differ held still.
pub(crate) struct Tools<'a> {
    pub(crate) work: &'a Path,
    /// Where programs are looked for before this machine's own: a folder with `bin` and `sbin`.
    pub(crate) host: Option<&'a Path>,
    pub(crate) layout: Layout,
    pub(crate) epoch: u64,
    pub(crate) signals: &'a Signals,
}

/// A program of this machine's, or one below `host`: some lie where only root looks.
pub(crate) fn tool(host: Option<&Path>, program: &str) -> Command {
    let own = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let path = host.map_or_else(|| own.clone(), |host| format!("{0}/bin:{0}/sbin:{own}", host.display()));
    // What is to be started is looked for in the path that it is given.
    let mut command = Command::new(program);
    command.env("PATH", path);
    command
}

impl Tools<'_> {
    /// Runs a tool; answers what it said.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = tool(self.host, program);
        let epoch = self.epoch.to_string();
        // E2FSPROGS_FAKE_TIME is what e2fsprogs before 1.47.1 knows of it.
        command.args(arguments).env("SOURCE_DATE_EPOCH", &epoch).env("E2FSPROGS_FAKE_TIME", &epoch).env("TZ", "UTC");
        command.env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C");
        process::ask(&mut command, self.signals)?.map_err(|why| {
            let advice = Advice::after(&why, "mend that and run this again");
            Failure::new(format!("{program} failed"), why, advice)
        })
    }

    /// Says that something takes more than its partition has: `of_it` is what takes that much.
    pub(super) fn too_large(&self, what: &str, of_it: &str, bytes: u64, partition: &str, advice: &str) -> Failure {
        let there = self.layout.place(partition).map_or(0, |place| place.size) / MIB;
        let why = format!("{of_it} takes {} MiB, and the partition {partition} has {there}", bytes.div_ceil(MIB));
        Failure::new(format!("{what} is too large"), why, advice)
    }

    pub(crate) fn initramfs(&self, init: &Path, modules: &Path, folder: &Path) -> Result<PathBuf, Failure> {
        let archive = self.work.join("initramfs.cpio");
        initramfs::write(&archive, init, modules)?;
        let packed = folder.join("initramfs.cpio.zst");
        self.run("zstd", &["-q", "-f", "-19", &text(&archive), "-o", &text(&packed)])?;
        Ok(packed)
    }
}

pub(super) fn set_size(image: &Path, size: u64) -> Result<(), Failure> {
    let made = File::create(image).and_then(|file| file.set_len(size));
    made.map_err(|error| Failure::io("write", image, &error))
}

/// What is done with the zeros of a file that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// Nothing: the place is empty, and stays so.
    Hole,
    /// They are written over what is there.
    Written,
}

/// Copies a file to a partition.
pub(crate) fn put(source: &Path, disk: &Path, place: Place, zeros: Zeros) -> Result<(), Failure> {
    copy_to(source, disk, place, zeros).map_err(|error| Failure::io("write", disk, &error))
}

fn copy_to(source: &Path, disk: &Path, place: Place, zeros: Zeros) -> io::Result<()> {
    /// What is looked at at once.
    const PIECE: usize = 64 << 10;
    let mut source = File::open(source)?;
    if source.metadata()?.len() > place.size {
        return Err(io::Error::other("it does not fit into its partition"));
    }
    let mut disk = File::options().write(true).open(disk)?;
    let mut piece = vec![0; PIECE];
    let mut at = place.start;
    loop {
        let count = source.read(&mut piece)?;
        let read = piece.get(..count).unwrap_or_default();
        if zeros == Zeros::Written || read.iter().any(|&byte| byte != 0) {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(read)?;
        }
        if count == 0 {
            return Ok(());
        }
        at += count as u64;
    }
}

pub(crate) fn megabytes(file: &Path) -> Result<f64, Failure> {
    let size = fs::metadata(file).map_err(|error| Failure::io("find", file, &error))?.len();
    Ok(u32::try_from(size / 1000).map_or(f64::INFINITY, f64::from) / 1000.0)
}

pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

pub(crate) fn write(path: &Path, content: &str) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| Failure::io("write", path, &error))
}
