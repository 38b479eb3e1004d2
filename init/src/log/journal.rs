//! What was taken from a service's pipe, and how far it was written down: memory that outlives `logd`.
//!
//! The kernel moves bytes from the pipe to the end of the journal in one call, so at every moment each byte is in one of
//! the two. What is in the journal is written to the log file as lines, and only then the [`Position`] is moved behind
//! it, by one write within one page, which no signal cuts. A `logd` that is killed at any moment so leaves a position,
//! and a log file that is as long as the position says or longer. The next one cuts the file back to that length and
//! goes on from that position: each line is in the file once.
//!
//! | bytes of the journal | what |
//! | --- | --- |
//! | 0 to 256 | the position, zeros at first |
//! | 4096 and on | what was taken; what is behind the position was given back to the kernel |

use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use crate::sys;

/// Where the bytes of the service begin.
const BEGIN: u64 = 4096;
/// The size of a position as it is kept.
const RECORD: usize = 256;
/// What lies before the words in it: five numbers and the length of the words.
const HEAD: usize = 5 * 8 + 1;
/// Memory is given back in such pieces at least.
const PIECE: u64 = 16 * 1024;
/// The size of a page, which is what can be given back.
const PAGE: u64 = 4096;

/// The journal of one service.
pub(crate) struct Journal {
    file: File,
}

/// How far what a service wrote was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Up to here the bytes of the journal are lines.
    pub(crate) read: u64,
    /// How long the log file is.
    pub(crate) file: u64,
    /// How many lines were written down.
    pub(crate) lines: u64,
    /// How many lines were dropped since the last one that was written down.
    pub(crate) dropped: u64,
    /// The last line that was not blank, dropped or not, cut to what has room.
    pub(crate) words: String,
    /// Where that line ended in the journal.
    pub(crate) words_end: u64,
}

impl Position {
    /// The position of a service of which nothing was read, and whose log file has this length.
    pub(crate) fn first(file: u64) -> Self {
        Self { read: BEGIN, file, lines: 0, dropped: 0, words: String::new(), words_end: 0 }
    }

    fn to_bytes(&self) -> [u8; RECORD] {
        let room = RECORD - HEAD;
        let fits = self.words.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= room).last();
        let words = self.words.get(..fits.unwrap_or(0)).unwrap_or_default();
        let numbers = [self.read, self.file, self.lines, self.dropped, self.words_end];
        let length = u8::try_from(words.len()).unwrap_or(0);
        let bytes = numbers.into_iter().flat_map(u64::to_le_bytes).chain([length]).chain(words.bytes());
        let mut record = [0; RECORD];
        record.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        record
    }

    /// `None` for the zeros of a journal that has no position yet.
    fn of_bytes(record: &[u8; RECORD]) -> Option<Self> {
        let (numbers, rest) = record.as_chunks::<8>().0.split_at_checked(5)?;
        let [read, file, lines, dropped, words_end] =
            numbers.try_into().map(|all: [_; 5]| all.map(u64::from_le_bytes)).ok()?;
        let (length, words) = rest.as_flattened().split_first()?;
        let words = words.get(..usize::from(*length)).unwrap_or_default();
        let words = String::from_utf8_lossy(words).into_owned();
        (read >= BEGIN).then_some(Self { read, file, lines, dropped, words, words_end })
    }
}

impl Journal {
    /// An empty journal.
    pub(crate) fn create() -> io::Result<Self> {
        let file = sys::memory_file("journal")?;
        file.set_len(BEGIN)?;
        Ok(Self { file })
    }

    /// The position, if it has one yet.
    pub(crate) fn position(&self) -> io::Result<Option<Position>> {
        let mut record = [0; RECORD];
        self.file.read_exact_at(&mut record, 0)?;
        Ok(Position::of_bytes(&record))
    }

