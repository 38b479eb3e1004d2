//! Fetching one package from the Python package index by pip, which checks it against its pinned SHA-256 before
//! anything in it is used.
//!
//! A download that is cut short is begun anew; a finished one is kept, under the name that pip gives it. Only wheels are
//! taken: pip runs nothing of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{Cache, has_size, make_folder, publish, remove_folder, sha256_of};
use crate::failure::{Advice, Failure};
use crate::process::Running;
use crate::signals::Signals;

/// The package index, as pip sees it.
#[derive(Debug)]
pub(crate) struct Index {
    /// The Python that has pip.
    pub(crate) python: PathBuf,
}

impl Default for Index {
    fn default() -> Self {
        Self { python: "python3".into() }
    }
}

/// A file in the package index.
#[derive(Debug)]
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// The file's name.
    pub(crate) file: &'static str,
    /// The file's size in bytes.
    pub(crate) bytes: u64,
    /// Its SHA-256.
    pub(crate) sha256: &'static str,
}

impl Package {
    /// Where it lies once it is fetched.
    fn place(&self, cache: &Cache) -> PathBuf {
        cache.path("fetch").join(self.file)
    }

    /// The finished download, if there is one.
    pub(crate) fn finished(&self, cache: &Cache) -> Option<PathBuf> {
        Some(self.place(cache)).filter(|path| has_size(path, self.bytes))
    }

    /// The finished download, fetched now if it is not there; `came` is told the bytes that have come so far.
    pub(crate) fn fetch(
        &self,
        index: &Index,
        cache: &Cache,
        signals: &Signals,
        came: impl FnMut(u64),
    ) -> Result<PathBuf, Failure> {
        if let Some(path) = self.finished(cache) {
            if sha256_of(&path, signals)? == self.sha256 {
                return Ok(path);
            }
            fs::remove_file(&path).map_err(|error| Failure::io("remove", &path, &error))?;
        }
        let under_way = cache.path("fetch/under-way");
        remove_folder(&under_way)?;
        let fetched = self.download(index, &under_way, signals, came).and_then(|file| self.keep(&file, cache, signals));
        remove_folder(&under_way)?;
        fetched
    }

    fn keep(&self, file: &Path, cache: &Cache, signals: &Signals) -> Result<PathBuf, Failure> {
        if sha256_of(file, signals)? != self.sha256 {
            return Err(self.wrong());
        }
        let place = self.place(cache);
        publish(file, &place)?;
        Ok(place)
    }

    fn download(
        &self,
        index: &Index,
        folder: &Path,
        signals: &Signals,
        mut came: impl FnMut(u64),
    ) -> Result<PathBuf, Failure> {
        let temporary = folder.join("tmp");
        make_folder(&temporary)?;
        let requirements = folder.join("requirements.txt");
        let Self { name, version, sha256, .. } = self;
        fs::write(&requirements, format!("{name}=={version} --hash=sha256:{sha256}\n"))
            .map_err(|error| Failure::io("write", &requirements, &error))?;
        let log = folder.join("pip.log");
        let output = File::create(&log).map_err(|error| Failure::io("write", &log, &error))?;
        let errors = output.try_clone().map_err(|error| Failure::io("write", &log, &error))?;
        let mut pip = Command::new(&index.python);
        pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir", "--progress-bar", "off"])
            .args(["--disable-pip-version-check", "--no-input", "--only-binary", name, "--requirement"])
            .arg(&requirements)
            .arg("--dest")
            .arg(folder.join("done"))
            .env("TMPDIR", &temporary)
            .stdout(output)
            .stderr(errors);
        let status = Running::start(&mut pip)?.wait(signals, || came(self.bytes_so_far(&temporary)))?;
        if status.success() {
            Ok(folder.join("done").join(self.file))
        } else {
            Err(self.explain(&fs::read_to_string(&log).unwrap_or_default()))
        }
    }

    /// What has come of the file: pip writes it to `<temporary>/pip-unpack-*/<file>`.
    fn bytes_so_far(&self, temporary: &Path) -> u64 {
        let folders = fs::read_dir(temporary).into_iter().flatten().flatten();
        let sizes =
            folders.filter_map(|folder| fs::metadata(folder.path().join(self.file)).ok()).map(|data| data.len());
        sizes.max().unwrap_or(0).min(self.bytes)
    }

    /// What pip's output means.
    fn explain(&self, log: &str) -> Failure {
        if log.contains("DO NOT MATCH THE HASHES") {
            return self.wrong();
        }
        let reason = log.lines().rev().find_map(|line| line.trim().strip_prefix("ERROR: "));
        let why = reason.or(log.lines().last()).unwrap_or("pip said nothing").trim();
        let advice = Advice::after(log, NO_NETWORK);
        Failure::new(format!("cannot fetch {} {} by pip", self.name, self.version), why, advice)
    }

    fn wrong(&self) -> Failure {
        let why = format!("its SHA-256 is not {}: it was changed, or damaged on the way", self.sha256);
        let advice =
            "nothing of it was used or kept; run this again, and if it stays so do not trust the mirror that pip uses";
        Failure::new(format!("{} was thrown away", self.file), why, advice)
    }
}

const NO_NETWORK: &str = "see that this machine reaches the package index that pip uses, then run this again (what is \
                          complete is kept), or use a model that is here:\n\
                          --model http://HOST:PORT, OLLAMA_HOST=HOST:PORT";

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: Package = Package { name: "p", version: "1", file: "p-1.whl", bytes: 3, sha256: "00" };

    #[test]
    fn pip_is_understood() {
        let network = "Collecting p\nERROR: Could not find a version that satisfies the requirement p\nERROR: No \
                       matching distribution found for p==1\n";
        let text = PACKAGE.explain(network).to_string();
        assert_eq!(text, "cannot fetch p 1 by pip: No matching distribution found for p==1");
        let text =
            PACKAGE.explain("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.").to_string();
        assert!(text.starts_with("p-1.whl was thrown away: its SHA-256 is not 00"), "{text}");
        let full = PACKAGE.explain("ERROR: Could not install packages: [Errno 28] No space left on device");
        assert!(matches!(full, Failure::Error { advice, .. } if advice == Advice::FreeSpace));
    }
}
