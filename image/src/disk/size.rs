//! How large an image is that was built.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::process;
use crate::repository::short;
use crate::signals::Signals;
use crate::terminal;

/// What is told of it, and where that lies in its folder. Not every machine has all of it.
const PARTS: [(&str, &str); 7] = [
    ("disk, sparse", "disk.img"),
    ("root", "work/root.img"),
    ("kernel", "vmlinux"),
    ("initramfs", "initramfs.cpio.zst"),
    ("kernel of a slot", "work/uki-a.efi"),
    ("boot loader", "work/grub.efi"),
    ("init", "work/root/usr/bin/init"),
];

/// Prints the sizes in bytes: of the parts, and of the disk as it is sent, packed by zstd.
pub(crate) fn run(folder: &Path, signals: &Signals) -> Result<(), Failure> {
    let line = |what: &str, bytes: u64| terminal::result(format_args!("{what:18} {bytes:>13}"));
    let disk = folder.join("disk.img");
    if !disk.exists() {
        let why = format!("{} is not there", short(&disk));
        return Err(Failure::new("there is no image", why, "cargo image build, with the same --arch or --output"));
    }
    for (what, name) in PARTS {
        if let Ok(data) = fs::metadata(folder.join(name)) {
            line(what, data.len());
        }
    }
    line("packed", packed(folder, signals)?);
    Ok(())
}

fn packed(folder: &Path, signals: &Signals) -> Result<u64, Failure> {
    let target = folder.join("work/disk.img.zst");
    let output = File::create(&target).map_err(|error| Failure::io("write", &target, &error))?;
    let mut zstd = Command::new("zstd");
    zstd.args(["-q", "-9", "-T0", "--stdout"]).arg(folder.join("disk.img")).stdin(Stdio::null()).stdout(output);
    let status = process::Running::start(&mut zstd)?.wait(signals, || {})?;
    let size = fs::metadata(&target).map_err(|error| Failure::io("read", &target, &error))?.len();
    let _ = fs::remove_file(&target);
    if status.success() { Ok(size) } else { Err(Failure::new("zstd failed", status, "see above")) }
}
