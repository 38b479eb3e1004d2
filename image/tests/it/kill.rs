//! Every process is killed in the middle of a tick: the tick ends with a result or a clear error, the process comes
//! back, and the next call is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::workbench::{repository, scripts_run, two_free_ports};
use serde_json::{Value, json};

/// How long a tick may take here: the model is small, but a machine of CI may be busy.
const TICK_MAX: Duration = Duration::from_secs(600);

/// How long a killed process may take to be back.
const BACK_MAX: Duration = Duration::from_secs(60);

/// A running system, as `scripts/run` leaves it to a user who is in the shell.
struct System<'d> {
    data: &'d Path,
    port: u16,
    launcher: Child,
    /// What the user types; the shell ends with it.
    keyboard: Option<ChildStdin>,
}

impl<'d> System<'d> {
    fn start(data: &'d Path) -> Self {
        let port = two_free_ports();
        let mut launcher =
            scripts_run(data, port).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash runs");
        let keyboard = launcher.stdin.take();
        let output = BufReader::new(launcher.stderr.take().expect("piped"));
        let mut lines = output.lines().map_while(Result::ok).inspect(|line| eprintln!("{line}"));
        assert!(lines.any(|line| line.starts_with("next ")), "the shell was not reached");
        // What comes later is read to its end, so that nobody waits for a full pipe.
        std::thread::spawn(move || lines.count());
        Self { data, port, launcher, keyboard }
    }

    fn luca(&self, words: &[&str]) -> Command {
        let program: PathBuf = PathBuf::from(env!("CARGO_BIN_EXE_image")).with_file_name("luca-run");
        let mut command = Command::new(program);
        let socket = self.data.join("run/mcp/gateway.sock");
        command.arg("--gateway").arg(format!("unix:{}", socket.display())).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn call(&self, words: &[&str]) -> Result<Value, String> {
        let output = self.luca(words).output().expect("luca-run runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            return Err(text(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}", text(&output.stdout)))
    }

    /// What init says of a service; `None` while the gateway is away.
    fn service(&self, name: &str) -> Option<Value> {
        let all = self.call(&["--json", "system.services"]).ok()?;
        all.as_array()?.iter().find(|service| service["name"] == name).cloned()
    }

    /// What a browser is sent for a path of the sites' address.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port + 1)).expect("the sites are served");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port + 1);
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// Kills the process of a service, and says which it was.
    fn kill(&self, name: &str) -> u64 {
        let service = self.service(name);
        let pid =
            service.and_then(|service| service["pid"].as_u64()).unwrap_or_else(|| panic!("{name} has no process"));
        let killed = Command::new("/bin/kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
        assert!(killed.success(), "{name} was not there to be killed");
        pid
    }

    /// Waits until `name` runs in another process, or waits for its next call.
    fn wait_until_back(&self, name: &str, killed: u64) {
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

impl Drop for System<'_> {
    fn drop(&mut self) {
        self.keyboard = None;
        let _ = self.launcher.wait();
    }
}

/// A tick that was fired, at its first sign of life.
struct Tick {
    luca: Child,
    heard: BufReader<std::process::ChildStderr>,
    /// The stage that it was last heard in.
    stage: String,
}

impl Tick {
    fn fire(system: &System<'_>) -> Self {
        let mut luca = system.luca(&["mcp.awake.tick"]).spawn().expect("luca-run runs");
        let heard = BufReader::new(luca.stderr.take().expect("piped"));
        Self { luca, heard, stage: String::new() }
    }

    /// Reads its progress until it is in `stage`.
    fn wait_for(&mut self, stage: &str) {
        while !self.stage.contains(stage) {
            self.stage.clear();
            let length = self.heard.read_line(&mut self.stage).expect("text");
            assert!(length > 0, "the tick ended before it came to {stage:?}");
        }
    }

    /// Its end: the result, or the words of the error.
    fn end(mut self) -> Result<Value, String> {
        let deadline = Instant::now() + TICK_MAX;
        let mut words = String::new();
        let mut result = String::new();
        self.heard.read_to_string(&mut words).expect("text");
        self.luca.stdout.take().expect("piped").read_to_string(&mut result).expect("text");
        let status = self.luca.wait().expect("it ends");
        assert!(Instant::now() < deadline, "the tick took too long");
        if status.success() { Ok(serde_json::from_str(&result).expect("JSON")) } else { Err(words) }
    }
}

/// The Sentinel as it ships, but that it only plans its site: a tick passes through every process and is short.
fn planner() -> String {
    let shipped = std::fs::read_to_string(repository().join("quests/quick-money.toml")).expect("it ships");
    let planner = shipped.replace("n_articles = 1", "n_articles = 1\ndry = true");
    assert_ne!(planner, shipped);
    planner
}

/// Ticks, each with what is killed in it, and at which of its stages. Some go on without those, others end at once.
const TICKS: [&[(&str, &str)]; 4] = [
    &[("think", "llm_router"), ("think", "kv"), ("outline", "llama_server")],
    &[("outline", "seo_affiliate")],
    &[("think", "awake")],
    &[("think", "gateway")],
];

/// Starts the system on `data`, where a site lies already, and kills one process after the other.
pub(crate) fn every_process(data: &Path) {
    std::fs::write(data.join("quests/quick-money.toml"), planner()).expect("written");
    let system = System::start(data);
    system.call(&["kv.set", r#"{"key": "before", "value": 1}"#]).expect("kept");
    let published = std::fs::read_to_string(data.join("sites/crypto-beginner/index.html")).expect("a site is there");
    for deaths in TICKS {
        let mut tick = Tick::fire(&system);
        let mut killed = Vec::new();
        for (stage, name) in deaths {
            tick.wait_for(stage);
            killed.push((*name, system.kill(name)));
        }
        match tick.end() {
            Ok(result) => assert_eq!(result["details"]["ok"], json!(true), "{killed:?}: {result}"),
            Err(words) => {
                eprintln!("killed {killed:?}: {}", words.trim());
                assert!(words.contains("error: ") && !words.contains("panicked"), "{killed:?}: {words}");
            }
        }
        for (name, pid) in killed {
            system.wait_until_back(name, pid);
            let kept = system.call(&["kv.get", r#"{"key": "before"}"#]);
            assert_eq!(kept, Ok(json!(1)), "{name} killed, and then");
        }
    }
    let served = system.get("/crypto-beginner/");
    assert!(served.starts_with("HTTP/1.1 200") && served.ends_with(&published), "the site was harmed: {served}");
}
