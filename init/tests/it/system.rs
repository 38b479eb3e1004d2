//! A small language for tests: a system with services of one's choice, started by the real `init`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes on a loaded machine; a test that meets it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A data folder, manifests and programs, with no init running yet.
pub(crate) struct Setup {
    folder: TempDir,
    arguments: Vec<String>,
    is_caged: bool,
}

impl Setup {
    /// Nothing but a gateway that gets ready and writes what it hears on its control channel.
    pub(crate) fn new() -> Self {
        // Not below the target folder, whose path may be too long for sockets.
        let folder = tempfile::Builder::new().prefix("init").tempdir().expect("a folder");
        let setup = Self { folder, arguments: Vec::new(), is_caged: false };
        for name in ["bin", "manifests"] {
            fs::create_dir(setup.path(name)).expect("made");
        }
        let own = PathBuf::from(env!("CARGO_BIN_EXE_init"));
        let fixture = own.parent().expect("a folder").join("examples/fixture");
        for name in ["fixture", "gateway"] {
            symlink(&fixture, setup.path("bin").join(name)).expect("linked");
        }
        symlink(own, setup.path("bin/init")).expect("linked");
        setup.gateway("ready control");
        setup
    }

    /// With all the cages that this machine gives.
    pub(crate) fn caged(mut self) -> Self {
        self.is_caged = true;
        self
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the gateway does: the fixture finds that beside its data folder.
    pub(crate) fn gateway(&self, words: &str) {
        fs::write(self.path("gateway.words"), words).expect("written");
    }

    /// A service of the system that does `words`, with `more` keys.
    pub(crate) fn service(self, name: &str, words: &str, more: &str) -> Self {
        fs::write(self.path("manifests").join(format!("{name}.toml")), manifest(name, words, more)).expect("written");
        self
    }

    /// A service that starts at boot and runs a shell script, which knows nothing of init.
    pub(crate) fn script(self, name: &str, script: &str, more: &str) -> Self {
        let more = format!("activation = \"boot\"\ntransport = \"none\"\n{more}");
        let exec = format!("exec = [\"/bin/sh\", \"-c\", {script:?}]");
        let text = manifest(name, "", &more).replace("exec = [\"fixture\"]", &exec);
        fs::write(self.path("manifests").join(format!("{name}.toml")), text).expect("written");
        self
    }

    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_init"));
        command.arg("--dev");
        command.arg("--data").arg(self.path("data"));
        command.arg("--manifests").arg(self.path("manifests"));
        command.arg("--bin").arg(self.path("bin"));
        // How services are kept running does not depend on cages; those have tests of their own.
        if !self.is_caged {
            command.args(["--without", "all"]);
        }
        if !self.arguments.iter().any(|argument| argument == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Starts init and waits until it is up.
    pub(crate) fn start(self) -> System {
        let mut command = self.command();
        self.start_with(&mut command)
    }

    pub(crate) fn start_with(self, command: &mut Command) -> System {
        let mut init = command.spawn().expect("init starts");
        let (sender, said) = channel();
        let stderr = BufReader::new(init.stderr.take().expect("piped"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let system = System { setup: self, init, said };
        system.until_said("up in ");
        system
    }
}

/// The manifest of a service that does `words`.
pub(crate) fn manifest(name: &str, words: &str, more: &str) -> String {
    let exec: Vec<&str> = std::iter::once("fixture").chain(words.split_ascii_whitespace()).collect();
    format!("name = {name:?}\nversion = \"1\"\ndescription = \"A test\"\nexec = {exec:?}\n{more}\n")
}

/// A system that runs. It is killed when a test drops it.
pub(crate) struct System {
    pub(crate) setup: Setup,
    init: Child,
    said: Receiver<String>,
}

impl System {
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.setup.path("data").join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.init.id()
    }

    /// Waits until init says a line with `text` in it, and answers the line.
    pub(crate) fn until_said(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("init never said {text:?}, but: {before:#?}"));
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.data("run/init.sock"))
    }

    /// The result of a call, or its error's message.
    pub(crate) fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.client().call(method, params)
    }

