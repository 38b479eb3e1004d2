//! The bound on all log files together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What all log files may take. What init runs by itself needs a quarter of it at the most.
const MOST: u64 = 64 * 1024 * 1024;

/// Deletes log files until those in `folder` fit: first what was moved aside, the oldest first, then the files of
/// services that are not there any more. Other files in the folder are not ours.
pub(super) fn make(folder: &Path, is_used: impl Fn(&Path) -> bool) -> io::Result<()> {
    make_within(MOST, folder, is_used)
}

fn make_within(most: u64, folder: &Path, is_used: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut total: u64 = 0;
    let mut candidates: Vec<(bool, SystemTime, u64, PathBuf)> = Vec::new();
    for entry in folder.read_dir()?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_aside = name.ends_with(".log.1");
        let Some(metadata) =
            entry.metadata().ok().filter(|data| data.is_file() && (is_aside || name.ends_with(".log")))
        else {
            continue;
        };
        total = total.saturating_add(metadata.len());
        if is_aside || !is_used(&path) {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            candidates.push((!is_aside, modified, metadata.len(), path));
        }
    }
    candidates.sort();
    for (_, _, length, path) in candidates {
        if total <= most {
            break;
        }
        fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_that_was_moved_aside_goes_first_and_what_is_used_or_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["gone.log", "kv.log", "kv.log.1", "files.log.1", "audit.jsonl"];
        for (name, age) in names.into_iter().zip([50, 40, 20, 30, 90]) {
            let file = File::create(folder.path().join(name)).expect("made");
            file.set_len(100).expect("sized");
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age);
            file.set_modified(modified).expect("dated");
        }
        let left = |most| {
            make_within(most, folder.path(), |path| path.ends_with("kv.log")).expect("made");
            names.into_iter().filter(|name| folder.path().join(name).exists()).collect::<Vec<_>>()
        };
        assert_eq!(left(400), names);
        assert_eq!(left(399), ["gone.log", "kv.log", "kv.log.1", "audit.jsonl"]);
        assert_eq!(left(200), ["gone.log", "kv.log", "audit.jsonl"]);
        assert_eq!(left(0), ["kv.log", "audit.jsonl"]);
    }
}
