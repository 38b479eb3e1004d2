//! Pipes, and files in memory that take what pipes held.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, SpliceFFlags, fallocate, fcntl, splice, tee};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use zeroize::Zeroizing;

nix::ioctl_read_bad!(bytes_to_read, libc::FIONREAD, c_int);

/// What a pipe holds unless it was made larger (pipe(7)).
pub(crate) const PIPE_CAPACITY: usize = 64 * 1024;

/// A file that lies in memory and in no folder.
pub(crate) fn memory_file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// The content of a memory file that nobody can change any more (F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW), of at most
/// `most` bytes. Nothing else is read: a pipe would have to be waited for.
///
/// # Errors
/// It is something else, or it is longer.
pub(crate) fn sealed_content(descriptor: OwnedFd, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let needed = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    let seals = fcntl(&descriptor, FcntlArg::F_GET_SEALS).unwrap_or(0);
    if !SealFlag::from_bits_retain(seals).contains(needed) {
        return Err(io::Error::other("must be a memory file that is sealed against writing, growing and shrinking"));
    }
    let file = File::from(descriptor);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > most {
        return Err(io::Error::other(format!("must have at most {} KiB", most / 1024)));
    }
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Moves at most `most` bytes that a pipe holds to `offset` of a file, without waiting; answers how many, zero at the
/// pipe's end. The kernel does both in one call (splice(2)): however the process is killed, each byte is in the pipe or in
/// the file.
pub(crate) fn move_to_file(pipe: impl AsFd, file: &File, offset: u64, most: usize) -> io::Result<usize> {
    let mut offset = i64::try_from(offset).map_err(io::Error::other)?;
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    Ok(splice(pipe, None, file, Some(&mut offset), most, flags)?)
}

/// Gives the memory of a part of a file back to the kernel; what is read there from now on is zeros.
pub(crate) fn give_back(file: &File, from: u64, to: u64) -> io::Result<()> {
    let offset = i64::try_from(from).map_err(io::Error::other)?;
    let length = i64::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(fallocate(file, flags, offset, length)?)
}

/// What a pipe holds, which stays in it (tee(2)).
pub(crate) fn peek(pipe: &PipeReader) -> io::Result<Vec<u8>> {
    let (mut copies, copy) = io::pipe()?;
    match tee(pipe, &copy, PIPE_CAPACITY, SpliceFFlags::SPLICE_F_NONBLOCK) {
        Ok(_) | Err(nix::errno::Errno::EAGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    drop(copy);
    let mut bytes = Vec::new();
    copies.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How many bytes a pipe holds.
pub(crate) fn waiting(pipe: &PipeReader) -> io::Result<u64> {
    let mut count = 0;
    #[expect(unsafe_code, reason = "only an ioctl tells it")]
    // SAFETY: the descriptor is open, and the kernel writes one int.
    unsafe {
        bytes_to_read(pipe.as_raw_fd(), &raw mut count)?;
    }
    u64::try_from(count).map_err(io::Error::other)
}

/// Whether a small write would not block.
pub(crate) fn has_room(pipe: &PipeWriter) -> bool {
    let mut wanted = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut wanted, PollTimeout::ZERO), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_pipe_holds_is_seen_counted_and_moved_once() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let file = memory_file("test").expect("a file");
        let would_block = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        assert!(move_to_file(&reader, &file, 0, 10).is_err_and(would_block), "nothing is there yet");
        assert_eq!(peek(&reader).expect("peeked"), b"");
        writer.write_all(b"hello").expect("written");
        assert_eq!((peek(&reader).expect("peeked"), waiting(&reader).expect("counted")), (b"hello".to_vec(), 5));
        assert_eq!(move_to_file(&reader, &file, 4096, 4).expect("moved"), 4);
        assert_eq!(move_to_file(&reader, &file, 4100, 4).expect("moved"), 1);
        let mut bytes = [0; 5];
        file.read_exact_at(&mut bytes, 4096).expect("there");
        assert_eq!((&bytes, waiting(&reader).expect("counted")), (b"hello", 0));
        drop(writer);
        assert_eq!(move_to_file(&reader, &file, 4101, 4).expect("the end"), 0);
        give_back(&file, 0, 8192).expect("given back");
        assert_eq!(file.metadata().expect("there").len(), 4101, "a file's size stays");
    }

    #[test]
    fn only_what_can_no_longer_change_is_read() {
        let made = |seals| {
            let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
            let file = File::from(memfd_create("test", flags).expect("made"));
            file.write_all_at(b"secret", 0).expect("written");
            fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("sealed");
            OwnedFd::from(file)
        };
        let all = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        assert_eq!(sealed_content(made(all), 6).expect("read").as_slice(), b"secret");
        assert!(sealed_content(made(all), 5).is_err());
        assert!(sealed_content(made(SealFlag::F_SEAL_WRITE), 6).is_err());
        assert!(sealed_content(io::pipe().expect("a pipe").0.into(), 6).is_err());
        assert!(sealed_content(File::open("/dev/null").expect("open").into(), 6).is_err());
    }

    #[test]
    fn a_full_pipe_has_no_room() {
        let (_reader, mut writer) = io::pipe().expect("a pipe");
        assert!(has_room(&writer));
        writer.write_all(&[0; PIPE_CAPACITY]).expect("written");
        assert!(!has_room(&writer));
    }
}
