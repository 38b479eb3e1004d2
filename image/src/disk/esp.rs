//! The EFI system partition with the boot loader, which firmware starts without having been told of it. That is GRUB,
//! made as one program with all that it needs: its modules and its configuration, [`CONFIGURATION`].

use std::path::PathBuf;

use super::{Tools, text, write};
use crate::architecture::Architecture;
use crate::failure::Failure;

/// The name of the partition.
pub(crate) const PARTITION: &str = "esp";
/// GRUB's prefix. One that lies on no device of its own leaves GRUB the partition that it came from as its root.
const PREFIX: &str = "/EFI/BOOT";
/// What the loader does.
const CONFIGURATION: &str = include_str!("grub.cfg");
/// What is read before that, by a parser that knows no `if`.
const BEGINNING: &str = "normal (memdisk)/grub.cfg\n";
/// The modules that it takes: what finds the disk and reads it, and what the configuration names.
const MODULES: [&str; 15] = [
    "part_gpt",
    "fat",
    "memdisk",
    "tar",
    "normal",
    "regexp",
    "echo",
    "test",
    "loadenv",
    "chain",
    "boot",
    "reboot",
    "sleep",
    "hashsum",
    "gcry_sha256",
];

/// What GRUB is made with.
#[derive(Debug)]
pub(crate) struct Grub {
    /// The folder with `grub-mkimage` and `grub-script-check`.
    pub(crate) programs: PathBuf,
    /// The folder with the modules for this kind of machine.
    pub(crate) modules: PathBuf,
}

impl Grub {
    /// As GRUB calls what it is made for.
    pub(crate) fn kind(architecture: Architecture) -> &'static str {
        match architecture {
            Architecture::X86_64 => "x86_64-efi",
            Architecture::Aarch64 => "arm64-efi",
        }
    }
}

/// Makes the partition.
pub(crate) fn make(tools: &Tools<'_>, architecture: Architecture, grub: &Grub) -> Result<PathBuf, Failure> {
    let loader = loader(tools, Grub::kind(architecture), grub)?;
    // Where firmware looks for a program (UEFI specification 2.10, section 3.5.1.1).
    let program = format!("EFI/BOOT/BOOT{}.EFI", architecture.efi().to_uppercase());
    tools.fat(PARTITION, &["-n", "ESP"], &[(&loader, &program)])
}

fn loader(tools: &Tools<'_>, kind: &str, grub: &Grub) -> Result<PathBuf, Failure> {
    let work = |name: &str| tools.work.join(name);
    let (beginning, memdisk, loader) = (work("grub-beginning.cfg"), work("grub.tar"), work("grub.efi"));
    write(&work("grub.cfg"), CONFIGURATION)?;
    write(&beginning, BEGINNING)?;
    let owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=0644", "--mtime=@0"];
    let from = ["--format=ustar", "-C", &text(tools.work), "-cf", &text(&memdisk), "grub.cfg"];
    tools.run("tar", &[&owner[..], &from[..]].concat())?;
    let program = |name: &str| text(&grub.programs.join(name));
    tools.run(&program("grub-script-check"), &[&text(&work("grub.cfg"))])?;
    let modules = text(&grub.modules);
    let (memdisk, beginning, output) = (text(&memdisk), text(&beginning), text(&loader));
    let wanted = ["-O", kind, "-d", &modules, "-m", &memdisk, "-c", &beginning, "-o", &output, "-p", PREFIX];
    tools.run(&program("grub-mkimage"), &[&wanted[..], &MODULES[..]].concat())?;
    Ok(loader)
}

#[cfg(test)]
mod tests {
    use spec::boot::{BACKUP_OFFSET, STATE_PARTITION, Slot};

    use super::*;
    use crate::disk::layout::Layout;

    #[test]
    fn the_configuration_names_the_partitions_of_the_layout() {
        let number =
            |name: &str| 1 + Layout::default().partitions().iter().position(|one| one.name == name).expect("there");
        for (name, words) in [
            (STATE_PARTITION, "load_env -f \"($disk,gpt%)/$file\""),
            (STATE_PARTITION, "save_env -f \"($disk,gpt%)/$file\" b_left"),
            (Slot::A.boot_partition(), "if [ \"$1\" = a ]; then\n        set root=\"$disk,gpt%\""),
            (Slot::B.boot_partition(), "else\n        set root=\"$disk,gpt%\""),
        ] {
            let words = words.replace('%', &number(name).to_string());
            assert!(CONFIGURATION.contains(&words), "{name}: {words}");
        }
        assert!(Layout::default().place(STATE_PARTITION).expect("there").size > BACKUP_OFFSET);
    }
}
