//! The disks of this machine as the kernel shows them in `/sys/block`, and what each is used for.

use std::fs;
use std::path::{Path, PathBuf};

use super::table::SECTOR;

/// The type of an optical drive (SCSI Primary Commands 5, table 141).
const OPTICAL: &str = "5";

/// Where the kernel tells of disks.
#[derive(Debug)]
pub(super) struct Facts {
    /// `/sys/block`.
    pub(super) block: PathBuf,
    /// `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    pub(super) mounts: String,
    /// `/proc/swaps`.
    pub(super) swaps: String,
}

/// A disk: a whole block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// As the kernel calls it, `sdb`.
    pub(super) name: String,
    /// Its device number, `8:16`.
    pub(super) number: String,
    /// In bytes; 0 where a drive is empty.
    pub(super) size: u64,
    /// Who made it and what it is; empty where it does not say.
    pub(super) model: String,
    /// `USB`, `SD card` …; empty where nothing is known.
    pub(super) connection: &'static str,
    /// Whether it is made to be taken out, or hangs on a cable outside.
    pub(super) is_removable: bool,
    /// Whether nothing can be written to it.
    pub(super) is_read_only: bool,
    /// Its logical sectors, in bytes.
    pub(super) sector: u64,
    /// What it is used for, each in words: `mounted at /media/usb`.
    pub(super) uses: Vec<String>,
}

impl Facts {
    /// Those of this machine, as they are now.
    pub(super) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self { block: "/sys/block".into(), mounts: read("/proc/self/mountinfo"), swaps: read("/proc/swaps") }
    }

    /// The disks that a person would call one, by their names: no loop devices, no parts of an array, no empty drives.
    pub(super) fn disks(&self) -> Vec<Disk> {
        let entries = fs::read_dir(&self.block).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        let real = |name: &String| {
            let device = self.block.join(name).join("device");
            device.exists() && text(&device.join("type")) != OPTICAL && !name.contains("boot")
        };
        names.iter().filter(|name| real(name)).filter_map(|name| self.disk(name)).filter(|disk| disk.size > 0).collect()
    }

    /// The disk of that name, if there is one.
    pub(super) fn disk(&self, name: &str) -> Option<Disk> {
        let folder = self.block.join(name);
        let number = Some(text(&folder.join("dev"))).filter(|number| !number.is_empty())?;
        let bus = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        let connection = connection(name, &bus, &text(&folder.join("device/type")));
        let says = |file: &str| text(&folder.join(file));
        Some(Disk {
            name: name.to_owned(),
            number,
            // Always in units of 512 bytes (Documentation/ABI/stable/sysfs-block).
            size: says("size").parse::<u64>().unwrap_or(0).saturating_mul(SECTOR),
            model: model(&folder),
            connection,
            is_removable: says("removable") == "1" || ["USB", "SD card"].contains(&connection),
            is_read_only: says("ro") == "1",
            sector: says("queue/logical_block_size").parse().unwrap_or(SECTOR),
            uses: self.uses(name, &folder),
        })
    }

    /// The disk that a partition is part of.
    pub(super) fn disk_of_partition(&self, partition: &str) -> Option<String> {
        let entries = fs::read_dir(&self.block).into_iter().flatten().flatten();
        let holds = |path: &Path| path.join(partition).join("partition").exists();
        entries.filter(|entry| holds(&entry.path())).find_map(|entry| entry.file_name().into_string().ok())
    }

    /// What the disk and its partitions are used for.
    fn uses(&self, name: &str, folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut parts: Vec<PathBuf> = entries.filter(|path| path.join("partition").exists()).collect();
        parts.sort();
        parts.insert(0, folder.to_owned());
        let uses = parts.iter().flat_map(|part| {
            let name = part.file_name().and_then(|name| name.to_str()).unwrap_or(name);
            let (number, node) = (text(&part.join("dev")), node(name));
            let mounted = self.mounted(&number, &node).into_iter().map(|at| format!("mounted at {at}"));
            let swapped = self.swapped(&node).then(|| "used as swap".to_owned());
            mounted.chain(swapped).chain(holders(part))
        });
        uses.collect()
    }

    /// Where a device is mounted: known by its number, and by its name where the file system has numbers of its own (btrfs).
    fn mounted(&self, number: &str, node: &str) -> Vec<String> {
        let of_this = |line: &&str| {
            let fields: Vec<&str> = line.split(' ').collect();
            let source = fields.iter().skip_while(|field| **field != "-").nth(2);
            fields.get(2) == Some(&number) || source.is_some_and(|source| unescaped(source) == node)
        };
        let lines = self.mounts.lines().filter(of_this);
        lines.filter_map(|line| line.split(' ').nth(4)).map(|at| printable(&unescaped(at))).collect()
    }

    fn swapped(&self, node: &str) -> bool {
        self.swaps.lines().filter_map(|line| line.split_whitespace().next()).any(|name| unescaped(name) == node)
    }
}

