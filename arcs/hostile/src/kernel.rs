//! System calls by their numbers, and their errors in words.

use std::ffi::c_long;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A number, or a pointer as one.
pub(crate) type Word = i64;

/// Makes a system call.
pub(crate) fn call(number: c_long, arguments: &[Word]) -> io::Result<Word> {
    let mut all: [Word; 6] = [0; 6];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = *argument;
    }
    let [a, b, c, d, e, f] = all;
    #[expect(unsafe_code, reason = "a program that tries what is forbidden asks the kernel itself")]
    // SAFETY: every caller passes numbers, null, or pointers to values that outlive the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for a call that answers a new descriptor, which is closed when it is dropped.
pub(crate) fn open(number: c_long, arguments: &[Word]) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(call(number, arguments)?).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "a system call answers a number")]
    // SAFETY: the kernel has just opened it, and nobody else knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A pointer as the kernel takes it.
pub(crate) fn pointer<T: ?Sized>(value: &T) -> Word {
    (&raw const *value).cast::<u8>().expose_provenance().cast_signed() as Word
}

/// A flag or number of libc's.
pub(crate) fn word(value: impl Into<i64>) -> Word {
    value.into()
}

/// What kept an attempt from succeeding: the call, and the kernel's word for it.
pub(crate) fn refused(what: &str, error: &io::Error) -> String {
    let words = error.to_string();
    let plain = words.split(" (os error").next().unwrap_or_default().to_lowercase();
    format!("{what}: {plain}")
}
