//! Writing an image so that a medium never looks whole before it is.
//!
//! Both ends are wiped first: the old partition table, and at the end what a table or an array before had there. Then all but
//! the first piece is written and read back, and then that: its beginning, with the partition table, is the last. Who ends it
//! in between has a medium that nothing boots from and nobody mounts. Zeros of the image are written too: what lay there
//! before, such as an older file system, must not be found by anybody.

use std::io;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::piece::{PIECE, Piece};
use super::source::Source;
use super::table::SECTOR;
use crate::failure::{Failure, plain};
use crate::progress;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// What is wiped at the end of a medium, in bytes: a second partition table takes 33 sectors there, what arrays and volumes
/// leave lies in the last 128 KiB.
const TAIL: u64 = 1 << 20;
/// What is written last of all, in bytes: no partition table is one without it, and a medium writes that much at once.
const TABLE: usize = 4096;

/// What an image is written to.
pub(super) trait Medium {
    /// Writes bytes at an offset, both multiples of a sector.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads bytes from the medium itself, not from a cache.
    fn read_at(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Waits until everything that was written is on it for good.
    fn settle(&mut self) -> io::Result<()>;
}

/// The writing of one image.
pub(super) struct Writing<'a> {
    pub(super) medium: &'a mut dyn Medium,
    /// What it is called.
    pub(super) name: &'a str,
    /// Its size, in bytes.
    pub(super) size: u64,
    pub(super) terminal: &'a Terminal,
    pub(super) signals: &'a Signals,
}

/// The hashes of the pieces of an image but for the first, in order, and its size in bytes.
struct Body {
    hashes: Vec<[u8; 32]>,
    size: u64,
}

impl Writing<'_> {
    /// Writes the image and reads all of it back.
    ///
    /// # Errors
    /// It could not be read or written, or what is read back is something else. What the medium is then, is said.
    pub(super) fn run(mut self, source: Source) -> Result<(), Failure> {
        let head = source.head.clone();
        let name = self.name;
        self.body(source).and_then(|body| self.verify(&body, &head)).map_err(|failure| unfinished(failure, name))
    }

    fn body(&mut self, mut source: Source) -> Result<Body, Failure> {
        let (total, begun) = (source.size, Instant::now());
        let stage = self.terminal.stage("write", self.name, "beginning");
        self.wipe(0, source.head.len() as u64)?;
        self.settle()?;
        let mut piece = Piece::new();
        let mut body = Body { hashes: Vec::new(), size: source.head.len() as u64 };
        loop {
            self.signals.check()?;
            let count = source.read(piece.all())?;
            if count == 0 {
                break;
            }
            if body.size + count as u64 > self.size {
                return Err(too_small(self.name, self.size, body.size + count as u64));
            }
            // What is no whole sector is told of when all was read.
            let bytes = piece.first(count).as_chunks::<512>().0.as_flattened();
            body.hashes.push(Sha256::digest(bytes).into());
            self.put(body.size, bytes)?;
            body.size += count as u64;
            stage.progress(&progress::of_bytes(0, body.size, total, begun.elapsed()));
        }
        source.finish(body.size)?;
        let end = self.size - self.size % SECTOR;
        self.wipe(body.size.max(end.saturating_sub(TAIL)), end)?;
        stage.progress("waiting until all of it is there");
        self.settle()?;
        stage.finish(&pace(body.size, begun));
        Ok(body)
    }

    /// Reads back everything, and writes the first piece in between.
    fn verify(&mut self, body: &Body, head: &[u8]) -> Result<(), Failure> {
        let begun = Instant::now();
        let stage = self.terminal.stage("verify", self.name, "reading back");
        let mut piece = Piece::new();
        let mut at = head.len() as u64;
        for hash in &body.hashes {
            self.signals.check()?;
            let length = usize::try_from(body.size - at).unwrap_or(PIECE).min(PIECE);
            let found: [u8; 32] = Sha256::digest(self.get(at, piece.first(length))?).into();
            if found != *hash {
                return Err(self.differs(at));
            }
            at += length as u64;
            stage.progress(&progress::of_bytes(0, at, body.size, begun.elapsed()));
        }
        // From here on it is a matter of a moment: a signal waits.
        let first = piece.first(head.len());
        first.copy_from_slice(head);
        let (table, rest) = first.split_at(TABLE.min(head.len()));
        for (at, bytes) in [(table.len() as u64, rest), (0, table)] {
            self.put(at, bytes)?;
            self.settle()?;
        }
        if self.get(0, piece.first(head.len()))? != head {
            let _ = self.wipe(0, head.len() as u64);
            return Err(self.differs(0));
        }
        stage.finish("identical");
        Ok(())
    }

    /// Writes zeros from one offset to another.
    fn wipe(&mut self, from: u64, to: u64) -> Result<(), Failure> {
        let mut zeros = Piece::new();
        let mut at = from;
        while at < to {
            let length = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
            self.put(at, zeros.first(length))?;
            at += length as u64;
        }
        Ok(())
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.medium.write_at(at, bytes).map_err(|error| self.failed("write", at, &error))
    }

    fn get<'b>(&mut self, at: u64, bytes: &'b mut [u8]) -> Result<&'b [u8], Failure> {
        self.medium.read_at(at, bytes).map_err(|error| self.failed("read back", at, &error))?;
        Ok(bytes)
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.medium.settle().map_err(|error| self.failed("write", 0, &error))
    }

    fn failed(&self, verb: &str, at: u64, error: &io::Error) -> Failure {
        let what = format!("cannot {verb} {}{}", self.name, if at < PIECE as u64 { String::new() } else { place(at) });
        let advice = match error.kind() {
            io::ErrorKind::StorageFull => "free some space and run this again",
            _ => "plug it in again, or use another: it may be worn out",
        };
        Failure::new(what, plain(error), advice)
    }

    fn differs(&self, at: u64) -> Failure {
        let why = format!("what was read back{} is not what was written", place(at));
        let advice = "use another: this one loses what is written, or is smaller than it says";
        Failure::new(format!("{} did not keep the image", self.name), why, advice)
    }
}

/// Why an image is not written to something that is smaller.
pub(super) fn too_small(name: &str, size: u64, wanted: u64) -> Failure {
    let why = format!("it has {size} bytes, and the image {wanted}");
    Failure::new(format!("{name} is too small"), why, "use a larger one")
}

/// The same with what has become of the medium.
fn unfinished(failure: Failure, name: &str) -> Failure {
    let state = format!("{name} is not finished: it has no partition table, so nothing boots from it");
    match failure {
        Failure::Error { what, why, advice, exit } => {
            Failure::Error { what, why, advice: format!("{advice}\n{state}").into(), exit }
        }
        interrupted @ Failure::Interrupted { .. } => interrupted.keeping(&format!("{state}; run this again")),
    }
}

fn place(at: u64) -> String {
    format!(" at {} MB", at / 1_000_000)
}

/// How much it was, and how fast: `1905 MB · 61 MB/s`.
fn pace(bytes: u64, begun: Instant) -> String {
    let rate = u128::from(bytes) / begun.elapsed().as_millis().max(1) / 1000;
    format!("{} MB · {rate} MB/s", bytes / 1_000_000)
}

#[cfg(test)]
mod tests;
