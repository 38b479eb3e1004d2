//! Runs the real binaries in surroundings of their own.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A program under test.
pub(crate) struct Program {
    command: Command,
    input: Option<String>,
    is_silent: bool,
}

/// What it left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    /// `luca-run` with these arguments, in `home`, which is also the current folder.
    pub(crate) fn run(home: &Path, arguments: &[&str]) -> Self {
        Self::new(env!("CARGO_BIN_EXE_luca-run"), home, arguments)
    }

    /// `luca-shell` with these lines on its standard input.
    pub(crate) fn shell(home: &Path, gateway: &str, lines: &str) -> Self {
        Self::new(env!("CARGO_BIN_EXE_luca-shell"), home, &["--gateway", gateway]).input(lines)
    }

    fn new(binary: &str, home: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(home).env_clear().env("HOME", home);
        Self { command, input: None, is_silent: false }
    }

    pub(crate) fn gateway(mut self, address: &str) -> Self {
        self.command.env("LLMBASEDOS_GATEWAY", address);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Its standard input stays open, and nothing ever comes.
    pub(crate) fn silent(mut self) -> Self {
        self.is_silent = true;
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let stdin = if self.input.is_some() || self.is_silent { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("started");
        if self.is_silent {
            return Running { silence: child.stdin.take(), child };
        }
        if let (Some(text), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // A program that gives up at once does not stay to read.
            match stdin.write_all(text.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("not written: {error}"),
                _ => {}
            }
        }
        Running { child, silence: None }
    }

    pub(crate) fn end(self) -> Ended {
        self.start().end()
    }
}

/// A program that has been started.
pub(crate) struct Running {
    child: Child,
    silence: Option<ChildStdin>,
}

impl Running {
    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("sent");
    }

    pub(crate) fn end(self) -> Ended {
        let Self { child, silence } = self;
        let Output { status, stdout, stderr } = child.wait_with_output().expect("ended");
        drop(silence);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: status.code().expect("not killed"), out: text(stdout), err: text(stderr) }
    }
}

impl Ended {
    /// Nothing in it that a terminal would obey.
    pub(crate) fn assert_harmless(&self) {
        for c in self.out.chars().chain(self.err.chars()) {
            let is_obeyed = (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!is_obeyed, "{c:?} in {self:?}");
        }
    }
}
