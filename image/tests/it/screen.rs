//! A program at a terminal, where a person is asked and answers.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::workbench::Workbench;

/// `image flash` at a terminal, which script(1) of every Debian provides.
pub(crate) struct Screen {
    child: Child,
    keys: ChildStdin,
    pieces: Receiver<String>,
    shown: String,
}

impl Screen {
    pub(crate) fn start(bench: &Workbench, arguments: &str) -> Self {
        let program = format!("exec {} flash {arguments}", env!("CARGO_BIN_EXE_image"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &program, "/dev/null"]);
        command.current_dir(bench.path("")).env("TERM", "xterm").env("SHELL", "/bin/sh").env_remove("NO_COLOR");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
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
        Self { child, keys, pieces, shown: String::new() }
    }

    /// Waits until a text is shown, and answers what stood before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            match self.pieces.recv_timeout(Duration::from_secs(60)) {
                Ok(piece) => self.shown.push_str(&piece),
                Err(_) => panic!("{text:?} did not come; shown was {:?}", self.shown),
            }
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("pressed");
    }

    pub(crate) fn code(mut self) -> Option<i32> {
        drop(self.keys);
        self.child.wait().expect("it ends").code()
    }
}
