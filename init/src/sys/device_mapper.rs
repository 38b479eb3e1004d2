//! A device whose blocks are checked as they are read: dm-verity, by the ioctls of the device mapper
//! (Linux, `include/uapi/linux/dm-ioctl.h`, `Documentation/admin-guide/device-mapper/verity.rst`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use spec::boot::{ROOT_BLOCK, RootImage};

const CONTROL: &str = "/dev/mapper/control";
/// The name of the device in the device mapper.
const NAME: &str = "root";
/// Of the kernel's 512-byte sectors.
const SECTORS_PER_BLOCK: u64 = ROOT_BLOCK as u64 / 512;

/// `struct dm_ioctl`: its size and where its fields lie.
const HEADER: usize = 312;
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEVICE: usize = 40;
const NAME_AT: usize = 48;
/// `struct dm_target_spec`.
const TARGET: usize = 40;
const TARGET_TYPE: usize = 24;
/// Interface version 4.0.0, which every Linux since 2.6 understands.
const VERSION: u32 = 4;
/// `DM_READONLY_FLAG`.
const READ_ONLY: u32 = 1;

/// Of `_IOWR(0xfd, …, struct dm_ioctl)`.
#[derive(Debug, Clone, Copy)]
enum Command {
    Create = 3,
    /// Without `DM_SUSPEND_FLAG`: resume, that is, use the table that was loaded.
    Resume = 6,
    Load = 9,
}

/// Makes a device that shows the data of `image`, which lies on `partition`, and panics at a block that is not what was
/// built. Answers its path.
pub(crate) fn open_verified(image: &RootImage, partition: &Path) -> io::Result<PathBuf> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let created = ask(&control, Command::Create, message(None))?;
    let number = created.get(DEVICE..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_ne_bytes(*bytes));
    let minor = nix::sys::stat::minor(number.unwrap_or_default());
    ask(&control, Command::Load, message(Some(&target(image, partition))))?;
    ask(&control, Command::Resume, message(None))?;
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// The partition that the root is shown from, as the kernel calls it (Linux, `Documentation/ABI/testing/sysfs-block-dm`).
pub(crate) fn partition_of_root() -> io::Result<OsString> {
    let root = fs::metadata("/")?.dev();
    let (major, minor) = (nix::sys::stat::major(root), nix::sys::stat::minor(root));
    let below = fs::read_dir(format!("/sys/dev/block/{major}:{minor}/slaves"))?.next();
    Ok(below.ok_or(io::ErrorKind::NotFound)??.file_name())
}

/// `struct dm_target_spec` with its parameters.
fn target(image: &RootImage, partition: &Path) -> Vec<u8> {
    let device = partition.display();
    let (blocks, hash) = (image.blocks, image.hash_digits());
    // Version, data device, hash device, block sizes, data blocks, first hash block, algorithm, root hash, salt, options.
    let parameters = format!(
        "1 {device} {device} {ROOT_BLOCK} {ROOT_BLOCK} {blocks} {blocks} sha256 {hash} - 1 panic_on_corruption"
    );
    let mut target = vec![0; TARGET];
    put(&mut target, 8, &blocks.saturating_mul(SECTORS_PER_BLOCK).to_ne_bytes());
    put(&mut target, TARGET_TYPE, b"verity");
    target.extend(parameters.as_bytes());
    // The parameters end with a zero, and what follows them would begin at a multiple of eight.
    target.resize(target.len().saturating_add(8) & !7, 0);
    target
}

/// `struct dm_ioctl` for our one device, with a table of one target or of none.
fn message(target: Option<&[u8]>) -> Vec<u8> {
    let target = target.unwrap_or_default();
    let mut message = vec![0; HEADER];
    message.extend(target);
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    put(&mut message, 0, &VERSION.to_ne_bytes());
    put(&mut message, DATA_SIZE, &size.to_ne_bytes());
    put(&mut message, DATA_START, &u32::try_from(HEADER).unwrap_or(u32::MAX).to_ne_bytes());
    put(&mut message, TARGET_COUNT, &u32::from(!target.is_empty()).to_ne_bytes());
    put(&mut message, FLAGS, &READ_ONLY.to_ne_bytes());
    put(&mut message, NAME_AT, NAME.as_bytes());
    message
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(value) {
        *place = *byte;
    }
}

fn ask(control: &File, command: Command, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
    let request = nix::request_code_readwrite!(0xfd, command as u8, HEADER);
    #[expect(unsafe_code, reason = "the device mapper is asked by ioctl alone")]
    // SAFETY: the kernel reads and writes at most `data_size` bytes, which is the length of the live buffer.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), request, message.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use spec::boot::Slot;

    use super::*;

    #[test]
    fn a_message_has_the_layout_of_the_header_file() {
        let image = RootImage { slot: Slot::A, blocks: 3, hash: [0xab; 32] };
        let target = target(&image, Path::new("/dev/vda5"));
        assert_eq!((target.len() % 8, target[8..16].first_chunk()), (0, Some(&24_u64.to_ne_bytes())));
        assert!(target[TARGET_TYPE..].starts_with(b"verity\0"));
        let hash = "ab".repeat(32);
        let parameters = format!("1 /dev/vda5 /dev/vda5 4096 4096 3 3 sha256 {hash} - 1 panic_on_corruption\0");
        assert!(target[TARGET..].starts_with(parameters.as_bytes()));

        let message = message(Some(&target));
        let number = |at: usize| u32::from_ne_bytes(*message[at..].first_chunk().expect("four bytes"));
        assert_eq!(number(DATA_SIZE) as usize, message.len());
        assert_eq!((number(0), number(DATA_START), number(TARGET_COUNT), number(FLAGS)), (4, 312, 1, 1));
        assert!(message[NAME_AT..].starts_with(b"root\0"));
    }
}
