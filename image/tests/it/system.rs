//! A running system, and what a user can do with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a killed process may take to be back.
const BACK_MAX: Duration = Duration::from_secs(60);

/// A running system with a user who is in the shell, until dropped.
pub(crate) struct System {
    port: u16,
    launcher: Child,
    /// What the user types; the shell ends with it.
    keyboard: Option<ChildStdin>,
    /// What it says, line by line.
    said: Receiver<String>,
}

impl System {
    /// Starts it by `command`, which listens on `port`.
    pub(crate) fn launch(mut command: Command, port: u16) -> Self {
        let mut launcher = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let keyboard = launcher.stdin.take();
        let output = BufReader::new(launcher.stderr.take().expect("piped"));
        let (sender, said) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { port, launcher, keyboard, said }
    }

    /// The same, and waits for the shell.
    pub(crate) fn start(command: Command, port: u16) -> Self {
        let system = Self::launch(command, port);
        system.comes_to("next ");
        system
    }

    /// Waits until it says a line that begins with `words`.
    pub(crate) fn comes_to(&self, words: &str) {
        let mut lines = self.said.iter().inspect(|line| eprintln!("{line}"));
        assert!(lines.any(|line| line.starts_with(words)), "it never said {words:?}");
    }

    /// `luca-run` with these words.
    pub(crate) fn luca(&self, words: &[&str]) -> Command {
        let program: PathBuf = PathBuf::from(env!("CARGO_BIN_EXE_image")).with_file_name("luca-run");
        let mut command = Command::new(program);
        command.arg("--gateway").arg(format!("ws://127.0.0.1:{}/ws", self.port)).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a call answers, or the words of its error.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Value, String> {
        answer(self.luca(words).output().expect("luca-run runs"))
    }

    /// The same with arguments of any length, which come on standard input.
    pub(crate) fn call_with(&self, tool: &str, arguments: &Value) -> Result<Value, String> {
        let mut luca = self.luca(&[tool]).stdin(Stdio::piped()).spawn().expect("luca-run runs");
        let mut input = luca.stdin.take().expect("piped");
        input.write_all(arguments.to_string().as_bytes()).expect("read");
        drop(input);
        answer(luca.wait_with_output().expect("it ends"))
    }

    /// What init says of a service; `None` while the gateway is away.
    fn service(&self, name: &str) -> Option<Value> {
        let all = self.call(&["--json", "system.services"]).ok()?;
        all.as_array()?.iter().find(|service| service["name"] == name).cloned()
    }

    /// What a browser is sent for a path of the sites' address.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port + 1)).expect("the sites are served");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port + 1);
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// Kills the process of a service, which may be about to start, and says which it was.
    pub(crate) fn kill(&self, name: &str) -> u64 {
        let begun = Instant::now();
        let pid = loop {
            if let Some(pid) = self.service(name).and_then(|service| service["pid"].as_u64()) {
                break pid;
            }
            assert!(begun.elapsed() < BACK_MAX, "{name} has no process");
            std::thread::sleep(Duration::from_millis(20));
        };
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(process, Signal::KILL)
            .unwrap_or_else(|error| panic!("{name} was not there to be killed: {error}"));
        pid
    }

    /// Waits until `name` runs in another process, or waits for its next call.
    pub(crate) fn wait_until_back(&self, name: &str, killed: u64) {
        let deadline = Instant::now() + BACK_MAX;
        loop {
            let service = self.service(name).unwrap_or_default();
            let state = service["state"].as_str().unwrap_or_default().to_owned();
            if state == "listening" || (state == "running" && service["pid"] != killed) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} is not back: {service}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn answer(output: Output) -> Result<Value, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(text(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}", text(&output.stdout)))
}

impl Drop for System {
    fn drop(&mut self) {
        self.keyboard = None;
        let _ = self.launcher.wait();
    }
}
