//! Disks and the file systems on them, made larger while they are in use.

use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `BLKPG_RESIZE_PARTITION` (Linux, `include/uapi/linux/blkpg.h`).
const RESIZE_PARTITION: c_int = 3;

/// `struct blkpg_partition`: start and length in bytes.
#[repr(C)]
struct BlkpgPartition {
    start: c_longlong,
    length: c_longlong,
    number: c_int,
    device_name: [c_char; 64],
    volume_name: [c_char; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
pub(crate) struct BlkpgArgument {
    operation: c_int,
    flags: c_int,
    length: c_int,
    data: *mut c_void,
}

nix::ioctl_write_ptr_bad!(blkpg, nix::request_code_none!(0x12, 105), BlkpgArgument);
nix::ioctl_write_ptr!(ext4_resize, b'f', 16, u64);

/// Tells the kernel that a partition of `disk` has another size than when the table was read; in bytes.
pub(crate) fn resize_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    let mut partition = BlkpgPartition {
        start: c_longlong::try_from(start).map_err(io::Error::other)?,
        length: c_longlong::try_from(length).map_err(io::Error::other)?,
        number: c_int::try_from(number).map_err(io::Error::other)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation: RESIZE_PARTITION,
        flags: 0,
        length: c_int::try_from(size_of::<BlkpgPartition>()).map_err(io::Error::other)?,
        data: (&raw mut partition).cast(),
    };
    #[expect(unsafe_code, reason = "partitions are resized by ioctl alone")]
    // SAFETY: the argument and the partition that it points to live until the call is over, and have the kernel's form.
    unsafe {
        blkpg(disk.as_raw_fd(), &raw const argument)?;
    }
    Ok(())
}

/// Grows a mounted ext4 to so many of its blocks (Linux, `Documentation/filesystems/ext4/`: `EXT4_IOC_RESIZE_FS`). The
/// kernel journals each step, so that it can be cut at any.
pub(crate) fn grow_ext4(mounted_on: &Path, blocks: u64) -> io::Result<()> {
    let folder = File::open(mounted_on)?;
    #[expect(unsafe_code, reason = "ext4 is grown by ioctl alone")]
    // SAFETY: the descriptor is open, and the kernel reads one u64.
    unsafe {
        ext4_resize(folder.as_raw_fd(), &raw const blocks)?;
    }
    Ok(())
}
