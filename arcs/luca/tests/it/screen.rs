//! A program at a terminal, where a person is asked and answers. The tests of `image` include this file as well.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A terminal, which script(1) (bsdutils, on every Debian) provides.
pub(crate) struct Screen {
    child: Child,
    keys: ChildStdin,
    pieces: Receiver<String>,
    shown: String,
    /// How long anything may take that is waited for.
    patience: Duration,
}

impl Screen {
    /// Runs a program with its arguments by `script`, which has the surroundings that it shall have.
    pub(crate) fn run(mut script: Command, program: &str, patience: Duration) -> Self {
        // Without `exec` the shell in between would answer for the Ctrl-C.
        let program = format!("exec {program}");
        script.args(["--quiet", "--return", "--flush", "--command", &program, "/dev/null"]).env("SHELL", "/bin/sh");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
        let (keys, mut out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut buffer) {
                if sender.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, pieces, shown: String::new(), patience }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("pressed");
    }

    /// Waits until `text` is shown, forgets all up to its end, and returns what stood before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(position) = self.shown.find(text) {
                let before = self.shown[..position].to_owned();
                self.shown.drain(..position + text.len());
                return before;
            }
            match self.pieces.recv_timeout(self.patience) {
                Ok(piece) => self.shown.push_str(&piece),
                Err(_) => panic!("{text:?} did not come; shown was {:?}", self.shown),
            }
        }
    }

    #[track_caller]
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            if Instant::now() > deadline {
                self.child.kill().expect("killed");
                panic!("the program does not end; shown was {:?}", self.shown);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
