//! What the firmware of a Raspberry Pi starts: the boot partition of a slot with that firmware, the kernel and what the
//! kernel is told, and `autoboot.txt`, by which one of the two slots is chosen (`spec::boot::Autoboot`).
//!
//! A boot partition is written as a whole, and nothing on it is changed afterwards.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use spec::boot::{AUTOBOOT_FILE, Autoboot, SECTOR, Slot, fat};

use super::{Tools, text, write};
use crate::failure::Failure;

/// What the firmware is told of every model, behind what is told of one.
const CONFIGURATION: &str = include_str!("config.txt");
/// The file among the firmware's with what is told of one model.
pub(crate) const BOARD_CONFIGURATION: &str = "config.txt";

/// A model of which images are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// A Raspberry Pi 4, 400, or Compute Module 4.
    #[value(name = "rpi4")]
    Pi4,
    /// A Raspberry Pi 5.
    #[value(name = "rpi5")]
    Pi5,
}

impl Model {
    /// The firmware's files that lie on the card. That of a Raspberry Pi 5 lies in its own memory.
    pub(crate) fn firmware(self) -> &'static [&'static str] {
        match self {
            Self::Pi4 => &["start4.elf", "fixup4.dat"],
            Self::Pi5 => &[],
        }
    }

    /// What the names of the device trees for it begin with.
    fn device_trees(self) -> &'static str {
        match self {
            Self::Pi4 => "bcm2711-",
            Self::Pi5 => "bcm2712",
        }
    }

    /// Its first serial line, as Linux calls it.
    fn serial(self) -> &'static str {
        match self {
            Self::Pi4 => "ttyS1",
            Self::Pi5 => "ttyAMA10",
        }
    }
}

/// The firmware of a model, and what it loads.
#[derive(Debug)]
pub(crate) struct Firmware {
    pub(crate) model: Model,
    /// The folder with its files, `config.txt` for the model, and `overlays`.
    pub(crate) files: PathBuf,
    /// The folder with the device trees.
    pub(crate) device_trees: PathBuf,
}

impl Firmware {
    /// Makes the partition with the kernel of a slot.
    pub(super) fn partition(
        &self,
        tools: &Tools<'_>,
        kernel: &Path,
        initramfs: &Path,
        slot: Slot,
        command_line: &str,
    ) -> Result<PathBuf, Failure> {
        let letter = slot.letter();
        let configuration = tools.work.join("config.txt");
        let own = self.files.join(BOARD_CONFIGURATION);
        let own = fs::read_to_string(&own).map_err(|error| Failure::io("read", &own, &error))?;
        write(&configuration, &format!("{own}\n{CONFIGURATION}"))?;
        let words = tools.work.join(format!("cmdline-{letter}.txt"));
        write(&words, &format!("console=tty0 console={},115200 {command_line}\n", self.model.serial()))?;
        let mut files: Vec<(PathBuf, String)> = vec![
            (configuration, "config.txt".to_owned()),
            (words, "cmdline.txt".to_owned()),
            (kernel.to_owned(), "kernel.img".to_owned()),
            (initramfs.to_owned(), "initramfs.zst".to_owned()),
        ];
        let firmware = self.model.firmware().iter().map(|name| (self.files.join(name), (*name).to_owned()));
        files.extend(firmware);
        files.extend(self.trees()?);
        files.extend(
            listed(&self.files.join("overlays"))?.into_iter().map(|(path, name)| (path, format!("overlays/{name}"))),
        );
        let files: Vec<(&Path, &str)> = files.iter().map(|(path, name)| (path.as_path(), name.as_str())).collect();
        tools.fat(slot.boot_partition(), &["-n", "BOOT"], &files)
    }

    /// The device trees for the model.
    fn trees(&self) -> Result<Vec<(PathBuf, String)>, Failure> {
        let mut found = listed(&self.device_trees)?;
        found.retain(|(_, name)| name.starts_with(self.model.device_trees()) && name.ends_with(".dtb"));
        if found.is_empty() {
            let what = format!("there is no device tree {}*.dtb", self.model.device_trees());
            let why = format!("{} has none", self.device_trees.display());
            return Err(Failure::new(
                what,
                why,
                "have the kernel's configuration build them (BR2_LINUX_KERNEL_DTS_SUPPORT)",
            ));
        }
        Ok(found)
    }
}

/// The file by which firmware chooses slot A.
pub(super) fn autoboot(tools: &Tools<'_>) -> Result<PathBuf, Failure> {
    let file = tools.work.join("autoboot.txt");
    write(&file, &Autoboot { usual: Slot::A }.text())?;
    Ok(file)
}

/// Refuses a first partition on which PID 1 would not find the file as it is.
pub(super) fn check_autoboot(partition: &Path) -> Result<(), Failure> {
    let read = |number: u64| -> io::Result<[u8; SECTOR]> {
        let mut bytes = [0; SECTOR];
        File::open(partition)?.read_exact_at(&mut bytes, number * SECTOR as u64).map(|()| bytes)
    };
    let found = fat::find(AUTOBOOT_FILE, read).and_then(|file| file.map(|file| read(file.sector)).transpose());
    let found = found.map_err(|error| Failure::io("read", partition, &error))?;
    match found.is_some_and(|sector| Autoboot::parse(&sector).is_ok()) {
        true => Ok(()),
        false => Err(Failure::new("autoboot.txt does not lie where it is looked for", text(partition), "report this")),
    }
}

/// The files of a folder with their names, in order; none where there is no folder.
fn listed(folder: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(|error| Failure::io("read", folder, &error))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let named = |path: PathBuf| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).map(|name| (path.clone(), name))
    };
    Ok(files.into_iter().filter_map(named).collect())
}
