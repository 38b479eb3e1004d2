//! What a process writes: a pipe of which init keeps both ends, and the journal that `logd` takes it into.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};

use crate::log::{CUT, Journal, split};
use crate::sys;

/// What a line of init's own may be long at once: less than a page, so that it is written whole or not at all (pipe(7)).
const PIECE: usize = 4000;

/// A pipe with its journal.
pub(super) struct Stream {
    pub(super) reader: PipeReader,
    /// Kept, so that the pipe never ends.
    pub(super) writer: PipeWriter,
    journal: Journal,
    /// Where what the process of now writes begins.
    begin: u64,
    /// What init itself has read of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Stream {
    pub(super) fn make() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        sys::set_blocking(reader.as_fd(), false)?;
        Ok(Self { reader, writer, journal: Journal::create()?, begin: 0, begun: Vec::new() })
    }

    /// Descriptors of it for `logd`: the reading end, the journal.
    pub(super) fn share(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.reader.as_fd().try_clone_to_owned()?, self.journal.share()?])
    }

    /// A process begins to write.
    pub(super) fn begin(&mut self) {
        // Not knowing it, words of the process before may be taken for its own.
        self.begin = self.journal.stretch(&self.reader).unwrap_or(self.begin);
    }

    /// Everything that wrote is gone: a line that was begun ends here.
    pub(super) fn end(&mut self) {
        if sys::has_room(&self.writer) {
            // It cannot fail: init holds the reading end.
            let _ = (&self.writer).write_all(&[CUT]);
        }
    }

    /// What its process has said last.
    pub(super) fn last_words(&self) -> Option<String> {
        self.journal.last_words(&self.reader, self.begin).ok().flatten()
    }

    /// Reads a part of it in the place of `logd`.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut buffer = vec![0; sys::PIPE_CAPACITY];
        let count = io::Read::read(&mut self.reader, &mut buffer).unwrap_or(0);
        self.begun.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let found = split(&self.begun);
        self.begun.drain(..found.rest);
        found.lines.into_iter().map(|line| line.text).collect()
    }
}

/// What init itself says, on its way to `logd`.
pub(super) struct OwnWords {
    pub(super) stream: Stream,
    /// How many lines had no room in the pipe since the last one that had.
    lost: u64,
}

impl OwnWords {
    pub(super) fn make() -> io::Result<Self> {
        let stream = Stream::make()?;
        sys::set_blocking(stream.writer.as_fd(), false)?;
        Ok(Self { stream, lost: 0 })
    }

    /// Writes a line, or in pieces what is longer than one may be; what has no room is counted.
    pub(super) fn write(&mut self, line: &str) {
        if self.lost > 0 && self.write_whole(&format!("{} lines of init were lost: nobody read them", self.lost)) {
            self.lost = 0;
        }
        let mut rest = line;
        loop {
            let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE));
            self.lost += u64::from(!self.write_whole(piece));
            rest = more;
            if rest.is_empty() {
                return;
            }
        }
    }

    fn write_whole(&self, piece: &str) -> bool {
        (&self.stream.writer).write_all(format!("{piece}\n").as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_last_is_that_of_the_process_of_now() {
        let mut stream = Stream::make().expect("a pipe");
        (&stream.writer).write_all(b"of yesterday\nhalf").expect("written");
        stream.end();
        stream.begin();
        assert_eq!(stream.last_words(), None);
        (&stream.writer).write_all(b"no such table\n").expect("written");
        assert_eq!(stream.last_words().as_deref(), Some("no such table"));
        assert_eq!(stream.read(), ["of yesterday", "half", "no such table"]);
    }

    #[test]
    fn init_is_never_held_up_and_says_what_was_lost() {
        let mut own = OwnWords::make().expect("a pipe");
        let long = "x".repeat(10_000);
        for _ in 0..100 {
            own.write(&long);
        }
        assert!(own.lost > 200, "{}", own.lost);
        let lost = own.lost;
        while !own.stream.read().is_empty() {}
        own.write("üb");
        own.write(&"ü".repeat(PIECE));
        let lines = own.stream.read();
        assert_eq!(lines[..2], [format!("{lost} lines of init were lost: nobody read them"), "üb".to_owned()]);
        assert_eq!(lines[2..].concat(), "ü".repeat(PIECE));
    }
}
