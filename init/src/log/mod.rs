//! What services say: the last lines of all of them in memory, and a bounded file for each.

mod file;
mod lines;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use spec::Name;
use spec::control::{LogLine, LogQuery};

pub(crate) use lines::Lines;

use crate::sys::unix_millis;
use file::LogFile;

/// How many bytes of lines are kept in memory for all services together.
const KEPT: usize = 512 * 1024;
/// What a line costs in memory beside its text.
const LINE_COST: usize = 96;

/// The log of all services.
pub(crate) struct Log {
    folder: PathBuf,
    files: BTreeMap<Name, LogFile>,
    ring: VecDeque<LogLine>,
    size: usize,
}

impl Log {
    /// An empty log whose files lie in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new(), ring: VecDeque::new(), size: 0 }
    }

    /// Writes lines of a service down. Answers them with their time, and what is to be said when its file could be
    /// written until now and no more, or again.
    pub(crate) fn append(&mut self, service: &Name, texts: Vec<String>) -> (Vec<LogLine>, Option<String>) {
        let time_ms = unix_millis();
        let line = |text| LogLine { service: service.clone(), time_ms, text };
        let lines: Vec<LogLine> = texts.into_iter().map(line).collect();
        let path = || self.folder.join(format!("{service}.log"));
        let file = self.files.entry(service.clone()).or_insert_with(|| LogFile::new(path()));
        let trouble = file.append(&lines);
        for line in &lines {
            self.size += line.text.len() + LINE_COST;
            self.ring.push_back(line.clone());
        }
        while self.size > KEPT {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.size -= oldest.text.len() + LINE_COST;
        }
        (lines, trouble)
    }

    /// The last lines that `query` asks for, oldest first.
    pub(crate) fn last(&self, query: &LogQuery) -> Vec<&LogLine> {
        let wanted = usize::try_from(query.lines.unwrap_or(LogQuery::DEFAULT_LINES)).unwrap_or(usize::MAX);
        let matching =
            self.ring.iter().rev().filter(|line| query.name.as_ref().is_none_or(|name| *name == line.service));
        let mut lines: Vec<&LogLine> = matching.take(wanted).collect();
        lines.reverse();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Log::new(folder.path().to_owned());
        for number in 0..2000 {
            log.append(&name("kv"), vec![format!("{number} {}", "x".repeat(1000))]);
        }
        assert!(log.size <= KEPT, "{}", log.size);
        let all = log.last(&LogQuery { lines: Some(u32::MAX), ..LogQuery::default() });
        assert!((400..500).contains(&all.len()), "{}", all.len());
        assert!(all.last().is_some_and(|line| line.text.starts_with("1999 ")));
    }

    #[test]
    fn a_query_picks_a_service_and_the_last_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Log::new(folder.path().to_owned());
        for text in ["a", "b", "c"] {
            log.append(&name("kv"), vec![text.to_owned()]);
            log.append(&name("files"), vec![text.to_uppercase()]);
        }
        let query = LogQuery { name: Some(name("kv")), lines: Some(2), follow: false };
        let texts: Vec<&str> = log.last(&query).iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["b", "c"]);
        assert_eq!(log.last(&LogQuery::default()).len(), 6);
    }
}
