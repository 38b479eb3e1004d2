use std::fs;
use std::io::{PipeReader, PipeWriter, Write};

use tempfile::TempDir;

use spec::redaction::Fingerprints;

use super::*;
use crate::logd::file::FULL;

/// A service with its pipe and its journal, which outlive every `logd`.
struct Service {
    folder: TempDir,
    reader: PipeReader,
    writer: PipeWriter,
    journal: Journal,
}

impl Service {
    fn new() -> Self {
        let (reader, writer) = io::pipe().expect("a pipe");
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            reader,
            writer,
            journal: Journal::create().expect("one"),
        }
    }

    fn says(&self, text: &str) {
        (&self.writer).write_all(text.as_bytes()).expect("written");
    }

    /// A `logd` that has just started.
    fn logd(&self) -> Feed {
        self.logd_with_tail().0
    }

    fn logd_with_tail(&self) -> (Feed, Vec<LogLine>) {
        let pipe = self.reader.try_clone().expect("a copy").into();
        let journal = self.journal.share().expect("a copy").into();
        Feed::open("kv".parse().expect("a name"), pipe, journal, self.folder.path(), 0).expect("opened")
    }

    /// What is in the log, without the times.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("kv.log")).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }

    /// Adds half a line to the log, as one does that is killed while it writes.
    fn half_a_write(&self) {
        let path = self.folder.path().join("kv.log");
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("opened");
        file.write_all(b"2026-01-01T00:00:00.000Z thr").expect("written");
    }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn lines_go_into_the_file_and_a_line_that_was_begun_waits() {
    let service = Service::new();
    let mut logd = service.logd();
    service.says("one\ntw");
    let turn = logd.turn(0, &Redactor::default()).expect("taken");
    assert_eq!((texts(&turn.lines), turn.pipe), (vec!["one"], Pipe::Full));
    service.says("o\nthree");
    assert_eq!(texts(&logd.turn(0, &Redactor::default()).expect("taken").lines), ["two"]);
    assert_eq!(logd.turn(0, &Redactor::default()).expect("nothing").pipe, Pipe::Empty);
    assert_eq!((service.log(), logd.next()), (vec!["one".to_owned(), "two".to_owned()], 2));
    let Service { folder, writer, .. } = service;
    drop(writer);
    let turn = logd.turn(0, &Redactor::default()).expect("the end");
    assert_eq!((texts(&turn.lines), turn.pipe), (vec!["three"], Pipe::Ended));
    drop(folder);
}

#[test]
fn one_that_is_killed_before_it_wrote_has_lost_nothing() {
    let service = Service::new();
    service.says("one\ntwo\nthree\n");
    // It was killed right after the kernel had moved a part of it.
    service.journal.take(&service.reader, 6).expect("taken");
    let mut logd = service.logd();
    while logd.turn(0, &Redactor::default()).expect("taken").pipe == Pipe::Full {}
    assert_eq!(service.log(), ["one", "two", "three"]);
}

#[test]
fn one_that_is_killed_while_it_writes_leaves_nothing_twice_and_nothing_half() {
    let service = Service::new();
    let mut logd = service.logd();
    service.says("one\n");
    logd.turn(0, &Redactor::default()).expect("taken");
    service.says("two\nthree\n");
    service.journal.take(&service.reader, 100).expect("taken");
    service.half_a_write();
    let (mut logd, tail) = service.logd_with_tail();
    assert_eq!((texts(&tail), tail[0].number), (vec!["one"], 0));
    assert_eq!(texts(&logd.turn(0, &Redactor::default()).expect("taken").lines), ["two", "three"]);
    assert_eq!(service.log(), ["one", "two", "three"]);
    assert_eq!(logd.next(), 3);
}

#[test]
fn one_that_is_killed_in_its_very_first_write_begins_anew() {
    let service = Service::new();
    drop(service.logd());
    service.says("one\n");
    service.half_a_write();
    service.logd().turn(0, &Redactor::default()).expect("taken");
    assert_eq!(service.log(), ["one"]);
}

