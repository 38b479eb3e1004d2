//! The log file of one service: appended to, and moved aside when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use spec::control::LogLine;

use crate::sys::date_and_time;

/// A file of this size is moved aside, over the one that was moved aside before.
const FULL: u64 = 1024 * 1024;

/// A log file. A disk that refuses costs lines, never a service.
pub(crate) struct LogFile {
    path: PathBuf,
    open: Option<(File, u64)>,
    /// Whether it was said that it cannot be written.
    is_in_trouble: bool,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None, is_in_trouble: false }
    }

    /// Writes `lines`; answers what is to be said when that fails and had not failed before, or works again.
    pub(crate) fn append(&mut self, lines: &[LogLine]) -> Option<String> {
        let show = |line: &LogLine| format!("{} {}\n", date_and_time(line.time_ms), line.text);
        let text: String = lines.iter().map(show).collect();
        let outcome = self.write(text.as_bytes());
        let was_in_trouble = std::mem::replace(&mut self.is_in_trouble, outcome.is_err());
        let path = self.path.display();
        match outcome {
            Err(error) if !was_in_trouble => {
                Some(format!("{path}: cannot be written: {error}; its lines are kept in memory"))
            }
            Ok(()) if was_in_trouble => Some(format!("{path}: can be written again")),
            _ => None,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(_, size)| *size >= FULL) {
            self.open = None;
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
        }
        let (mut file, size) = match self.open.take() {
            Some(open) => open,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
                let size = file.metadata()?.len();
                (file, size)
            }
        };
        file.write_all(bytes)?;
        self.open = Some((file, size.saturating_add(bytes.len() as u64)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<LogLine> {
        vec![LogLine { service: "kv".parse().expect("a name"), time_ms: 0, text: text.to_owned() }]
    }

    #[test]
    fn a_full_file_is_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kv.log");
        let mut file = LogFile::new(path.clone());
        let text = "x".repeat(100 * 1024);
        for _ in 0..25 {
            assert_eq!(file.append(&lines(&text)), None);
        }
        let size = |path: PathBuf| fs::metadata(path).expect("there").len();
        assert!(size(path.with_extension("log.1")) >= FULL);
        assert!(size(path) < FULL);
    }

    #[test]
    fn trouble_is_said_once_and_so_is_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("later/kv.log");
        let mut file = LogFile::new(path.clone());
        let said = file.append(&lines("a")).expect("said");
        assert!(said.contains("kv.log: cannot be written: No such file"), "{said}");
        assert_eq!(file.append(&lines("b")), None);
        fs::create_dir(folder.path().join("later")).expect("made");
        assert!(file.append(&lines("c")).is_some_and(|said| said.ends_with("can be written again")));
        assert_eq!(fs::read_to_string(path).expect("there"), "1970-01-01T00:00:00.000Z c\n");
    }
}
