//! The hardware watchdog: it resets the machine unless it is fed (Linux, `Documentation/watchdog/watchdog-api.rst`).

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

nix::ioctl_readwrite!(set_timeout, b'W', 6, c_int);
nix::ioctl_read!(keep_alive, b'W', 5, c_int);

/// A watchdog that runs from now on. It is never stopped: a machine that hangs while it ends is reset as well.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: File,
    /// After so many seconds without food it bites.
    pub(crate) seconds: u32,
}

impl Watchdog {
    /// Opens and so starts it; asks for a time-out of `seconds`, of which the device takes the nearest that it has.
    pub(crate) fn start(path: &Path, seconds: u32) -> io::Result<Self> {
        let device = File::options().write(true).open(path)?;
        let mut wanted = c_int::try_from(seconds).map_err(io::Error::other)?;
        #[expect(unsafe_code, reason = "a watchdog is steered by ioctl alone")]
        // SAFETY: the descriptor is open, and the kernel reads and writes one int.
        unsafe {
            set_timeout(device.as_raw_fd(), &raw mut wanted)?;
        }
        Ok(Self { device, seconds: u32::try_from(wanted).unwrap_or(seconds) })
    }

    /// Keeps it quiet for another [`Watchdog::seconds`].
    pub(crate) fn feed(&self) -> io::Result<()> {
        let mut ignored = 0;
        #[expect(unsafe_code, reason = "a watchdog is fed by ioctl alone")]
        // SAFETY: the descriptor is open; drivers that answer write one int.
        unsafe {
            keep_alive(self.device.as_raw_fd(), &raw mut ignored)?;
        }
        Ok(())
    }
}
