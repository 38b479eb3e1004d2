//! The machine itself: what only root may, and what no Arc needs of the kernel.

use std::ffi::c_long;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

use super::Attempt::{self, Inside};
use super::{Outcome, first};
use crate::kernel::{Word, call, pointer, refused, word};

pub(super) const ATTEMPTS: &[(&str, Attempt)] = &[
    ("mount", Inside(mount)),
    ("leave by chroot", Inside(chroot)),
    ("another root", Inside(pivot_root)),
    ("keys", Inside(keys)),
    ("bpf", Inside(bpf)),
    ("perf", Inside(perf)),
    ("userfaultfd", Inside(userfaultfd)),
    ("io_uring", Inside(io_uring)),
    ("type into a terminal", Inside(terminal)),
    ("make a device", Inside(device)),
    ("open a device", Inside(open_device)),
    ("privileges", Inside(privileges)),
    ("the clock", Inside(clock)),
    ("the kernel", Inside(kernel)),
];

fn simply(name: &str, number: c_long, arguments: &[Word]) -> Outcome {
    call(number, arguments).map(|_| format!("{name} succeeded")).map_err(|error| refused(name, &error))
}

fn mount(_: &str) -> Outcome {
    let (kind, flags) = (pointer(c"tmpfs"), 0);
    first([
        simply("mount", libc::SYS_mount, &[kind, pointer(c"/tmp"), kind, flags, 0]),
        simply("mount", libc::SYS_mount, &[pointer(c"/"), pointer(c"/tmp"), 0, word(libc::MS_BIND.cast_signed()), 0]),
        simply("fsopen", libc::SYS_fsopen, &[kind, 0]),
        simply("open_tree", libc::SYS_open_tree, &[word(libc::AT_FDCWD), pointer(c"/"), 1]),
        simply("umount2", libc::SYS_umount2, &[pointer(c"/tmp"), word(libc::MNT_DETACH)]),
    ])
}

/// chroot(2), "NOTES": who may change its root again leaves it by a descriptor from outside.
fn chroot(_: &str) -> Outcome {
    simply("chroot", libc::SYS_chroot, &[pointer(c".")])
}

fn pivot_root(_: &str) -> Outcome {
    simply("pivot_root", libc::SYS_pivot_root, &[pointer(c"."), pointer(c".")])
}

fn keys(_: &str) -> Outcome {
    /// `KEYCTL_GET_KEYRING_ID` and `KEY_SPEC_SESSION_KEYRING` (`include/uapi/linux/keyctl.h`).
    const SESSION: [Word; 3] = [0, -3, 1];
    let user = [pointer(c"user"), pointer(c"hostile"), pointer(c"x"), 1, -3];
    first([simply("keyctl", libc::SYS_keyctl, &SESSION), simply("add_key", libc::SYS_add_key, &user)])
}

fn bpf(_: &str) -> Outcome {
    // BPF_MAP_CREATE of an array with one value of 4 bytes.
    let map: [u32; 18] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    simply("bpf", libc::SYS_bpf, &[0, pointer(&map), 72])
}

fn perf(_: &str) -> Outcome {
    // PERF_TYPE_SOFTWARE, the size of the structure, PERF_COUNT_SW_TASK_CLOCK; user mode alone.
    let mut attributes = [0_u64; 16];
    attributes[0] = 1 | 128 << 32;
    attributes[1] = 1;
    attributes[5] = 1 << 5 | 1 << 6;
    simply("perf_event_open", libc::SYS_perf_event_open, &[pointer(&attributes), 0, -1, -1, 0])
}

fn userfaultfd(_: &str) -> Outcome {
    // UFFD_USER_MODE_ONLY.
    simply("userfaultfd", libc::SYS_userfaultfd, &[1])
}

fn io_uring(_: &str) -> Outcome {
    let parameters = [0_u32; 30];
    simply("io_uring_setup", libc::SYS_io_uring_setup, &[4, pointer(&parameters)])
}

fn terminal(_: &str) -> Outcome {
    let typed = b'x';
    let own = (0..3).map(|number| simply("TIOCSTI", libc::SYS_ioctl, &[number, 0x5412, pointer(&typed)]));
    let opened = ["/dev/tty", "/dev/console", "/dev/tty1", "/dev/ttyS0", "/dev/ptmx"].map(read);
    first(own.chain(opened))
}

fn device(_: &str) -> Outcome {
    // The memory of the machine: character device 1, 1.
    let mode = word(libc::S_IFCHR.cast_signed()) | 0o600;
    let made = ["memory", "/tmp/memory"].map(|path| {
        let path = std::ffi::CString::new(path).unwrap_or_default();
        simply("mknod", libc::SYS_mknodat, &[word(libc::AT_FDCWD), pointer(path.as_c_str()), mode, 0x101])
    });
    first(made)
}

fn read(path: &str) -> Outcome {
    let opened = File::options().read(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path);
    opened.map(|_| format!("opened {path}")).map_err(|error| refused(path, &error))
}

fn open_device(_: &str) -> Outcome {
    first(["/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmsg", "/dev/watchdog", "/dev/tpmrm0", "/dev/fuse"].map(read))
}

fn privileges(_: &str) -> Outcome {
    first([
        simply("setuid", libc::SYS_setresuid, &[0, 0, 0]),
        simply("setgroups", libc::SYS_setgroups, &[1, pointer(&0_u32)]),
        raised(),
    ])
}

/// All capabilities that there are (capset(2), version 3).
fn raised() -> Outcome {
    let header = [0x2008_0522_u32, 0];
    let data = [u32::MAX, u32::MAX, 0, 0x1FF, 0x1FF, 0];
    simply("capset", libc::SYS_capset, &[pointer(&header), pointer(&data)])
}

/// To the time that it is.
fn clock(_: &str) -> Outcome {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = [i64::try_from(now.as_secs()).unwrap_or(0), i64::from(now.subsec_nanos())];
    simply("clock_settime", libc::SYS_clock_settime, &[word(libc::CLOCK_REALTIME), pointer(&now)])
}

fn kernel(_: &str) -> Outcome {
    let nothing = [0_u8; 4];
    let buffer = [0_u8; 256];
    first([
        simply("init_module", libc::SYS_init_module, &[pointer(&nothing), 0, pointer(c"")]),
        simply("kexec_load", libc::SYS_kexec_load, &[0, 0, 0, 0]),
        // LINUX_REBOOT_CMD_CAD_OFF: allowed, it would change next to nothing.
        simply("reboot", libc::SYS_reboot, &[0xFEE1_DEAD_u32.cast_signed().into(), 0x2812_1969, 0, 0]),
        simply("syslog", libc::SYS_syslog, &[3, pointer(&buffer), 256]),
        simply("swapon", libc::SYS_swapon, &[pointer(c"/tmp/x"), 0]),
        simply("acct", libc::SYS_acct, &[pointer(c"/tmp/x")]),
        simply("open_by_handle_at", libc::SYS_open_by_handle_at, &[3, pointer(&buffer), 0]),
        simply("fanotify_init", libc::SYS_fanotify_init, &[0, 0]),
        simply("quotactl", libc::SYS_quotactl, &[0x80_0001, 0, 0, pointer(&buffer)]),
    ])
}
