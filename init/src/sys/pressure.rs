//! The kernel's word when memory runs short (PSI triggers: Linux, `Documentation/accounting/psi.rst`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use crate::governor::Memory;

const FILE: &str = "/proc/pressure/memory";
/// Somebody waits for memory for 150 of 1,000 ms. It is told once in that time at the most.
const TRIGGER: &[u8] = b"some 150000 1000000\0";

/// Readable as a notice while memory is short.
pub(crate) struct Pressure(File);

impl Pressure {
    /// Asks the kernel to tell of it from now on, for as long as this is kept.
    pub(crate) fn watch() -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).open(FILE)?;
        file.write_all(TRIGGER)?;
        Ok(Self(file))
    }
}

impl AsFd for Pressure {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The memory of the machine.
pub(crate) fn memory() -> io::Result<Memory> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib: Option<u64> = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        kib.unwrap_or_default() * 1024
    };
    Ok(Memory { total: bytes("MemTotal"), available: bytes("MemAvailable") })
}
