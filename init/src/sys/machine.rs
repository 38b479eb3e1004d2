//! The machine as a whole: modules, its name, loopback, its end.

use std::ffi::{CString, c_int};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::resource::{Resource, setrlimit};

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel decompresses (finit_module(2)).
const COMPRESSED: c_int = 4;

/// Loads a kernel module; one that is there already is no error.
pub(crate) fn load_module(file: &Path) -> io::Result<()> {
    let is_compressed = file.extension().is_some_and(|extension| extension != "ko");
    let module = File::open(file)?;
    #[expect(unsafe_code, reason = "nix does not know the flag of compressed modules")]
    // SAFETY: the descriptor is open, and the parameters are an empty string that ends with a zero.
    let result = unsafe {
        let flags = if is_compressed { COMPRESSED } else { 0 };
        libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), flags)
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets the name that the machine has in the network.
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// No process leaves what it had in memory in a file when it dies. All inherit it.
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// Ctrl-Alt-Del is told to PID 1 (SIGINT) instead of resetting the machine at once.
pub(crate) fn take_ctrl_alt_del() -> io::Result<()> {
    Ok(set_cad_enabled(false)?)
}

nix::ioctl_write_ptr!(add_entropy, b'R', 3, [c_int; 2]);

/// Gives the kernel's random source bytes that nobody else knows, and has it count them (random(4), `RNDADDENTROPY`).
pub(crate) fn credit_entropy(seed: &[u8; 512]) -> io::Result<()> {
    /// `struct rand_pool_info` with its bytes.
    #[repr(C)]
    struct Pool {
        head: [c_int; 2],
        bytes: [u8; 512],
    }
    let random = File::options().write(true).open("/dev/urandom")?;
    let pool = Pool { head: [512 * 8, 512], bytes: *seed };
    #[expect(unsafe_code, reason = "entropy is credited by ioctl alone")]
    // SAFETY: the kernel reads the head, and as many bytes behind it as the head says, which are there.
    unsafe {
        add_entropy(random.as_raw_fd(), (&raw const pool).cast())?;
    }
    Ok(())
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    PowerOff,
    Reboot,
}

/// Writes what is still in memory, and ends or restarts the machine. Answers only why that failed.
pub(crate) fn halt(how: Halt) -> io::Error {
    nix::unistd::sync();
    let mode = match how {
        Halt::PowerOff => RebootMode::RB_POWER_OFF,
        Halt::Reboot => RebootMode::RB_AUTOBOOT,
    };
    match reboot(mode) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}

/// Writes what is still in memory, and restarts the machine with a word for its firmware (reboot(2),
/// `LINUX_REBOOT_CMD_RESTART2`). Answers only why that failed.
pub(crate) fn restart_with(word: &str) -> io::Error {
    nix::unistd::sync();
    let Ok(word) = CString::new(word) else { return io::ErrorKind::InvalidInput.into() };
    #[expect(unsafe_code, reason = "the library cannot pass a word")]
    // SAFETY: the kernel reads the word up to its end, which outlives the call.
    unsafe {
        let (first, second) = (libc::LINUX_REBOOT_MAGIC1, libc::LINUX_REBOOT_MAGIC2);
        libc::syscall(libc::SYS_reboot, first, second, libc::LINUX_REBOOT_CMD_RESTART2, word.as_ptr());
    }
    io::Error::last_os_error()
}

/// Brings a network link up, by its index in no table but its name (netdevice(7)).
pub(crate) fn bring_up(link: &str) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    #[expect(unsafe_code, reason = "flags of a link are read and set by ioctl alone")]
    // SAFETY: an all-zero ifreq is a valid one; the kernel reads and writes no more than one.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(link.bytes()) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request))?;
        let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
        request.ifr_ifru.ifru_flags |= up;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request))?;
    }
    Ok(())
}

/// Writes to the kernel's log, which is there before anything else and after everything else.
pub(crate) fn write_kernel_log(line: &str) {
    // The log of last resort: there is nowhere to say that it failed.
    let _ = fs::write("/dev/kmsg", format!("llmbasedos: {line}\n"));
}
