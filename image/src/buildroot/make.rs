//! Buildroot's `make`, run with all that it says in a file, and watched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::sources::Package;
use super::tree::Tree;
use super::{Places, options::BuildrootOptions};
use crate::failure::{Failure, plain};
use crate::process::Running;
use crate::progress::span;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// How many lines of the log are shown where the build fails.
const LAST_LINES: usize = 15;
/// How often the log is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Parts of the time that packages take, where one takes more than most: of an x86_64 build that was watched.
const WEIGHTS: [(&str, u32); 6] =
    [("linux", 60), ("libopenssl", 10), ("llmbasedos", 25), ("host-python3", 15), ("grub2", 6), ("util-linux", 4)];

/// How it is run.
#[derive(Debug)]
pub(super) struct Make<'a> {
    pub(super) tree: &'a Tree,
    pub(super) places: &'a Places,
    pub(super) options: &'a BuildrootOptions,
    /// The model that is there at the first start.
    pub(super) starter: Option<PathBuf>,
    /// The rustc that our programs are compiled with, if it is not the one that cargo takes by itself.
    pub(super) compiler: Option<PathBuf>,
    pub(super) signals: &'a Signals,
}

impl Make<'_> {
    /// Has Buildroot configured by a file.
    pub(super) fn configure(&self, defconfig: &Path) -> Result<(), Failure> {
        let mut make = self.command();
        make.arg(format!("BR2_DEFCONFIG={}", defconfig.display())).arg("defconfig");
        self.logged(make, "Buildroot cannot be configured")
    }

    /// Has Buildroot do what it calls so, which takes no time.
    pub(super) fn target(&self, name: &str) -> Result<(), Failure> {
        let mut make = self.command();
        make.arg(name);
        self.logged(make, &format!("make {name} failed"))
    }

    fn logged(&self, mut make: Command, what: &str) -> Result<(), Failure> {
        let log = self.places.log();
        let (output, complaints) = both(&log)?;
        let status = Running::start(make.stdout(output).stderr(complaints))?.wait(self.signals, || {})?;
        let advice = format!("all of it is in {}", log.display());
        if status.success() { Ok(()) } else { Err(Failure::new(what, last_lines(&log), advice)) }
    }

    /// The packages of the build, as Buildroot tells of them: more than a pipe holds.
    pub(super) fn packages(&self) -> Result<Vec<Package>, Failure> {
        let told = self.places.output.join("show-info.json");
        let output = File::create(&told).map_err(|error| Failure::io("write", &told, &error))?;
        let mut make = self.command();
        make.args(["--silent", "show-info"]).stdout(output).stderr(Stdio::inherit());
        let status = Running::start(&mut make)?.wait(self.signals, || {})?;
        let failed = |why: String| Failure::new("Buildroot does not tell its packages", why, "see above");
        if !status.success() {
            return Err(failed(status.to_string()));
        }
        let text = fs::read_to_string(&told).map_err(|error| Failure::io("read", &told, &error))?;
        Package::of_info(&text).map_err(|error| failed(error.to_string()))
    }

    /// Builds.
    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let packages = self.packages()?;
        let log = self.places.log();
        let (output, complaints) = both(&log)?;
        let mut make = self.command();
        make.stdout(output).stderr(complaints);
        let stage = terminal.stage("buildroot", &format!("{} packages", packages.len()), "begins");
        let mut watch = Watch::new(&log, &self.places.output.join("build"), packages);
        let mut running = Running::start(&mut make)?;
        let status = running.wait(self.signals, || {
            if let Some(how_far) = watch.look() {
                stage.progress(&how_far);
            }
        });
        let status = status.map_err(|stopped| stopped.keeping("what was built is kept; run this again to go on"))?;
        if status.success() {
            stage.finish(&format!("built in {}", span(watch.begun.elapsed().as_secs().into())));
            return Ok(());
        }
        // What it began since the last look is what failed.
        watch.read_log();
        let what = format!("{} could not be built", watch.current.as_deref().unwrap_or("the image"));
        Err(Failure::new(what, last_lines(&log), format!("all of it is in {}", log.display())))
    }

    fn command(&self) -> Command {
        let mut make = Command::new("make");
        make.arg("-C").arg(self.tree.folder());
        make.arg(format!("O={}", self.places.output.display()));
        make.arg(format!("BR2_EXTERNAL={}", self.places.external.display()));
        make.arg(format!("BR2_DL_DIR={}", self.places.downloads.display()));
        if let Some(jobs) = self.options.jobs {
            make.arg(format!("BR2_JLEVEL={jobs}"));
        }
        // Its hooks call this program again.
        if let Ok(here) = std::env::current_exe() {
            make.env("LLMBASEDOS_IMAGE", here);
        }
        if let Some(compiler) = &self.compiler {
            make.env("RUSTC", compiler);
        }
        if let Some(model) = &self.starter {
            make.env("LLMBASEDOS_STARTER_MODEL", model);
        }
        if rustix::process::getuid().is_root() {
            // Some of GNU's programs refuse to be configured by root otherwise (Buildroot manual, "FAQ").
            make.env("FORCE_UNSAFE_CONFIGURE", "1");
        }
        make
    }
}

/// A new log, for what a program says and for what it complains of.
fn both(log: &Path) -> Result<(File, File), Failure> {
    let opened = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
    opened.map_err(|error| Failure::io("write", log, &error))
}