    /// Sets the position, whole or not at all.
    pub(crate) fn commit(&self, position: &Position) -> io::Result<()> {
        self.file.write_all_at(&position.to_bytes(), 0)
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Takes at most `most` bytes out of a pipe, without waiting; answers how many, zero at the pipe's end.
    pub(crate) fn take(&self, pipe: impl AsFd, most: usize) -> io::Result<usize> {
        sys::move_to_file(pipe, &self.file, self.end()?, most)
    }

    /// The bytes from `from` to the end, at most `most` of them.
    pub(crate) fn read(&self, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let length = self.end()?.saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(most)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// Gives the memory of what lies before `until` back, if that is worth a call; `since` is where it was given back to
    /// before. Answers where to it is given back now.
    pub(crate) fn give_back(&self, since: u64, until: u64) -> io::Result<u64> {
        let (since, whole) = (since.max(BEGIN), until - until % PAGE);
        if whole.saturating_sub(since) < PIECE {
            return Ok(since);
        }
        sys::give_back(&self.file, since, whole)?;
        Ok(whole)
    }

    /// What a service has said last, as far as that came after `since` (see [`Journal::stretch`]): in its pipe, in the
    /// journal, or already in the log. Nothing is taken.
    pub(crate) fn last_words(&self, pipe: &PipeReader, since: u64) -> io::Result<Option<String>> {
        /// logd may work at the same time; it does not have much to do here, for the service is gone.
        const TRIES: usize = 5;
        let mut seen = (Vec::new(), Position::first(0));
        for _ in 0..TRIES {
            let before = (self.end()?, self.position()?);
            let position = before.1.clone().unwrap_or(Position::first(0));
            let mut bytes = self.read(position.read, sys::PIPE_CAPACITY)?;
            bytes.extend(sys::peek(pipe)?);
            let old = usize::try_from(since.saturating_sub(position.read)).unwrap_or(usize::MAX);
            seen = (bytes.split_off(old.min(bytes.len())), position);
            if before == (self.end()?, self.position()?) {
                break;
            }
        }
        let (bytes, position) = seen;
        let unread = super::split(&bytes).with_rest(&bytes);
        let read = || Some(position.words).filter(|words| position.words_end > since && !words.is_empty());
        Ok(unread.last_words().map(|line| line.text.clone()).or_else(read))
    }

    /// Where what is written from now on will lie: behind what is in the journal and in the pipe.
    pub(crate) fn stretch(&self, pipe: &PipeReader) -> io::Result<u64> {
        /// logd may move bytes from the one to the other meanwhile.
        const TRIES: usize = 5;
        let mut stretch = 0;
        for _ in 0..TRIES {
            let (before, waiting) = (self.end()?, sys::waiting(pipe)?);
            if before == self.end()? {
                stretch = stretch.max(before.saturating_add(waiting));
            }
        }
        Ok(stretch)
    }

    /// Another descriptor of it.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }
}

impl From<OwnedFd> for Journal {
    fn from(descriptor: OwnedFd) -> Self {
        Self { file: descriptor.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_position_is_kept_with_as_many_words_as_have_room() {
        let journal = Journal::create().expect("a journal");
        assert_eq!(journal.position().expect("readable"), None);
        let position = Position { words: "ü".repeat(200), words_end: 9, ..Position::first(7) };
        journal.commit(&position).expect("written");
        let kept = journal.position().expect("readable").expect("one");
        assert_eq!(kept, Position { words: "ü".repeat(107), ..position });
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_their_memory_is_given_back() {
        let (pipe, mut writer) = io::pipe().expect("a pipe");
        let journal = Journal::create().expect("a journal");
        let (mut read, mut given_back) = (BEGIN, 0);
        for round in 0..100 {
            let text = format!("{round} ").repeat(1000);
            writer.write_all(text.as_bytes()).expect("written");
            assert_eq!(journal.take(&pipe, sys::PIPE_CAPACITY).expect("taken"), text.len());
            assert_eq!(journal.read(read, usize::MAX).expect("read"), text.as_bytes());
            read += text.len() as u64;
            given_back = journal.give_back(given_back, read).expect("given back");
        }
        use std::os::unix::fs::MetadataExt;
        let used = journal.file.metadata().expect("there").blocks() * 512;
        assert!(used <= 2 * PIECE, "{used} bytes of {read}");
    }

    #[test]
    fn last_words_are_found_wherever_they_are_but_only_new_ones() {
        let (pipe, mut writer) = io::pipe().expect("a pipe");
        let journal = Journal::create().expect("a journal");
        let words = |since| journal.last_words(&pipe, since).expect("looked");
        assert_eq!(words(0), None);
        writer.write_all(b"no such table\n\nlater").expect("written");
        assert_eq!(words(0).as_deref(), Some("later"), "in the pipe");
        assert_eq!(journal.take(&pipe, 14).expect("taken"), 14);
        assert_eq!(words(0).as_deref(), Some("later"), "in both");
        assert_eq!(journal.take(&pipe, 100).expect("taken"), 6);
        assert_eq!(words(0).as_deref(), Some("later"), "in the journal");
        assert_eq!(words(journal.stretch(&pipe).expect("measured")), None, "what comes has not come");
        let end = journal.end().expect("measured");
        let position = Position { read: end, words: "later".to_owned(), words_end: end, ..Position::first(0) };
        journal.commit(&position).expect("written");
        assert_eq!((words(0).as_deref(), words(end)), (Some("later"), None), "in the log");
    }
}
