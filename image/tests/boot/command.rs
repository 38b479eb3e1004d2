//! Machines that are built and booted by the command that a user types, and switched off by Ctrl-C.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guest::{Console, call, free_port, until};

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_raspberry_pi_comes_up_on_its_card_with_its_network() {
    let booted = Booted::start(&["--machine", "raspi3b"]);
    for words in ["(slot A, verified)", "aarch64 · 4 cores", " up · 0 failed", "usb0 10.0.2.15"] {
        booted.console.says(words);
    }
    booted.call("60s", &["kv.set", "greeting", "hello"]).expect("kept");
    assert_eq!(booted.call("60s", &["kv.get", "greeting"]), Ok(json!("hello")));
    let status = booted.call("60s", &["system.status"]).expect("answered");
    assert_eq!((&status["ready"], &status["slot"], &status["audit"]), (&json!(true), &json!("a"), &json!("ok")));
    booted.switch_off();
}

#[test]
#[ignore = "boots the image, and takes minutes: scripts/test e2e"]
fn a_machine_answers_with_the_real_model_that_it_carries() {
    let booted = Booted::start(&["--with-model"]);
    booted.console.says(" up · 0 failed");
    // The service is up before its weights are read.
    let ask = r#"{"messages": [{"role": "user", "content": "Hi"}], "options": {"max_tokens": 4}}"#;
    let answer = until("the model answers", || {
        booted.call("600s", &["llm.chat", ask]).map_err(|error| eprintln!("{error}")).ok()
    });
    let text = answer["choices"][0]["message"]["content"].as_str().expect("a text");
    assert!(!text.trim().is_empty(), "{answer}");
    assert_eq!((&answer["backend"], &answer["model"]), (&json!("local"), &json!("qwen2.5-coder-0.5b")), "{answer}");
    eprintln!("it says: {text}");
    booted.switch_off();
}

/// A machine that `image boot` runs, in a folder of its own; dropping it has it switched off.
struct Booted {
    process: Child,
    console: Console,
    folder: TempDir,
    port: u16,
}

impl Booted {
    /// Builds the image and boots it.
    fn start(options: &[&str]) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let mut image = Command::new(env!("CARGO_BIN_EXE_image"));
        image.args(["boot", "--listen", &format!("127.0.0.1:{port}"), "--output"]).arg(folder.path()).args(options);
        let mut process = image.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
        let console = Console::of(process.stdout.take().expect("piped"));
        Self { process, console, folder, port }
    }

    /// What a call answers, or the words of its error; with the token that the command has made.
    fn call(&self, patience: &str, words: &[&str]) -> Result<Value, String> {
        let token = fs::read_to_string(self.folder.path().join("token")).expect("made");
        call(self.port, token.trim(), patience, words)
    }

    /// Presses Ctrl-C.
    fn interrupt(&self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::INT).expect("it runs");
    }

    /// Presses Ctrl-C, and sees that the machine ends in order.
    #[track_caller]
    fn switch_off(mut self) {
        self.interrupt();
        self.console.says("reboot: Power down");
        assert_eq!(self.process.wait().expect("a child").code(), Some(130));
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.interrupt();
            let _ = self.process.wait();
        }
    }
}
