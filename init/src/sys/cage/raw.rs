//! System calls as the kernel takes them: for a child between its birth and its program, where nothing may allocate,
//! lock or panic and where what libc keeps of threads and users is not touched.

use std::ffi::{CStr, c_int, c_long, c_ulong};
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;

/// An argument of a system call.
type Word = c_long;

/// Makes a system call.
pub(super) fn call(number: c_long, arguments: [Word; 5]) -> nix::Result<c_long> {
    let [a, b, c, d, e] = arguments;
    #[expect(unsafe_code, reason = "the one place where the child calls the kernel")]
    // SAFETY: every caller below passes integers, or pointers to values that outlive the call.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e) })
}

/// A pointer as the kernel takes it.
pub(super) fn pointer<T: ?Sized>(value: &T) -> Word {
    (&raw const *value).cast::<u8>().expose_provenance().cast_signed() as Word
}

pub(super) fn word(value: impl Into<i64>) -> Word {
    value.into()
}

/// Relative paths are relative to the working folder.
pub(super) const HERE: Word = libc::AT_FDCWD as Word;

pub(super) fn close(descriptor: RawFd) {
    // A number that is not open is closed already.
    let _ = call(libc::SYS_close, [word(descriptor), 0, 0, 0, 0]);
}

pub(super) fn duplicate(from: RawFd, to: RawFd, flags: c_int) -> nix::Result<()> {
    if from == to {
        return Ok(());
    }
    call(libc::SYS_dup3, [word(from), word(to), word(flags), 0, 0]).map(drop)
}

/// Opens what `path` names without reading it: a place, not its content.
pub(super) fn open_place(path: &CStr, resolve: u64) -> nix::Result<RawFd> {
    #[expect(unsafe_code, reason = "the structure may grow and has no constructor")]
    // SAFETY: all zero is a valid open_how.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_PATH | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = resolve;
    let arguments = [HERE, pointer(path), pointer(&how), size_of::<libc::open_how>() as Word, 0];
    descriptor(call(libc::SYS_openat2, arguments)?)
}

/// Makes an empty file that is there to be mounted on, or to be written.
pub(super) fn create(path: &CStr, mode: u32) -> nix::Result<RawFd> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    descriptor(call(libc::SYS_openat, [HERE, pointer(path), word(flags), word(mode), 0])?)
}

pub(super) fn make_folder(path: &CStr) -> nix::Result<()> {
    match call(libc::SYS_mkdirat, [HERE, pointer(path), 0o755, 0, 0]) {
        Err(Errno::EEXIST) => Ok(()),
        other => other.map(drop),
    }
}

pub(super) fn write(descriptor: RawFd, bytes: &[u8]) -> nix::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let arguments = [word(descriptor), pointer(rest), rest.len() as Word, 0, 0];
        let written = usize::try_from(call(libc::SYS_write, arguments)?).unwrap_or(0);
        rest = rest.get(written.max(1)..).unwrap_or_default();
    }
    Ok(())
}

pub(super) fn prctl(option: c_int, value: c_ulong, third: c_ulong) -> nix::Result<()> {
    call(libc::SYS_prctl, [word(option), value.cast_signed(), third.cast_signed(), 0, 0]).map(drop)
}

pub(super) fn chdir(path: &CStr) -> nix::Result<()> {
    call(libc::SYS_chdir, [pointer(path), 0, 0, 0, 0]).map(drop)
}

pub(super) fn limit(resource: c_int, bound: u64) -> nix::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    call(libc::SYS_prlimit64, [0, word(resource), 0, (&raw mut limit).expose_provenance().cast_signed() as Word, 0])?;
    let bound = bound.min(limit.rlim_max);
    let limit = libc::rlimit { rlim_cur: bound, rlim_max: bound };
    call(libc::SYS_prlimit64, [0, word(resource), pointer(&limit), 0, 0]).map(drop)
}

/// A result that is a new descriptor.
pub(super) fn descriptor(result: c_long) -> nix::Result<RawFd> {
    RawFd::try_from(result).map_err(|_| Errno::EBADF)
}

/// A control message with two descriptors at the most (cmsg(3)).
#[repr(C, align(8))]
struct Attached {
    header: libc::cmsghdr,
    descriptors: [RawFd; 2],
}

/// Says something on `socket`, with those of `attached` that are open. By sendmsg(2), which the list of system calls
/// allows on one descriptor until the program runs.
pub(super) fn say(socket: RawFd, text: &[u8], attached: &[RawFd]) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "the structures have no constructors")]
    // SAFETY: all zero is a valid value of each.
    let (mut control, mut message): (Attached, libc::msghdr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut count = 0;
    for (place, descriptor) in control.descriptors.iter_mut().zip(attached.iter().filter(|number| **number >= 0)) {
        *place = *descriptor;
        count += 1;
    }
    let mut part = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if count > 0 {
        let length = size_of::<libc::cmsghdr>() + count * size_of::<RawFd>();
        control.header.cmsg_len = length as _;
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = length.next_multiple_of(8) as _;
    }
    let arguments = [word(socket), pointer(&message), c_long::from(libc::MSG_NOSIGNAL), 0, 0];
    call(libc::SYS_sendmsg, arguments).map(drop)
}

/// Ends this process, and touches nothing.
pub(super) fn exit() -> ! {
    loop {
        let _ = call(libc::SYS_exit_group, [127, 0, 0, 0, 0]);
    }
}