#[test]
fn one_that_is_killed_between_moving_a_full_file_aside_and_writing_goes_on_in_the_new_one() {
    let service = Service::new();
    let path = service.folder.path().join("kv.log");
    fs::write(&path, vec![b'x'; usize::try_from(FULL).expect("small")]).expect("written");
    drop(service.logd());
    fs::rename(&path, path.with_extension("log.1")).expect("moved");
    service.says("one\n");
    service.logd().turn(0, &Redactor::default()).expect("taken");
    assert_eq!(service.log(), ["one"]);
    assert_eq!(fs::metadata(path.with_extension("log.1")).expect("there").len(), FULL);
}

#[test]
fn a_full_file_is_moved_aside() {
    let service = Service::new();
    let path = service.folder.path().join("kv.log");
    fs::write(&path, vec![b'x'; usize::try_from(FULL).expect("small")]).expect("written");
    let mut logd = service.logd();
    service.says("one\n");
    logd.turn(0, &Redactor::default()).expect("taken");
    assert_eq!(service.log(), ["one"]);
    assert_eq!(fs::metadata(path.with_extension("log.1")).expect("there").len(), FULL);
}

#[test]
fn every_line_is_written_or_counted_however_often_logd_is_killed() {
    let service = Service::new();
    let mut logd = service.logd();
    let text = "x".repeat(1000);
    let (mut said, mut now) = (0, 0);
    let mut told = Vec::new();
    while said < 4000 {
        for _ in 0..20 {
            service.says(&format!("{said} {text}\n"));
            said += 1;
        }
        for _ in 0..2 {
            told.extend(logd.turn(now, &Redactor::default()).expect("taken").lines);
        }
        if said % 600 == 0 {
            let left = logd.rate;
            logd = service.logd();
            logd.rate = left;
        }
        now += 10;
    }
    now += 2000;
    told.extend(logd.admit_losses(now).expect("written"));
    let dropped = |line: &LogLine| line.text.strip_suffix(Rate::WORDS).map(|count| count.trim().parse::<u64>());
    let counted: u64 = told.iter().filter_map(|line| dropped(line)?.ok()).sum();
    let written = told.iter().filter(|line| dropped(line).is_none()).count() as u64;
    assert!(counted > 1000 && written > 1000, "{counted} {written}");
    assert_eq!(counted + written, said);
    assert!(told.iter().zip(0..).all(|(line, number)| line.number == number), "numbered without a gap");
}

#[test]
fn a_disk_that_refuses_costs_lines_in_the_file_alone() {
    let service = Service::new();
    let path = service.folder.path().join("kv.log");
    fs::create_dir(&path).expect("in the way");
    let mut logd = service.logd();
    service.says("one\n");
    assert_eq!(texts(&logd.turn(0, &Redactor::default()).expect("taken").lines), ["one"]);
    fs::remove_dir(&path).expect("out of the way");
    service.says("two\n");
    logd.turn(0, &Redactor::default()).expect("taken");
    assert_eq!(service.log(), ["two"]);
}

#[test]
fn a_secret_is_hidden_in_the_file_in_memory_and_in_the_last_words() {
    let service = Service::new();
    let mut logd = service.logd();
    let mut prints = Fingerprints::new([1; 32]);
    assert!(prints.add(b"sk-canary-1"));
    service.says("the key is sk-canary-1!\n");
    let turn = logd.turn(0, &Redactor::new(&prints)).expect("taken");
    assert_eq!(texts(&turn.lines), ["the key is [secret]!"]);
    assert_eq!(service.log(), ["the key is [secret]!"]);
    let words = service.journal.last_words(&service.reader, 0).expect("looked");
    assert_eq!(words.as_deref(), Some("the key is [secret]!"));
}
