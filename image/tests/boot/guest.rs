//! Machines that run: what they say, what they answer, and what is done inside of them.
//!
//! Nobody can log in to a machine, so what a test does inside of one it does through a [`Hand`]: a process outside of every
//! cage (`saboteur.rs`) on the second serial line.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::{Machine, TOKEN, tool};

/// How long anything may take that a machine is waited for: emulated, it is slow.
const PATIENCE: Duration = Duration::from_secs(400);

/// What a machine says on its serial line.
#[derive(Default)]
pub(crate) struct Console {
    text: Arc<Mutex<String>>,
    has_ended: Arc<AtomicBool>,
}

impl Console {
    /// Reads it to its end, and shows it.
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let console = Self::default();
        let (text, has_ended) = (console.text.clone(), console.has_ended.clone());
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let said = String::from_utf8_lossy(&line).replace('\r', "");
                eprint!("| {said}");
                text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&said);
                line.clear();
            }
            has_ended.store(true, Ordering::Release);
        });
        console
    }

    /// What it has said so far.
    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said this; answers the line.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> String {
        until(&format!("the console says {words:?}"), || {
            let has_ended = self.has_ended.load(Ordering::Acquire);
            let text = self.text();
            assert!(!has_ended || text.contains(words), "the machine ended without {words:?}:\n{text}");
            // A line is whole once the next has begun.
            let (whole, _) = text.rsplit_once('\n')?;
            whole.lines().find(|line| line.contains(words)).map(str::to_owned)
        })
    }
}

/// What a call to the gateway at that port answers, or the words of its error.
pub(crate) fn call(port: u16, token: &str, patience: &str, words: &[&str]) -> Result<Value, String> {
    let mut luca = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_image")).with_file_name("luca-run"));
    luca.args(["--gateway", &format!("ws://127.0.0.1:{port}/ws"), "--json", "--timeout", patience]);
    luca.args(words).env("LLMBASEDOS_TOKEN", token).stdin(Stdio::null());
    let output = luca.output().expect("luca-run runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// A port that is free, and that no other test is given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}

/// A machine that runs; dropping it pulls its plug.
pub(crate) struct Guest<'m> {
    machine: &'m Machine,
    process: Child,
    console: Console,
    pub(crate) token: String,
}

/// The test's hand inside of a machine that was made [`Machine::with_hand`].
pub(crate) struct Hand(BufReader<UnixStream>);

impl Hand {
    /// Does what a line says (`saboteur.rs`); answers what came of it.
    #[track_caller]
    pub(crate) fn does(&mut self, line: &str) -> String {
        writeln!(self.0.get_mut(), "{line}").expect("sent");
        self.answer().unwrap_or_else(|| panic!("{line:?} is not answered"))
    }

    /// The next answer. The terminal echoes what it hears, in other lines.
    fn answer(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok().filter(|&count| count > 0)?;
            if let Some(answer) = line.strip_prefix("= ") {
                return Some(answer.trim_end().to_owned());
            }
        }
    }
}

impl<'m> Guest<'m> {
    /// Switches a machine on.
    pub(crate) fn start(machine: &'m Machine, qemu: &mut Command) -> Self {
        let mut process = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("QEMU runs");
        let console = Console::of(process.stdout.take().expect("piped"));
        Self { machine, process, console, token: TOKEN.to_owned() }
    }

    /// What its serial console has said so far.
    pub(crate) fn console(&self) -> String {
        self.console.text()
    }

    /// Waits until its console has said this; answers the line.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> String {
        self.console.says(words)
    }

    /// What a call answers, or the words of its error.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Value, String> {
        self.call_for("60s", words)
    }

    /// The same with another patience.
    pub(crate) fn call_for(&self, patience: &str, words: &[&str]) -> Result<Value, String> {
        call(self.machine.port, &self.token, patience, words)
    }

    /// The same, again and again until it is answered well.
    #[track_caller]
    pub(crate) fn call_until_answered(&self, words: &[&str]) -> Value {
        until(&format!("{words:?} is answered"), || self.call(words).map_err(|error| eprintln!("{error}")).ok())
    }

    /// What init says of a service.
    #[track_caller]
    pub(crate) fn service(&self, name: &str) -> Value {
        let all = self.call_until_answered(&["system.services"]);
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|service| service["name"] == name).unwrap_or_else(|| panic!("there is no service {name}"))
    }

    /// Waits until init says of a service what is expected.
    #[track_caller]
    pub(crate) fn service_comes_to(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{name} is as expected"), || Some(self.service(name)).filter(|service| is(service)))
    }

    /// Reaches into it.
    #[track_caller]
    pub(crate) fn hand(&self) -> Hand {
        until("the hand answers", || {
            let stream = UnixStream::connect(self.machine.hand()).expect("QEMU listens");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
            let mut hand = Hand(BufReader::new(stream));
            writeln!(hand.0.get_mut(), "\nzombies").expect("sent");
            hand.answer()?;
            hand.0.get_ref().set_read_timeout(Some(PATIENCE)).expect("set");
            Some(hand)
        })
    }

    /// What is answered to a bare request without a token.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.machine.port)).expect("forwarded");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// What a page answers through TLS, to a form where one is sent and with a token where there is one: status and text.
    pub(crate) fn page(&self, path: &str, form: Option<&Value>, token: Option<&str>) -> (String, String) {
        let url = format!("https://127.0.0.1:{}{path}", self.machine.secure);
        // Nobody vouches for a machine's own certificate.
        let mut words = vec!["-sk".to_owned(), "--max-time".to_owned(), "60".to_owned()];
        words.extend(form.into_iter().flat_map(|form| ["--json".to_owned(), form.to_string()]));
        words.extend(token.into_iter().flat_map(|token| ["-H".to_owned(), format!("Authorization: Bearer {token}")]));
        words.extend(["-w".to_owned(), "\n%{http_code}".to_owned(), url]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = String::from_utf8(tool("curl", &words).stdout).expect("text");
        let (text, status) = said.rsplit_once('\n').expect("a status");
        (status.to_owned(), text.to_owned())
    }

    /// Enters a set-up code; answers the status, and the token or the words of the error.
    pub(crate) fn claim(&self, code: &str) -> (String, String) {
        let (status, text) = self.page("/claim", Some(&json!({ "code": code })), None);
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let word = answer["token"].as_str().or(answer["error"].as_str()).expect("one of both");
        (status, word.to_owned())
    }

    /// Waits until QEMU has ended by itself: the machine was switched off, or (`-no-reboot`) restarted.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let begun = Instant::now();
        while self.process.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "the machine did not end:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Switches it off as its owner does, and waits for that.
    #[track_caller]
    pub(crate) fn power_off(mut self) {
        self.call(&["system.poweroff"]).expect("it is switched off");
        self.ends();
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Looks again and again until something is seen.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "it took too long until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
