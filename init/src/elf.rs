//! Whether a program needs a dynamic loader: elf(5).

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// `PT_INTERP`: the program names the loader that it is started with.
const INTERPRETER: u32 = 3;
/// The headers of a program lie at its beginning.
const HEADERS: u64 = 4096;

/// Whether the program at `path` is linked dynamically. What is no such program for this machine is not, and fails when
/// it is executed.
pub(crate) fn is_dynamic(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADERS).read_to_end(&mut head));
    read.is_ok() && has_interpreter(&head).unwrap_or(false)
}

/// `Elf64_Ehdr` and `Elf64_Phdr`, in the byte order of all machines that we run on.
fn has_interpreter(head: &[u8]) -> Option<bool> {
    let half = |at: usize| head.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let word = |at: usize| head.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let is_elf = head.starts_with(b"\x7fELF\x02\x01");
    let table = usize::try_from(u64::from_le_bytes(*head.get(32..)?.first_chunk()?)).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let mut kinds = (0..count).filter_map(|index| word(table.checked_add(index.checked_mul(size)?)?));
    Some(is_elf && kinds.any(|kind| kind == INTERPRETER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_distribution_needs_a_loader_and_rubbish_does_not() {
        assert!(is_dynamic(Path::new("/bin/sh")));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rubbish");
        for content in [&b""[..], b"\x7fELF\x02\x01", &[0xFF; 100], b"#!/bin/sh\n"] {
            std::fs::write(&path, content).expect("written");
            assert!(!is_dynamic(&path));
        }
    }
}
