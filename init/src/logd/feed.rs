//! The output of one service: from its pipe by way of its journal into its file.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use spec::Name;
use spec::control::LogLine;
use spec::redaction::Redactor;

use super::file::LogFile;
use super::tail;
use crate::log::{Journal, Position, Rate, Split, split};
use crate::sys::{self, Millis, date_and_time, unix_millis};

/// What is taken from a pipe in one turn, so that one service that floods does not starve the others.
const TURN: usize = 16 * 1024;

/// What a turn has brought.
#[derive(Debug)]
pub(super) struct Turn {
    /// The lines that were written down.
    pub(super) lines: Vec<LogLine>,
    pub(super) pipe: Pipe,
}

/// How the pipe was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipe {
    /// There may be more in it.
    Full,
    /// All was taken.
    Empty,
    /// All was taken, and nobody can write to it any more.
    Ended,
}

/// The output of a service.
pub(super) struct Feed {
    pub(super) service: Name,
    pipe: OwnedFd,
    journal: Journal,
    position: Position,
    /// Where to the memory of the journal was given back.
    given_back: u64,
    file: LogFile,
    is_in_trouble: bool,
    rate: Rate,
}

impl Feed {
    /// Goes on where the journal says, and answers the last lines before that.
    pub(super) fn open(
        service: Name,
        pipe: OwnedFd,
        journal: Journal,
        folder: &Path,
        now: Millis,
    ) -> io::Result<(Self, Vec<LogLine>)> {
        let path = folder.join(format!("{service}.log"));
        let (position, file) = match journal.position()? {
            Some(position) => {
                let file = LogFile::recover(path, position.file)?;
                (Position { file: file.length(), ..position }, file)
            }
            None => {
                let file = LogFile::find(path);
                (Position::first(file.length()), file)
            }
        };
        journal.commit(&position)?;
        let before = tail::read(&service, &file, next(&position));
        let (given_back, rate) = (0, Rate::new(now));
        let feed = Self { service, pipe, journal, position, given_back, file, is_in_trouble: false, rate };
        Ok((feed, before))
    }

    /// The number of its next line.
    pub(super) fn next(&self) -> i64 {
        next(&self.position)
    }

    /// The length of its log file.
    pub(super) fn length(&self) -> u64 {
        self.file.length()
    }

    /// Its log file.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Takes a part of what the service wrote, and writes down what is complete of it, with secrets hidden.
    pub(super) fn turn(&mut self, now: Millis, redactor: &Redactor) -> io::Result<Turn> {
        let pipe = match self.journal.take(&self.pipe, TURN) {
            Ok(0) => Pipe::Ended,
            Ok(_) => Pipe::Full,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pipe::Empty,
            Err(error) => return Err(error),
        };
        let bytes = self.journal.read(self.position.read, usize::MAX)?;
        let mut found = match (split(&bytes), pipe) {
            (found, Pipe::Ended) => found.with_rest(&bytes),
            (found, _) => found,
        };
        for line in &mut found.lines {
            if let Cow::Owned(hidden) = redactor.redact(&line.text) {
                line.text = hidden;
            }
        }
        let lines = if found.rest == 0 { Vec::new() } else { self.take_down(&found, now)? };
        Ok(Turn { lines, pipe })
    }

    fn take_down(&mut self, found: &Split, now: Millis) -> io::Result<Vec<LogLine>> {
        if let Some(words) = found.last_words() {
            self.position.words.clone_from(&words.text);
            self.position.words_end = self.position.read.saturating_add(words.end as u64);
        }
        let mut texts = Vec::new();
        for line in &found.lines {
            if self.rate.admits(line.text.len(), now) {
                texts.extend(self.admission_of_losses());
                texts.push(line.text.clone());
            } else {
                self.position.dropped = self.position.dropped.saturating_add(1);
            }
        }
        self.position.read = self.position.read.saturating_add(found.rest as u64);
        self.write(texts)
    }

    /// Says how many lines were dropped, if any were and lines are written down again.
    pub(super) fn admit_losses(&mut self, now: Millis) -> io::Result<Vec<LogLine>> {
        if self.position.dropped == 0 || !self.rate.is_open(now) {
            return Ok(Vec::new());
        }
        let texts = self.admission_of_losses().into_iter().collect();
        self.write(texts)
    }

    /// Whether it is to be said that lines were dropped.
    pub(super) fn has_losses(&self) -> bool {
        self.position.dropped > 0
    }

    fn admission_of_losses(&mut self) -> Option<String> {
        let dropped = std::mem::take(&mut self.position.dropped);
        (dropped > 0).then(|| format!("{dropped} {}", Rate::WORDS))
    }

    /// Writes lines to the file, and then the position: the file before that position is what counts.
    fn write(&mut self, texts: Vec<String>) -> io::Result<Vec<LogLine>> {
        let time_ms = unix_millis();
        let numbered = texts.into_iter().zip(self.next()..);
        let line = |(text, number)| LogLine { service: self.service.clone(), time_ms, text, number };
        let lines: Vec<LogLine> = numbered.map(line).collect();
        if !lines.is_empty() {
            let written = self.append(&lines);
            self.judge(written);
        }
        self.position.lines = self.position.lines.saturating_add(lines.len() as u64);
        self.position.file = self.file.length();
        self.journal.commit(&self.position)?;
        self.given_back = self.journal.give_back(self.given_back, self.position.read)?;
        Ok(lines)
    }

    fn append(&mut self, lines: &[LogLine]) -> io::Result<()> {
        if self.file.is_full() {
            self.file.move_aside()?;
            // What was read before these lines is all that the position may tell of.
            let before = self.journal.position()?;
            if let Some(before) = before {
                self.journal.commit(&Position { file: 0, ..before })?;
            }
        }
        let show = |line: &LogLine| format!("{} {}\n", date_and_time(line.time_ms), line.text);
        self.file.append(lines.iter().map(show).collect::<String>().as_bytes())
    }

    /// Says it where the file could be written until now and no more, or again. A disk that refuses costs lines in the
    /// file, never a service.
    fn judge(&mut self, written: io::Result<()>) {
        let path = self.file.path().display();
        let was_in_trouble = std::mem::replace(&mut self.is_in_trouble, written.is_err());
        match written {
            Err(error) if !was_in_trouble => {
                sys::write_stderr(&format!("{path}: cannot be written: {error}; its lines are kept in memory"));
            }
            Ok(()) if was_in_trouble => sys::write_stderr(&format!("{path}: can be written again")),
            _ => {}
        }
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn next(position: &Position) -> i64 {
    i64::try_from(position.lines).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
