//! The engine: llama.cpp with its server, as the project xllamacpp (MIT) builds it: a Python module in one wheel for each
//! processor.
//!
//! The wheel is checked, unpacked into the cache and tried. `llama_server.py` starts the server in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cache::{Cache, make_folder, publish, remove_folder};
use crate::failure::Failure;
use crate::fetch::{Index, Package};
use crate::process;
use crate::progress;
use crate::signals::Signals;
use crate::terminal::{Stage, Terminal};

macro_rules! wheel {
    ($arch:literal, $bytes:literal, $sha256:literal) => {
        Package {
            name: "xllamacpp",
            version: "2026.10.11549",
            file: concat!(
                "xllamacpp-2026.10.11549-cp310-abi3-manylinux2014_",
                $arch,
                ".manylinux_2_17_",
                $arch,
                ".whl"
            ),
            bytes: $bytes,
            sha256: $sha256,
        }
    };
}

/// The wheels, by the processor as Rust names it.
const WHEELS: &[(&str, Package)] = &[
    ("x86_64", wheel!("x86_64", 33_827_498, "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261")),
    ("aarch64", wheel!("aarch64", 32_870_844, "e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e")),
];

/// What the wheel for x86_64 asks of the processor (`get_system_info()`), as `/proc/cpuinfo` names it.
const X86_FLAGS: &[&str] = &["avx2", "bmi2", "f16c", "fma"];

/// The oldest Python that the wheels serve (`cp310` in their names).
const PYTHON_LEAST: (u32, u32) = (3, 10);

const KEPT_NOTHING: &str = "the model server was not complete yet; run this again to fetch it anew";
const OTHER_MODEL: &str = "use a model that is served: --model http://HOST:PORT, OLLAMA_HOST=HOST:PORT";

/// The engine for this machine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// The Python that runs it.
    pub(crate) python: PathBuf,
    /// The folder with its module.
    pub(crate) modules: PathBuf,
    wheel: &'static Package,
}

impl Engine {
    /// Sees whether there is one that fits; it may have to be fetched.
    pub(crate) fn find(cache: &Cache, signals: &Signals) -> Result<Self, Failure> {
        let wheel = wheel(std::env::consts::ARCH, &fs::read_to_string("/proc/cpuinfo").unwrap_or_default())?;
        Ok(Self::of(wheel, python(signals)?, cache))
    }

    /// The engine of a wheel.
    pub(crate) fn of(wheel: &'static Package, python: PathBuf, cache: &Cache) -> Self {
        Self { python, modules: cache.path("engine").join(wheel.file.trim_end_matches(".whl")), wheel }
    }

    /// Fetches it if it is not there.
    pub(crate) fn provide(&self, cache: &Cache, terminal: &Terminal, signals: &Signals) -> Result<(), Failure> {
        if self.modules.is_dir() {
            return Ok(());
        }
        let stage = terminal.stage("model server", "llama.cpp", "fetching");
        self.make(cache, &stage, signals).map_err(|failure| failure.keeping(KEPT_NOTHING))?;
        stage.finish("ready");
        Ok(())
    }

    fn make(&self, cache: &Cache, stage: &Stage, signals: &Signals) -> Result<(), Failure> {
        let _lock = cache.lock(signals, || stage.doing("waiting for another one that fetches it"))?;
        if self.modules.is_dir() {
            return Ok(());
        }
        let begun = Instant::now();
        let came = |bytes| stage.progress(&progress::of_bytes(0, bytes, self.wheel.bytes, begun.elapsed()));
        let archive = self.wheel.fetch(&Index::default(), cache, signals, came)?;
        stage.doing("unpacking");
        let part = Self { modules: self.modules.with_extension("part"), ..self.clone() };
        remove_folder(&part.modules)?;
        make_folder(&part.modules)?;
        unpack(&archive, &part.modules)?;
        part.attempt(signals)?;
        flush(&part.modules)?;
        publish(&part.modules, &self.modules)?;
        fs::remove_file(&archive).map_err(|error| Failure::io("remove", &archive, &error))
    }

    /// Loads the module once, which needs libraries of the machine.
    fn attempt(&self, signals: &Signals) -> Result<(), Failure> {
        let mut load = Command::new(&self.python);
        load.args(["-Bs", "-c", "import xllamacpp"]).env("PYTHONPATH", &self.modules);
        let loaded = process::ask(&mut load, signals)?.map(drop);
        loaded.map_err(|why| Failure::new("llama.cpp does not start here", why, OTHER_MODEL))
    }
}

