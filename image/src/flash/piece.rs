//! What is read and written at once.

use std::io::{self, Read};

/// How much that is, in bytes: more than flash erases at once.
pub(super) const PIECE: usize = 4 << 20;
/// What goes past the kernel's cache has to lie at a multiple of this in memory (open(2), `O_DIRECT`).
const ALIGNMENT: usize = 4096;

/// A buffer of [`PIECE`] bytes that can be read and written past the kernel's cache.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    start: usize,
}

impl Piece {
    /// One of zeros.
    pub(super) fn new() -> Self {
        let bytes = vec![0; PIECE + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start }
    }

    /// Its first `length` bytes.
    pub(super) fn first(&mut self, length: usize) -> &mut [u8] {
        let end = self.start + length.min(PIECE);
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }

    /// All of it.
    pub(super) fn all(&mut self) -> &mut [u8] {
        self.first(PIECE)
    }
}

/// Fills a buffer as far as there is something to read; answers how much that was.
pub(super) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
