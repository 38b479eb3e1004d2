//! The unified kernel image of a slot: kernel, initramfs and command line as one program for the firmware, which is loaded,
//! checked and signed as a whole (UAPI group, "Unified Kernel Image"); and the partition that it lies on.

use std::fs;
use std::path::{Path, PathBuf};

use spec::boot::Slot;

use super::{Tools, text, write};
use crate::architecture::Architecture;
use crate::cache::sha256_of;
use crate::failure::Failure;

/// Where the file says that its header begins; and in that, behind the signature and 20 bytes more, the optional header,
/// with the address at which the program wants to lie and the room that it takes (Microsoft, "PE Format").
const HEADER_AT: usize = 0x3c;
const OPTIONAL_HEADER: usize = 24;
const IMAGE_BASE: usize = 24;
const IMAGE_SIZE: usize = 56;
/// Sections begin at multiples of this, which a kernel wants.
const ALIGNMENT: u64 = 4096;

/// What the kernel of a slot is made of.
#[derive(Debug)]
pub(super) struct Kernel<'a> {
    pub(super) architecture: Architecture,
    /// The program that starts a kernel that it carries (systemd-stub(7)).
    pub(super) stub: &'a Path,
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
}

impl Kernel<'_> {
    /// Makes the partition with the kernel of a slot: `uki.efi`, and its hash in `uki.sum` (sha256sum(1)).
    pub(super) fn partition(&self, tools: &Tools<'_>, slot: Slot, command_line: &str) -> Result<PathBuf, Failure> {
        let unified = tools.work.join(format!("uki-{}.efi", slot.letter()));
        self.unify(tools, command_line, &unified)?;
        let sum = tools.work.join(format!("uki-{}.sum", slot.letter()));
        write(&sum, &format!("{}  /uki.efi\n", sha256_of(&unified, tools.signals)?))?;
        tools.fat(slot.boot_partition(), &["-n", "BOOT"], &[(&unified, "uki.efi"), (&sum, "uki.sum")])
    }

    fn unify(&self, tools: &Tools<'_>, command_line: &str, target: &Path) -> Result<(), Failure> {
        let words = target.with_extension("command-line");
        // Messages go to the screen and to the first serial line, of which a machine may have one or both.
        write(&words, &format!("console=tty0 console={},115200 {command_line}", self.architecture.serial()))?;
        let stub = fs::read(self.stub).map_err(|error| Failure::io("read", self.stub, &error))?;
        let broken = || Failure::new(format!("{}: is no program", self.stub.display()), "", "report this");
        let mut address = end(&stub).ok_or_else(broken)?;
        // Without the dates of the stub, that of the build would be written.
        let mut arguments = vec!["--preserve-dates".to_owned()];
        for (name, file) in [(".cmdline", &*words), (".initrd", self.initramfs), (".linux", self.kernel)] {
            let size = fs::metadata(file).map_err(|error| Failure::io("read", file, &error))?.len();
            arguments.extend(["--add-section".to_owned(), format!("{name}={}", file.display())]);
            arguments.extend(["--change-section-vma".to_owned(), format!("{name}={address:#x}")]);
            address = (address + size).next_multiple_of(ALIGNMENT);
        }
        arguments.extend([text(self.stub), text(target)]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tools.run(&self.architecture.tool("objcopy"), &arguments).map(|_| ())
    }
}

/// The first address behind a program that sections can be added at.
fn end(program: &[u8]) -> Option<u64> {
    let number = |at: usize| Some(u32::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let header = usize::try_from(number(HEADER_AT)?).ok()?;
    program.get(header..)?.strip_prefix(b"PE\0\0")?;
    let optional = header.checked_add(OPTIONAL_HEADER)?;
    let base = u64::from_le_bytes(*program.get(optional + IMAGE_BASE..)?.first_chunk()?);
    let size = u64::from(number(optional + IMAGE_SIZE)?);
    base.checked_add(size)?.checked_next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_added_behind_the_program() {
        let mut program = vec![0; 256];
        let mut put = |at: usize, bytes: &[u8]| program[at..at + bytes.len()].copy_from_slice(bytes);
        put(HEADER_AT, &[0x80]);
        put(0x80, b"PE\0\0");
        put(0x80 + OPTIONAL_HEADER + IMAGE_BASE, &0x1_4000_0000_u64.to_le_bytes());
        put(0x80 + OPTIONAL_HEADER + IMAGE_SIZE, &0x19300_u32.to_le_bytes());
        assert_eq!(end(&program), Some(0x1_4001_a000));
        program[0x80] = b'X';
        assert_eq!(end(&program), None);
        assert_eq!(end(b"MZ"), None);
    }
}
