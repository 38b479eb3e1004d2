//! The last lines of a log file, for a `logd` that has just started.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use spec::Name;
use spec::control::LogLine;

use super::file::LogFile;
use crate::sys::parse_date_and_time;

/// So many bytes of a service's files are read.
const LENGTH: u64 = 48 * 1024;

/// The last lines of `service`, oldest first; the last one has the number before `next`. What is not a line of ours is
/// left out.
pub(super) fn read(service: &Name, file: &LogFile, next: i64) -> Vec<LogLine> {
    let last = last_bytes(file.path(), LENGTH).unwrap_or_default();
    let missing = LENGTH.saturating_sub(last.len() as u64);
    let before = if missing == 0 { Vec::new() } else { last_bytes(&file.aside(), missing).unwrap_or_default() };
    let text = String::from_utf8_lossy(&[before, last].concat()).into_owned();
    let parts = text.lines().filter_map(|line| {
        let (time, text) = line.split_once(' ')?;
        Some((parse_date_and_time(time)?, text))
    });
    let mut lines: Vec<LogLine> = parts
        .map(|(time_ms, text)| LogLine { service: service.clone(), time_ms, text: text.to_owned(), number: 0 })
        .collect();
    lines.iter_mut().rev().zip(1..).for_each(|(line, back)| line.number = next - back);
    lines
}

fn last_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(most);
    let mut bytes = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    if from > 0 {
        // The first line is cut.
        let whole = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..whole);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sys::date_and_time;

    #[test]
    fn the_last_lines_are_found_in_both_files_and_what_is_no_line_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kv.log");
        let line = |number: u64| format!("{} line {number} {}\n", date_and_time(number), "x".repeat(1000));
        let lines = |from, to| (from..to).map(line).collect::<String>();
        fs::write(path.with_extension("log.1"), lines(0, 100)).expect("written");
        fs::write(&path, format!("{}rubbish\n\n", lines(100, 110))).expect("written");
        let name = "kv".parse().expect("a name");
        let found = read(&name, &LogFile::find(path), 5);
        let numbers: Vec<u64> = found.iter().map(|line| line.time_ms).collect();
        let first = numbers[0];
        assert!((62..68).contains(&first), "{first}");
        assert_eq!(numbers, (first..110).collect::<Vec<_>>());
        assert!(found.iter().all(|line| line.text.starts_with(&format!("line {} x", line.time_ms))));
        assert_eq!(found.iter().map(|line| line.number).next_back(), Some(4));
        assert_eq!(read(&name, &LogFile::find(folder.path().join("none.log")), 0), []);
    }
}
