//! The log file of one service: appended to, and moved aside when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A file of this size is moved aside, over the one that was moved aside before.
pub(super) const FULL: u64 = 1024 * 1024;

/// What a file that was moved aside has at the end of its name.
const ASIDE: &str = "log.1";

/// A log file. It is there once something was written.
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<File>,
    length: u64,
}

impl LogFile {
    /// The file at `path` as it is.
    pub(super) fn find(path: PathBuf) -> Self {
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, open: None, length }
    }

    /// The file at `path`, cut back to `length`: what lies behind that was not written to its end.
    pub(super) fn recover(path: PathBuf, length: u64) -> io::Result<Self> {
        let found = Self::find(path);
        if found.length <= length {
            return Ok(found);
        }
        OpenOptions::new().write(true).open(&found.path)?.set_len(length)?;
        Ok(Self { length, ..found })
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn is_full(&self) -> bool {
        self.length >= FULL
    }

    /// The file that was moved aside.
    pub(super) fn aside(&self) -> PathBuf {
        self.path.with_extension(ASIDE)
    }

    /// Moves it aside; the next one is empty.
    pub(super) fn move_aside(&mut self) -> io::Result<()> {
        fs::rename(&self.path, self.aside())?;
        self.open = None;
        self.length = 0;
        Ok(())
    }

    /// Appends all of `bytes` or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.open.take() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
                self.length = file.metadata()?.len();
                file
            }
        };
        if let Err(error) = file.write_all(bytes) {
            file.set_len(self.length)?;
            return Err(error);
        }
        self.open = Some(file);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_appended_to_cut_back_and_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kv.log");
        let mut file = LogFile::find(path.clone());
        assert_eq!(file.length(), 0);
        file.append(b"one\n").expect("written");
        fs::write(&path, "one\ntw").expect("half a line, of one that was killed");
        let mut file = LogFile::recover(path.clone(), 4).expect("recovered");
        file.append(b"two\n").expect("written");
        assert_eq!((fs::read_to_string(&path).expect("there").as_str(), file.length()), ("one\ntwo\n", 8));
        assert_eq!(LogFile::recover(path.clone(), 100).expect("shorter than it was").length(), 8);
        file.move_aside().expect("moved");
        file.append(b"three\n").expect("written");
        assert_eq!((fs::read_to_string(&path).expect("there").as_str(), file.length()), ("three\n", 6));
        assert_eq!(fs::read_to_string(folder.path().join("kv.log.1")).expect("there"), "one\ntwo\n");
    }

    #[test]
    fn a_full_disk_leaves_the_file_as_it_was() {
        let mut file = LogFile::find("/dev/full".into());
        let error = file.append(b"one\n").expect_err("nothing has room there");
        assert!(matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::InvalidInput), "{error}");
        assert_eq!(file.length(), 0);
    }
}
