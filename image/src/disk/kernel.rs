//! The kernel as QEMU starts it at once. For x86_64 that is what lies packed in a self-extracting file, and has a PVH entry:
//! to unpack itself it would take seconds. For aarch64 it is not packed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::architecture::Architecture;
use crate::failure::Failure;
use crate::process::Running;
use crate::signals::Signals;

/// Where the boot sector says how many sectors of set-up code follow, and the header's `payload_offset` and
/// `payload_length` (Linux, `Documentation/arch/x86/boot.rst`).
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// The first bytes of what a packer makes, and the program that unpacks it.
const PACKERS: [(&[u8], &str); 3] =
    [(&[0x28, 0xb5, 0x2f, 0xfd], "zstd"), (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"), (&[0x1f, 0x8b], "gzip")];

/// Where an aarch64 kernel bears this (Linux, `Documentation/arch/arm64/booting.rst`).
const MAGIC_AT: usize = 0x38;
const MAGIC: &[u8] = b"ARM\x64";

/// Writes the kernel that is at `source` as a distribution packs it to `target`.
pub(super) fn unpack(
    architecture: Architecture,
    source: &Path,
    target: &Path,
    signals: &Signals,
) -> Result<(), Failure> {
    let image = fs::read(source).map_err(|error| Failure::io("read", source, &error))?;
    match architecture {
        Architecture::X86_64 => unpack_elf(&image, source, target, signals),
        Architecture::Aarch64 if image.get(MAGIC_AT..).is_some_and(|rest| rest.starts_with(MAGIC)) => {
            fs::write(target, image).map_err(|error| Failure::io("write", target, &error))
        }
        Architecture::Aarch64 => Err(Failure::new(format!("{}: is no kernel", source.display()), "", "report this")),
    }
}

/// Writes the ELF kernel that is packed in a `bzImage`.
fn unpack_elf(image: &[u8], source: &Path, target: &Path, signals: &Signals) -> Result<(), Failure> {
    let broken = |why: &str| Failure::new(format!("{}: is no kernel", source.display()), why, "report this");
    let payload = payload(image).ok_or_else(|| broken("its header names no payload"))?;
    let packer = PACKERS.iter().find(|(magic, _)| payload.starts_with(magic));
    let (_, packer) = packer.ok_or_else(|| broken("it is packed in a way that is not known here"))?;
    let packed = target.with_extension("packed");
    fs::write(&packed, payload).map_err(|error| Failure::io("write", &packed, &error))?;
    let output = File::create(target).map_err(|error| Failure::io("write", target, &error))?;
    let mut command = Command::new(packer);
    command.arg("-dcq").arg(&packed).stdout(output).stderr(Stdio::null());
    // The length of the unpacked kernel follows what is packed, which the programs take for rubbish.
    Running::start(&mut command)?.wait(signals, || {})?;
    let _ = fs::remove_file(&packed);
    let unpacked = fs::read(target).map_err(|error| Failure::io("read", target, &error))?;
    if unpacked.starts_with(b"\x7fELF") { Ok(()) } else { Err(broken("what is packed in it is no program")) }
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let bytes = image.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let sectors = usize::from(*image.get(SETUP_SECTORS)?);
    let start = (sectors + 1) * SECTOR + number(PAYLOAD_OFFSET)?;
    image.get(start..start + number(PAYLOAD_LENGTH)?)
}
