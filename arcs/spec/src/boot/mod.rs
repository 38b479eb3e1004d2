//! What the image, the boot loader, the kernel's command line and PID 1 agree on.
//!
//! A disk holds two systems, the slots A and B: while one runs, the other can be written. Each has a root partition, an
//! erofs image followed by the hash tree of dm-verity. The hash over that tree stands on the kernel's command line, in
//! what is loaded and signed as a whole; so the root is what was built, or it is not mounted. Which slot is started is
//! written down in one sector ([`BootState`]).

mod autoboot;
pub mod fat;
pub mod mbr;
mod state;

use std::fmt;
use std::str::FromStr;

pub use autoboot::{AUTOBOOT_FILE, Autoboot, TRYBOOT};
pub use state::{BACKUP_OFFSET, BootState, SECTOR, STATE_OFFSET, STATE_PARTITION, Standing, TRIES};

use crate::values::InvalidValue;

/// The name (in the partition table) of the partition that keeps everything, ext4.
pub const DATA_PARTITION: &str = "data";
/// The name of the FAT partition that the owner's `llmbasedos.toml` lies on.
pub const CONFIG_PARTITION: &str = "config";
/// The block size of the root and of its hash tree, in bytes.
pub const ROOT_BLOCK: u32 = 4096;
/// The folder of the initramfs with the modules that it takes to find the root; they are loaded in the order of their
/// names.
pub const FIRST_MODULES: &str = "/modules";
/// The same on the root, for everything else.
pub const MODULES: &str = "/usr/lib/llmbasedos/modules";
/// PID 1 on the root.
pub const INIT: &str = "/usr/bin/init";
/// The manifests of the Arcs that come with the image.
pub const MANIFESTS: &str = "/usr/share/llmbasedos/arcs";
/// The configuration that comes with the image; the owner's says the last word.
pub const DEFAULT_CONFIG: &str = "/usr/share/llmbasedos/llmbasedos.toml";

/// One of the two systems on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// `a` or `b`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The name of its root partition.
    #[must_use]
    pub fn root_partition(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }

    /// The name of the partition with its kernel.
    #[must_use]
    pub fn boot_partition(self) -> &'static str {
        match self {
            Self::A => "boot-a",
            Self::B => "boot-b",
        }
    }
}

/// `A`, as people see it.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter().to_ascii_uppercase())
    }
}

impl FromStr for Slot {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(InvalidValue(format!("must be a or b, not {text:?}"))),
        }
    }
}

/// What starts the kernel of a slot, as the kernel's command line says it: `llmbasedos.loader=raspberry-pi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// GRUB, which chooses by the state sector and counts in it. It need not be named.
    Grub,
    /// The firmware of a Raspberry Pi, which does neither ([`Autoboot`]).
    RaspberryPi,
}

impl Loader {
    const ARGUMENT: &str = "llmbasedos.loader=";
    const GRUB: &str = "grub";
    const RASPBERRY_PI: &str = "raspberry-pi";

    /// The one that a kernel's command line names.
    #[must_use]
    pub fn of_command_line(command_line: &str) -> Self {
        let named = command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(Self::ARGUMENT));
        if named == Some(Self::RASPBERRY_PI) { Self::RaspberryPi } else { Self::Grub }
    }

    /// The word of a kernel's command line that names it.
    #[must_use]
    pub fn word(self) -> String {
        let name = if self == Self::RaspberryPi { Self::RASPBERRY_PI } else { Self::GRUB };
        format!("{}{name}", Self::ARGUMENT)
    }
}

/// The root that a kernel belongs to, as its command line says it: `llmbasedos.root=a:<blocks>:<hash>`.
///
/// The hash tree has no superblock and no salt, is made with SHA-256, and begins right behind the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootImage {
    /// Whose root partition it lies on.
    pub slot: Slot,
    /// How many blocks of [`ROOT_BLOCK`] bytes its file system has.
    pub blocks: u64,
    /// The root hash of its hash tree.
    pub hash: [u8; 32],
}

impl RootImage {
    /// The name of the argument.
    pub const ARGUMENT: &str = "llmbasedos.root";

    /// The hash in hexadecimal digits.
    #[must_use]
    pub fn hash_digits(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The value that a kernel's command line gives it.
    ///
    /// # Errors
    /// It is not there, or not of its form.
    pub fn of_command_line(command_line: &str) -> Result<Self, InvalidValue> {
        let name = Self::ARGUMENT;
        let value = command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let value = value.ok_or_else(|| InvalidValue(format!("{name} is not on the kernel's command line")))?;
        value.parse().map_err(|InvalidValue(why)| InvalidValue(format!("{name}: {why}")))
    }
}

impl fmt::Display for RootImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}:{}", Self::ARGUMENT, self.slot.letter(), self.blocks, self.hash_digits())
    }
}

impl FromStr for RootImage {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue(format!("must be SLOT:BLOCKS:HASH, with a hash of 64 digits, not {text:?}"));
        let [slot, blocks, digits] = text.split(':').collect::<Vec<_>>().try_into().map_err(|_| wrong())?;
        Ok(Self {
            slot: slot.parse()?,
            blocks: blocks.parse().ok().filter(|&blocks| blocks > 0).ok_or_else(wrong)?,
            hash: hash(digits).ok_or_else(wrong)?,
        })
    }
}

fn hash(digits: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |&[high, low]: &[u8; 2]| {
        let digit = |character| char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        Some(digit(high)? << 4 | digit(low)?)
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_image_is_found_on_a_command_line() {
        let image = RootImage { slot: Slot::B, blocks: 1024, hash: *b"\x00\xff23456789abcdef0123456789ABCDEF" };
        let line = format!("console=ttyS0 quiet {image} panic=10\n");
        assert_eq!(RootImage::of_command_line(&line), Ok(image));
        assert_eq!((image.slot.root_partition(), image.slot.to_string().as_str()), ("root-b", "B"));
    }

    #[test]
    fn a_loader_that_counts_for_itself_need_not_be_named() {
        for loader in [Loader::Grub, Loader::RaspberryPi] {
            let line = format!("quiet {} panic=10", loader.word());
            assert_eq!(Loader::of_command_line(&line), loader);
        }
    }

    #[test]
    fn what_is_no_root_image_is_refused() {
        let digits = "0".repeat(64);
        for (line, why) in [
            ("quiet".to_owned(), "llmbasedos.root is not on the kernel's command line"),
            (format!("llmbasedos.root=c:1:{digits}"), "llmbasedos.root: must be a or b, not \"c\""),
            ("llmbasedos.root=a:1".to_owned(), "must be SLOT:BLOCKS:HASH"),
            (format!("llmbasedos.root=a:0:{digits}"), "must be SLOT:BLOCKS:HASH"),
            (format!("llmbasedos.root=a:1:{digits}0"), "must be SLOT:BLOCKS:HASH"),
            (format!("llmbasedos.root=a:1:g{}", &digits[1..]), "must be SLOT:BLOCKS:HASH"),
        ] {
            let InvalidValue(said) = RootImage::of_command_line(&line).expect_err(&line);
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
