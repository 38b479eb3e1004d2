//! Memory: too much of it, and such as is written and executed.

use std::fs::File;
use std::io::Write;

use super::Attempt::{self, Inside};
use super::{Outcome, first};
use crate::kernel::{Word, call, refused, word};

pub(super) const ATTEMPTS: &[(&str, Attempt)] = &[
    ("2 GiB of memory", Inside(allocate)),
    ("fill /tmp", Inside(fill_scratch)),
    ("execute what it has written", Inside(write_and_execute)),
];

const PIECE: usize = 16 << 20;
const WANTED: usize = 2 << 30;

fn map(length: usize, protection: i32) -> std::io::Result<Word> {
    let flags = word(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let length = i64::try_from(length).map_err(std::io::Error::other)?;
    call(libc::SYS_mmap, &[0, length, word(protection), flags, -1, 0])
}

fn allocate(_: &str) -> Outcome {
    let mut held: Vec<Vec<u8>> = Vec::new();
    while held.len() * PIECE < WANTED {
        let mut piece = Vec::new();
        if let Err(error) = piece.try_reserve_exact(PIECE) {
            return Err(format!("mmap: {error} after {} MiB", (held.len() * PIECE) >> 20));
        }
        // Every page of it is touched.
        piece.resize(PIECE, 7);
        held.push(piece);
    }
    Ok(format!("holds {} MiB", (held.len() * PIECE) >> 20))
}

/// What lies there counts as memory.
fn fill_scratch(_: &str) -> Outcome {
    let piece = vec![7; 1 << 20];
    let mut written = 0;
    let filled = File::create("/tmp/fill").and_then(|mut file| {
        while written < 512 {
            file.write_all(&piece)?;
            written += 1;
        }
        Ok(())
    });
    let _ = std::fs::remove_file("/tmp/fill");
    filled
        .map(|()| format!("wrote {written} MiB"))
        .map_err(|error| format!("{} after {written} MiB", refused("write", &error)))
}

fn write_and_execute(_: &str) -> Outcome {
    let (write, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    let at_once = map(4096, write | execute).map(|_| "mapped memory to write and execute".to_owned());
    let in_turn = map(4096, write).and_then(|at| call(libc::SYS_mprotect, &[at, 4096, word(execute)]));
    first([
        at_once.map_err(|error| refused("mmap", &error)),
        in_turn
            .map(|_| "made memory executable that it had written".to_owned())
            .map_err(|error| refused("mprotect", &error)),
    ])
}
