//! The cache folder: what was fetched once. What has its final name is whole and was checked; all that is under way lies
//! under `fetch/`, or ends in `.part`.
//!
//! | path | what |
//! | --- | --- |
//! | `models/<name>.gguf` | weights, checked |
//! | `engine/<wheel>/` | llama.cpp as a Python module, tried |
//! | `fetch/` | finished downloads that are not used up yet, and those under way |
//! | `lock` | held by whoever fetches |

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::signals::Signals;

/// The cache folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$LLMBASEDOS_CACHE`, else `llmbasedos` in the user's cache folder.
    pub(crate) fn find() -> Result<Self, Failure> {
        let stated = std::env::var_os("LLMBASEDOS_CACHE").filter(|path| !path.is_empty()).map(PathBuf::from);
        match stated.or_else(|| user_cache().map(|cache| cache.join("llmbasedos"))) {
            Some(root) => Ok(Self { root: std::path::absolute(&root).unwrap_or(root) }),
            None => Err(Failure::new(
                "there is no place for engine and weights",
                "neither LLMBASEDOS_CACHE nor HOME is set",
                "set LLMBASEDOS_CACHE=DIR",
            )),
        }
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A path in the cache.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Takes the lock for as long as the result lives, waiting for another that fetches.
    pub(crate) fn lock(&self, signals: &Signals, waiting: impl FnOnce()) -> Result<File, Failure> {
        make_folder(&self.root)?;
        let path = self.path("lock");
        let file = File::create(&path).map_err(|error| Failure::io("write", &path, &error))?;
        let mut waiting = Some(waiting);
        loop {
            if try_lock(&file, &path)? {
                return Ok(file);
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            signals.check()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Takes the lock of a file for as long as it is open; whether it was free.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool, Failure> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Failure::io("lock", path, &error)),
    }
}

/// `$XDG_CACHE_HOME` or `~/.cache`.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
}

/// Makes a folder and those above it, for their owner alone.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::io("make the folder", path, &error))
}

/// Gives what is finished its final name, for good: the name does not outlive a power cut unless what it names does.
pub(crate) fn publish(part: &Path, whole: &Path) -> Result<(), Failure> {
    let sync = |path: &Path| File::open(path).and_then(|opened| opened.sync_all());
    let published =
        sync(part).and_then(|()| fs::rename(part, whole)).and_then(|()| whole.parent().map_or(Ok(()), sync));
    published.map_err(|error| Failure::io("finish", whole, &error))
}

/// The SHA-256 of a file in lower-case hexadecimals.
pub(crate) fn sha256_of(path: &Path, signals: &Signals) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        signals.check()?;
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// Lower-case hexadecimals.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file is there and has exactly this size.
pub(crate) fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() == size)
}

/// Removes a folder that may not be there.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io("remove", path, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("abc");
        fs::write(&path, "abc").expect("written");
        let signals = Signals::watch().expect("signals");
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&path, &signals).as_deref(), Ok(expected));
        assert!(has_size(&path, 3) && !has_size(&path, 4) && !has_size(folder.path(), 3));
    }

    #[test]
    fn two_do_not_fetch_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path());
        let signals = Signals::watch().expect("signals");
        let first = cache.lock(&signals, || panic!("nobody else is there")).expect("free");
        let (waits, waiting) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let (cache, signals) = (cache.clone(), signals.clone());
            move || cache.lock(&signals, move || waits.send(()).expect("somebody listens")).map(|_| ())
        });
        waiting.recv().expect("the second one waits");
        drop(first);
        second.join().expect("no panic").expect("free again");
    }
}