/// The wheel for a processor.
fn wheel(arch: &str, cpuinfo: &str) -> Result<&'static Package, Failure> {
    let unfit = |why| Failure::new("no model can run on this processor", why, OTHER_MODEL);
    let known = WHEELS.iter().find(|(fits, _)| *fits == arch);
    let (_, wheel) = known.ok_or_else(|| unfit(format!("llama.cpp is not to be had for {arch}")))?;
    let has = |wanted: &&&str| {
        cpuinfo.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == **wanted))
    };
    match X86_FLAGS.iter().find(|flag| arch == "x86_64" && !has(flag)) {
        Some(flag) => Err(unfit(format!("llama.cpp was built for processors with {}", flag.to_uppercase()))),
        None => Ok(wheel),
    }
}

/// The Python behind `python3`, past wrappers such as pyenv's.
fn python(signals: &Signals) -> Result<PathBuf, Failure> {
    let mut command = Command::new("python3");
    command.args(["-c", "import sys; print(*sys.version_info[:2], sys.executable)"]);
    let told = process::ask(&mut command, signals)?.and_then(|told| fitting(&told));
    told.map_err(|why| Failure::new("there is no Python that can run llama.cpp", why, OTHER_MODEL))
}

/// The path in `3 11 /usr/bin/python3`, if that is new enough.
fn fitting(told: &str) -> Result<PathBuf, String> {
    let mut words = told.trim().splitn(3, ' ');
    let mut number = || words.next()?.parse::<u32>().ok();
    let (version, path) = (number().zip(number()), words.next());
    let (Some((major, minor)), Some(path)) = (version, path) else {
        return Err(format!("python3 says {told:?}"));
    };
    if (major, minor) < PYTHON_LEAST {
        let (least_major, least_minor) = PYTHON_LEAST;
        return Err(format!("{path} is Python {major}.{minor}, and {least_major}.{least_minor} is needed"));
    }
    Ok(path.into())
}

fn unpack(archive: &Path, folder: &Path) -> Result<(), Failure> {
    let file = File::open(archive).map_err(|error| Failure::io("read", archive, &error))?;
    let unpacked = zip::ZipArchive::new(file).and_then(|mut members| members.extract(folder));
    unpacked.map_err(|error| match error {
        zip::result::ZipError::Io(error) => Failure::io("write", folder, &error),
        other => {
            Failure::new(format!("cannot unpack {}", archive.display()), other, "remove the file and run this again")
        }
    })
}

/// Sees to it that what was unpacked outlives a power cut, before it gets its final name.
fn flush(folder: &Path) -> Result<(), Failure> {
    let synced = File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    synced.map_err(|error| Failure::io("write", folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_decides_which_wheel_it_is() {
        let flags = "processor\t: 0\nflags\t\t: fpu fma avx avx2 bmi2 f16c\n";
        let file = |arch, cpuinfo| wheel(arch, cpuinfo).map(|wheel| wheel.file).map_err(|failure| failure.to_string());
        let of = |arch| format!("xllamacpp-2026.10.11549-cp310-abi3-manylinux2014_{arch}.manylinux_2_17_{arch}.whl");
        assert_eq!(file("x86_64", flags), Ok(of("x86_64").as_str()));
        assert_eq!(file("aarch64", ""), Ok(of("aarch64").as_str()));
        let old = file("x86_64", "flags\t\t: fpu avx bmi1\n").expect_err("too old");
        assert_eq!(old, "no model can run on this processor: llama.cpp was built for processors with AVX2");
        assert!(file("riscv64", "").expect_err("unknown").ends_with("llama.cpp is not to be had for riscv64"));
    }

    #[test]
    fn an_old_python_is_named() {
        assert_eq!(fitting("3 11 /opt/a b/python3\n"), Ok("/opt/a b/python3".into()));
        assert_eq!(fitting("3 10 /usr/bin/python3\n"), Ok("/usr/bin/python3".into()));
        let old = fitting("3 9 /usr/bin/python3\n").expect_err("too old");
        assert_eq!(old, "/usr/bin/python3 is Python 3.9, and 3.10 is needed");
        assert!(fitting("ERROR").expect_err("no answer").contains("ERROR"));
    }
}
