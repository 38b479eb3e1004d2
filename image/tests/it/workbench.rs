//! What the tests here work with: the checkout, a home of their own, programs that stand in for pip, the real binary.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long it may take until something is seen.
const SEEN_MAX: Duration = Duration::from_secs(60);

/// The checkout.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("image/ lies in the checkout").to_owned()
}

/// A port that is free together with the one above it.
pub(crate) fn two_free_ports() -> u16 {
    let free = |port| TcpListener::bind(("127.0.0.1", port));
    (0..100)
        .filter_map(|_| free(0).and_then(|listener| listener.local_addr()).ok().map(|address| address.port()))
        .find(|&port| port < u16::MAX && free(port).is_ok() && free(port + 1).is_ok())
        .expect("there are free ports")
}

/// `scripts/run` on a data folder and a port, with the environment of a user: what `cargo test` adds to it would make
/// cargo build some libraries anew.
pub(crate) fn scripts_run(data: &Path, port: u16) -> Command {
    let mut command = Command::new("bash");
    let kept = ["CARGO_HOME", "CARGO_TARGET_DIR"];
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO") && !kept.contains(&name.as_str())) {
        command.env_remove(name);
    }
    command.arg(repository().join("scripts/run"));
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(data);
    command
}

/// A home folder with nothing of the developer's in it, and a `PATH` that may be put before the real one.
pub(crate) struct Workbench {
    folder: TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workbench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("bin")).expect("made");
        Self { folder }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Puts a shell script before the real program of that name.
    pub(crate) fn stand_in(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    }

    /// Puts a shell script in the place of pip, behind a Python that is new enough.
    pub(crate) fn pip(&self, script: &str) {
        self.stand_in("python3", &format!("[ \"$1\" != -c ] || exec echo 3 11 /usr/bin/python3\n{script}"));
    }

    /// `image dev` on a data folder of its own, with no Ollama and an empty cache.
    pub(crate) fn dev(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image"));
        let search = std::env::var("PATH").expect("a PATH");
        command
            .arg("dev")
            .args(["--data".as_ref(), self.path("data").as_os_str()])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{search}", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("LLMBASEDOS_CACHE", self.path("cache"))
            .env("XDG_CACHE_HOME", self.path("home/.cache"))
            .env("OLLAMA_HOST", "127.0.0.1:1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `image dev` to its end.
    pub(crate) fn run_dev(&self, arguments: &[&str]) -> Ended {
        run(self.dev(arguments))
    }
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> Ended {
    Ended::from(command.output().expect("it runs"))
}

/// Looks again and again until something is seen.
#[track_caller]
pub(crate) fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < SEEN_MAX, "it was not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for a program's end.
pub(crate) fn finish(child: Child) -> Ended {
    Ended::from(child.wait_with_output().expect("it ends"))
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ended {
    /// Fails the test unless the command ended with this code, saying what it said.
    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "standard error:\n{}\nstandard output:\n{}", self.stderr, self.stdout);
        self
    }

    /// Fails the test unless the error stream holds all of this.
    #[track_caller]
    pub(crate) fn expect_words(&self, words: &[&str]) -> &Self {
        for part in words {
            assert!(self.stderr.contains(part), "no {part:?} in:\n{}", self.stderr);
        }
        self
    }
}