    pub(crate) fn info(&self, name: &str) -> Value {
        let services = self.call("services", json!({})).expect("services");
        let found = services.as_array().expect("a list").iter().find(|service| service["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {services:#}"))
    }

    pub(crate) fn pid_of(&self, name: &str) -> u32 {
        self.info(name)["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("it runs")
    }

    /// All that was and will be logged.
    pub(crate) fn log(&self) -> Follower {
        let mut client = self.client();
        client
            .send(&json!({"jsonrpc": "2.0", "id": 1, "method": "logs", "params": {"lines": 100_000, "follow": true}}));
        let before = client.receive()["result"].as_array().expect("lines").clone();
        Follower { client, before: before.into_iter() }
    }

    /// Says a line to an Arc's own socket and answers what comes back.
    pub(crate) fn ask(&self, arc: &str, line: &str) -> String {
        Self::say_to(&self.data(&format!("run/mcp/{arc}.sock")), line)
    }

    /// Says a line on the socket on which an Arc calls the gateway and answers what comes back.
    pub(crate) fn call_gateway_as(&self, arc: &str, line: &str) -> String {
        Self::say_to(&self.data(&format!("run/callers/{arc}.sock")), line)
    }

    fn say_to(socket: &Path, line: &str) -> String {
        let mut stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(format!("{line}\n").as_bytes()).expect("written");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer");
        answer.trim_end().to_owned()
    }

    /// Sends a signal to init.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        signal_to(self.pid(), signal);
    }

    /// Kills init itself.
    pub(crate) fn kill_and_wait(&mut self) {
        self.init.kill().expect("killed");
        self.init.wait().expect("waited");
    }

    /// Waits for the end of init.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.until_said("stopped");
        self.init.wait().expect("waited")
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if matches!(self.init.try_wait(), Ok(None)) {
            // An orderly end where a test did not ask for another, so that nothing is left behind.
            signal_to(self.init.id(), nix::sys::signal::Signal::SIGINT);
            signal_to(self.init.id(), nix::sys::signal::Signal::SIGINT);
            let _ = self.init.wait();
        }
    }
}

pub(crate) fn signal_to(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let _ = nix::sys::signal::kill(pid, signal);
}

/// A client of init's socket.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("init listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { reader: BufReader::new(stream.try_clone().expect("a copy")), stream }
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.stream.write_all(format!("{message}\n").as_bytes()).expect("sent");
    }

    pub(crate) fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a message");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.send(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}));
        let answer = self.receive();
        assert_eq!(answer["id"], 7, "{answer}");
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(answer["error"]["message"].as_str().expect("a message").to_owned()),
        }
    }
}

/// The log, line after line.
pub(crate) struct Follower {
    client: Client,
    before: std::vec::IntoIter<Value>,
}

impl Follower {
    /// The next line: the service and the text.
    pub(crate) fn next(&mut self) -> (String, String) {
        let line = self.before.next().unwrap_or_else(|| self.client.receive()["params"].take());
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        (text("service"), text("text"))
    }

    /// Waits for a line of `service` that holds `text`, and answers it.
    pub(crate) fn until(&mut self, service: &str, text: &str) -> String {
        loop {
            let (from, line) = self.next();
            if from == service && line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until the gateway is told of a state of `service`, and answers what it is told.
    pub(crate) fn until_state(&mut self, service: &str, state: &str) -> Value {
        loop {
            let (from, line) = self.next();
            let Some(heard) = line.strip_prefix("heard ").filter(|_| from == "gateway") else { continue };
            let message: Value = serde_json::from_str(heard).expect("a message");
            let params = &message["params"];
            if message["method"] == "service.state" && params["name"] == service && params["state"] == state {
                return params.clone();
            }
        }
    }
}

/// The processes that have `text` on their command line, dead ones not counted.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let matches = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).replace('\0', " ").contains(text)
    };
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(matches).collect()
}
