//! `luca-shell` at a terminal, which `script` (bsdutils, on every Debian) provides.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::gateway::Gateway;

/// A shell at a terminal.
pub(crate) struct Screen {
    child: Child,
    keys: ChildStdin,
    pieces: Receiver<String>,
    shown: String,
}

impl Screen {
    pub(crate) fn start(home: &Path, gateway: &str) -> Self {
        // Without `exec` the shell in between would answer for the Ctrl-C.
        let program = format!("exec {} --gateway {gateway}", env!("CARGO_BIN_EXE_luca-shell"));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &program, "/dev/null"])
            .env_clear()
            .envs([("HOME", home.as_os_str()), ("TERM", "xterm".as_ref()), ("PATH", "/usr/bin:/bin".as_ref())])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is there");
        let keys = child.stdin.take().expect("piped");
        let mut out = child.stdout.take().expect("piped");
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

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("pressed");
    }

    /// Waits until `text` is shown, forgets all up to its end, and returns what stood before it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(position) = self.shown.find(text) {
                let before = self.shown[..position].to_owned();
                self.shown.drain(..position + text.len());
                return before;
            }
            match self.pieces.recv_timeout(Duration::from_secs(20)) {
                Ok(piece) => self.shown.push_str(&piece),
                Err(_) => panic!("{text:?} did not come; shown was {:?}", self.shown),
            }
        }
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            if Instant::now() > deadline {
                self.child.kill().expect("killed");
                panic!("the shell does not end; shown was {:?}", self.shown);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) const PROMPT: &str = "› ";

#[test]
fn ctrl_c_cancels_the_call_and_not_the_shell() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = Screen::start(home.path(), &gateway.address);
    screen.expect("cages: not on this kernel: the memory limit, the disk quota · system.cages says why");
    screen.expect(PROMPT);
    screen.press("test.slow\r");
    let call = gateway.wait_for_call("test.slow");
    screen.press("\u{3}");
    let cancelled = gateway.wait_for(|message| message["method"] == "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], call["id"]);
    screen.expect("cancelled");
    screen.expect(PROMPT);
    // At the prompt it clears the line.
    screen.press("half a li\u{3}");
    screen.expect(PROMPT);
    screen.press("kv.get hello\r");
    screen.expect("\"world\"");
    screen.expect(" ms");
    // Before the prompt the terminal would take the Ctrl-D for itself.
    screen.expect(PROMPT);
    screen.press("\u{4}");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn tab_completes_from_the_live_catalogue_and_the_history_outlives_the_shell() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = Screen::start(home.path(), &gateway.address);
    gateway.wait_for(|message| message["method"] == "tools/list");
    screen.expect(PROMPT);
    // One call with plain words is answered only when the catalogue is there.
    screen.press("kv.get hello\r");
    screen.expect("\"world\"");
    screen.press("kv.g\thello\r");
    gateway.wait_for_call("kv.get");
    assert_eq!(gateway.wait_for_call("kv.get")["params"]["arguments"]["key"], "hello");
    screen.expect("\"world\"");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
    let history = std::fs::read_to_string(home.path().join(".local/state/llmbasedos/history")).expect("kept");
    assert!(history.contains("kv.get hello"), "{history}");
    let mut screen = Screen::start(home.path(), &gateway.address);
    screen.expect(PROMPT);
    // Up, up: past `exit` to the call.
    screen.press("\u{1b}[A\u{1b}[A\r");
    screen.expect("\"world\"");
    screen.press("quit\r");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn a_models_text_is_shown_as_it_comes_and_once() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = Screen::start(home.path(), &gateway.address);
    screen.expect(PROMPT);
    screen.press("llm say hello\r");
    screen.expect("Hello there\r\n");
    assert!(!screen.expect("tiny · ").contains("Hello there"));
    screen.press("test.list\r");
    screen.expect("name  size");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn a_folder_is_deleted_only_after_a_yes() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = Screen::start(home.path(), &gateway.address);
    screen.expect(PROMPT);
    screen.press("rm -r /sites/old\r");
    screen.expect("delete /sites/old and all that is in it? [y/N] ");
    screen.press("\r");
    screen.expect("/sites/old was not deleted");
    screen.press("rm -r /sites/old\r");
    screen.expect("[y/N] ");
    screen.press("y\r");
    let deleted = gateway.wait_for(|message| message["method"] == "mcp.fs.delete");
    assert_eq!(deleted["params"], serde_json::json!(["/sites/old", true]));
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn without_a_system_the_shell_stays_and_says_what_to_do() {
    let home = tempfile::tempdir().expect("a folder");
    let path = crate::gateway::stale_socket(home.path());
    let mut screen = Screen::start(home.path(), &format!("unix:{}", path.display()));
    screen.expect("nobody answers at unix:");
    screen.expect("scripts/run");
    screen.expect(PROMPT);
    let gateway = Gateway::on(&home.path().join("other.sock"));
    screen.press(&format!("connect {}\r", gateway.address));
    screen.expect("connected to unix:");
    screen.press("kv.get hello\r");
    screen.expect("\"world\"");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
}
