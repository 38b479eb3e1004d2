//! The initramfs: PID 1 and the modules that it takes to find the root, as a newc archive (Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use cpio::newc::{Builder, ModeFileType, trailer};
use spec::boot::FIRST_MODULES;

use crate::failure::Failure;

/// Folders that something is mounted on, or made in.
const FOLDERS: [&str; 5] = ["dev", "proc", "sys", "root", "run"];

/// Writes the archive: `init` as `/init`, the files of `modules` below [`FIRST_MODULES`].
pub(super) fn write(path: &Path, init: &Path, modules: &Path) -> Result<(), Failure> {
    archive(path, init, modules).map_err(|error| Failure::io("write", path, &error))
}

fn archive(path: &Path, init: &Path, modules: &Path) -> io::Result<()> {
    let mut archive = Archive { out: BufWriter::new(File::create(path)?), number: 0 };
    for folder in FOLDERS {
        archive.entry(folder, ModeFileType::Directory, 0o755, None, &[])?;
    }
    // The kernel opens it for the first process before anything is mounted: major 5, minor 1.
    archive.entry("dev/console", ModeFileType::Char, 0o600, Some((5, 1)), &[])?;
    archive.entry("init", ModeFileType::Regular, 0o755, None, &fs::read(init)?)?;
    let folder = FIRST_MODULES.trim_start_matches('/');
    archive.entry(folder, ModeFileType::Directory, 0o755, None, &[])?;
    let mut files: Vec<_> = fs::read_dir(modules)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        archive.entry(&format!("{folder}/{name}"), ModeFileType::Regular, 0o644, None, &fs::read(&file)?)?;
    }
    trailer(archive.out)?.flush()
}

struct Archive {
    out: BufWriter<File>,
    number: u32,
}

impl Archive {
    fn entry(
        &mut self,
        name: &str,
        kind: ModeFileType,
        mode: u32,
        device: Option<(u32, u32)>,
        content: &[u8],
    ) -> io::Result<()> {
        self.number += 1;
        let links = if matches!(kind, ModeFileType::Directory) { 2 } else { 1 };
        let mut builder = Builder::new(name).ino(self.number).nlink(links).mode(mode).set_mode_file_type(kind);
        if let Some((major, minor)) = device {
            builder = builder.rdev_major(major).rdev_minor(minor);
        }
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut writer = builder.write(&mut self.out, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}
