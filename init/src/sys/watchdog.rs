//! The hardware watchdog: it resets the machine unless it is fed (Linux, `Documentation/watchdog/watchdog-api.rst`).

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

nix::ioctl_readwrite!(set_timeout, b'W', 6, c_int);
nix::ioctl_read!(get_timeout, b'W', 7, c_int);
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
        Self::set(File::options().write(true).open(path)?, seconds)
    }

    /// Goes on with the one that a program before this one in the same process has handed on.
    pub(crate) fn inherit(number: RawFd, seconds: u32) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "a number becomes an owned descriptor")]
        // SAFETY: the program before handed it on by this number to this one alone, which takes it once.
        let device = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&device, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Self::set(device.into(), seconds)
    }

    /// Lets it stay open in the program that this process becomes; answers its number.
    pub(crate) fn hand_on(&self) -> io::Result<RawFd> {
        fcntl(&self.device, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(self.device.as_raw_fd())
    }

    fn set(device: File, seconds: u32) -> io::Result<Self> {
        let mut wanted = c_int::try_from(seconds).map_err(io::Error::other)?;
        #[expect(unsafe_code, reason = "a watchdog is steered by ioctl alone")]
        // SAFETY: the descriptor is open, and the kernel reads and writes one int.
        let set = unsafe { set_timeout(device.as_raw_fd(), &raw mut wanted) };
        if set.is_err() {
            // It runs all the same, and bites after the time that it has by itself.
            #[expect(unsafe_code, reason = "a watchdog is steered by ioctl alone")]
            // SAFETY: the descriptor is open, and the kernel writes one int.
            unsafe {
                get_timeout(device.as_raw_fd(), &raw mut wanted)?;
            }
        }
        Ok(Self { device, seconds: u32::try_from(wanted).unwrap_or(seconds) })
    }

    /// How often it is fed: three times in the time that it waits.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(self.seconds.into()) / 3
    }

    /// Keeps it quiet while something runs that cannot feed it itself, but no longer than `most`: what takes longer hangs.
    pub(crate) fn during<T>(&self, most: Duration, work: impl FnOnce() -> T) -> T {
        let (done, is_done) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let begun = Instant::now();
                while begun.elapsed() < most {
                    let _ = self.feed();
                    if is_done.recv_timeout(self.pause()) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
            let result = work();
            drop(done);
            result
        })
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