/// How far a build is, from its log and from the marks that Buildroot leaves.
#[derive(Debug)]
struct Watch {
    log: PathBuf,
    read: u64,
    build: PathBuf,
    packages: Vec<Package>,
    /// The package and the step that the log told of last.
    current: Option<String>,
    begun: Instant,
    looked: Option<Instant>,
    /// What was built before this began, in parts of the time.
    had: u32,
}

impl Watch {
    fn new(log: &Path, build: &Path, packages: Vec<Package>) -> Self {
        let mut watch = Self {
            log: log.to_owned(),
            read: 0,
            build: build.to_owned(),
            packages,
            current: None,
            begun: Instant::now(),
            looked: None,
            had: 0,
        };
        watch.had = watch.done().iter().map(|name| weight(name)).sum();
        watch
    }

    /// How far it is, once in a while.
    fn look(&mut self) -> Option<String> {
        if self.looked.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        self.read_log();
        let done = self.done();
        let parts = |names: &BTreeSet<&str>| names.iter().map(|name| weight(name)).sum::<u32>();
        let all: u32 = self.packages.iter().map(|package| weight(&package.name)).sum();
        let left = left(parts(&done).saturating_sub(self.had), all.saturating_sub(parts(&done)), self.begun.elapsed());
        let current = self.current.as_deref().unwrap_or("begins");
        Some(format!("{} done · {current}{left}", done.len()))
    }

    fn read_log(&mut self) {
        let Ok(mut file) = File::open(&self.log) else { return };
        let mut text = Vec::new();
        let read = file.seek(SeekFrom::Start(self.read)).and_then(|_| file.read_to_end(&mut text));
        self.read += u64::try_from(read.unwrap_or_default()).unwrap_or_default();
        if let Some(step) = String::from_utf8_lossy(&text).lines().rev().find_map(step) {
            self.current = Some(step);
        }
    }

    /// The packages that are built and installed.
    fn done(&self) -> BTreeSet<&str> {
        let is_done = |package: &&Package| {
            package.folder().is_some_and(|folder| self.build.join(folder).join(".stamp_installed").exists())
        };
        self.packages.iter().filter(is_done).map(|package| package.name.as_str()).collect()
    }
}

/// `linux · Building` of the line by which Buildroot begins a step, in reverse colours.
fn step(line: &str) -> Option<String> {
    let (_, words) = line.split_once(">>> ")?;
    let words = words.split('\u{1b}').next().unwrap_or(words);
    let (name, rest) = words.split_once(' ')?;
    let step = rest.trim_start().split_once(' ').map_or(rest, |(_, step)| step);
    Some(format!("{name} · {}", step.trim().to_lowercase()))
}

fn weight(name: &str) -> u32 {
    WEIGHTS.iter().find(|(known, _)| *known == name).map_or(1, |(_, weight)| *weight)
}

/// The time that is left if what is to be done goes as what was done; nothing while that says little.
fn left(done: u32, to_do: u32, elapsed: Duration) -> String {
    if done < 5 || to_do == 0 {
        return String::new();
    }
    let seconds = u128::from(to_do) * elapsed.as_millis() / u128::from(done) / 1000;
    format!(" · about {} left", span(seconds))
}

fn last_lines(log: &Path) -> String {
    let text = match fs::read(log) {
        Ok(text) => text,
        Err(error) => return plain(&error),
    };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_from_its_line() {
        let line = "\u{1b}[7m>>> linux 6.18.40 Installing to images directory\u{1b}[27m";
        assert_eq!(step(line).as_deref(), Some("linux · installing to images directory"));
        assert_eq!(step("\u{1b}[7m>>> toolchain  Building\u{1b}[27m").as_deref(), Some("toolchain · building"));
        assert_eq!(step("  CC      init/main.o"), None);
    }

    #[test]
    fn time_left_is_said_once_it_can_be_guessed() {
        assert_eq!(left(2, 60, Duration::from_secs(100)), "");
        assert_eq!(left(10, 60, Duration::from_secs(100)), " · about 10 min left");
        assert_eq!(left(70, 0, Duration::from_secs(700)), "");
    }

    #[test]
    fn what_is_installed_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let build = folder.path().join("build");
        fs::create_dir_all(build.join("zlib-1.3")).expect("made");
        let packages = Package::of_info(
            r#"{"zlib": {"stamp_dir": "build/zlib-1.3"}, "linux": {"stamp_dir": "build/linux-6"}, "openssl": {}}"#,
        );
        let log = folder.path().join("log");
        let mut watch = Watch::new(&log, &build, packages.expect("sound"));
        fs::write(&log, "\u{1b}[7m>>> linux 6 Building\u{1b}[27m\n  CC init.o\n").expect("written");
        assert_eq!(watch.look().as_deref(), Some("0 done · linux · building"));
        fs::write(&log, "\u{1b}[7m>>> linux 6 Building\u{1b}[27m\n  CC init.o\n>>> zlib 1 Configuring\n")
            .expect("written");
        assert_eq!(watch.look(), None, "too soon");
        watch.read_log();
        assert_eq!(watch.current.as_deref(), Some("zlib · configuring"));
        fs::write(build.join("zlib-1.3/.stamp_installed"), "").expect("written");
        assert_eq!(watch.done(), BTreeSet::from(["zlib"]));
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        fs::write(&log, (0..100).map(|number| format!("line {number}\n")).collect::<String>()).expect("written");
        let shown = last_lines(&log);
        assert_eq!((shown.lines().next(), shown.lines().count()), (Some("line 85"), LAST_LINES));
    }
}