impl Disk {
    /// Its device file.
    pub(super) fn path(&self) -> PathBuf {
        node(&self.name).into()
    }

    /// What it is, for people: `SanDisk Extreme, 59.6 GB`.
    pub(super) fn described(&self) -> String {
        [self.model.as_str(), &gigabytes(self.size)]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Its line in a list.
    pub(super) fn line(&self, allows_fixed: bool) -> String {
        let kind = if self.is_removable { "removable" } else { "built in" };
        let mut words = vec![kind.to_owned()];
        if !self.connection.is_empty() {
            words.insert(0, self.connection.to_owned());
        }
        words.extend(self.uses.iter().cloned());
        if let Some((why, _)) = self.refusal(allows_fixed) {
            if self.uses.is_empty() {
                words.push(why);
            }
            words.push("not offered".to_owned());
        }
        format!("  {:14} {:28} {:>9}   {}", node(&self.name), self.model, gigabytes(self.size), words.join(", "))
    }

    /// Why nothing is to be written to it, and what to do; nothing where it may be.
    pub(super) fn refusal(&self, allows_fixed: bool) -> Option<(String, String)> {
        let refused = |why: &str, advice: &str| Some((why.to_owned(), advice.to_owned()));
        if let Some(first) = self.uses.first() {
            let more = if self.uses.len() > 1 { format!(" and {} more", self.uses.len() - 1) } else { String::new() };
            let advice = match first.split_once("mounted at ") {
                Some((_, "/")) => "this machine runs from it: choose another disk".to_owned(),
                Some((_, at)) => format!("if it is the right disk: umount {at}; then run this again"),
                None => "if it is the right disk, end that use of it and run this again".to_owned(),
            };
            return Some((format!("it is {first}{more}"), advice));
        }
        match self {
            _ if self.size == 0 => refused("there is nothing in the drive", "put the card in and run this again"),
            _ if self.is_read_only => {
                refused("it is read-only", "slide the switch at the side of the card, or use another")
            }
            _ if self.sector != SECTOR => refused("its sectors are not of 512 bytes", "use another disk"),
            _ if !self.is_removable && !allows_fixed => refused(
                "it is built into this machine",
                "choose a removable disk; or, if this one is to be erased, add --fixed-disk",
            ),
            _ => None,
        }
    }
}

/// The device file of that name.
fn node(name: &str) -> String {
    // A name with a slash has an exclamation mark in its place there.
    format!("/dev/{}", name.replace('!', "/"))
}

fn connection(name: &str, bus: &Path, kind: &str) -> &'static str {
    let bus = bus.to_string_lossy();
    match () {
        () if bus.contains("/usb") => "USB",
        () if name.starts_with("mmcblk") && kind == "SD" => "SD card",
        () if name.starts_with("mmcblk") => "eMMC",
        () if bus.contains("/nvme") => "NVMe",
        () if bus.contains("/ata") => "SATA",
        () if bus.contains("/virtio") => "virtio",
        () => "",
    }
}

/// The maker and the model; of an SD card its name.
fn model(folder: &Path) -> String {
    let words = ["device/vendor", "device/model", "device/name"].map(|file| printable(&text(&folder.join(file))));
    words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// What lies on top of a disk or partition: an encrypted disk, a logical volume, an array.
fn holders(part: &Path) -> Vec<String> {
    let entries = fs::read_dir(part.join("holders")).into_iter().flatten().flatten();
    let told = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_mapper = printable(&text(&entry.path().join("dm/name")));
        format!("part of {}", if of_mapper.is_empty() { printable(&name) } else { of_mapper })
    };
    let mut all: Vec<String> = entries.map(told).collect();
    all.sort();
    all
}

/// A size as it stands on the package: `59.6 GB`.
pub(super) fn gigabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000_000;
    if tenths == 0 { format!("{} MB", bytes / 1_000_000) } else { format!("{}.{} GB", tenths / 10, tenths % 10) }
}

/// A file of one line; empty where it is not there.
fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).unwrap_or_default()
}

/// What a device says of itself may be anything: nothing of it reaches the terminal but what can be printed.
fn printable(text: &str) -> String {
    let is_plain = |letter: &char| letter.is_alphanumeric() || letter.is_ascii_punctuation() || *letter == ' ';
    text.chars().filter(is_plain).take(64).collect()
}

/// The octal escapes of `/proc` for blanks and the like: `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(3..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'\\');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
