//! A running gateway, and the test in the place of init.

use std::collections::BTreeMap;
use std::io::{IoSlice, Write as _};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::fake_arc::FakeArc;

/// Nothing in these tests takes nearly as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// A gateway, with this test as its init.
pub(crate) struct System {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Its door for TLS, where it listens for other machines.
    pub(crate) secure: Option<SocketAddr>,
    /// What the gateway asked init for, beside the first `services`.
    pub(crate) asked: mpsc::UnboundedReceiver<Value>,
    control: Arc<UnixStream>,
    services: Arc<Mutex<Vec<Value>>>,
    answers: Answers,
    gateway: Child,
}

/// What init answers to a method where that is not what it always does: a message without its id.
type Answers = Arc<Mutex<BTreeMap<String, Value>>>;

impl System {
    /// A gateway that knows `arcs` when it is ready.
    pub(crate) async fn start(arcs: &[&FakeArc]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), arcs).await
    }

    /// The same, with the data of a gateway before it.
    pub(crate) async fn start_in(folder: TempDir, arcs: &[&FakeArc]) -> Self {
        Self::start_with(folder, "127.0.0.1:0", None, arcs).await
    }

    /// The same, listening where other machines reach it, with the settings that init would make for it.
    pub(crate) async fn start_open(settings: Option<&str>, arcs: &[&FakeArc]) -> Self {
        Self::start_open_in(tempfile::tempdir().expect("a folder"), settings, arcs).await
    }

    /// The same, with the data of a gateway before it.
    pub(crate) async fn start_open_in(folder: TempDir, settings: Option<&str>, arcs: &[&FakeArc]) -> Self {
        Self::start_with(folder, "0.0.0.0:0", settings, arcs).await
    }

    async fn start_with(folder: TempDir, listen: &str, settings: Option<&str>, arcs: &[&FakeArc]) -> Self {
        // Its own folder, as init makes it.
        std::fs::create_dir_all(folder.path().join("arcs/gateway")).expect("made");
        let owner = owner_socket(folder.path());
        let _ = std::fs::remove_file(&owner);
        let owner = UnixListener::bind(owner).expect("a socket");
        let websocket = TcpListener::bind(listen).expect("a port");
        let address = websocket.local_addr().expect("an address");
        let (control, theirs) = UnixStream::pair().expect("a pair");
        let notify_path = folder.path().join("notify");
        let _ = std::fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).expect("a socket");
        let control = Arc::new(control);
        for arc in arcs {
            send_added(&control, arc);
        }
        let https = (!address.ip().is_loopback()).then(|| TcpListener::bind(listen).expect("a port"));
        let secure = https.as_ref().map(|https| https.local_addr().expect("an address"));
        let mut descriptors = vec![owner.into(), websocket.into(), theirs.into()];
        descriptors.extend(https.map(OwnedFd::from));
        let gateway = spawn(folder.path(), &notify_path, settings, &descriptors);
        drop(descriptors);
        let answers = Answers::default();
        let services = Arc::new(Mutex::new(Vec::new()));
        let (sender, asked) = mpsc::unbounded_channel();
        tokio::spawn(answer_as_init(Arc::clone(&control), Arc::clone(&services), Arc::clone(&answers), sender));
        let mut buffer = [0; 64];
        let length = soon("READY=1", notify.recv(&mut buffer)).await.expect("a datagram");
        assert_eq!(&buffer[..length], b"READY=1");
        Self { folder, address, secure, asked, control, services, answers, gateway }
    }

    /// From now on init answers this to that method: `{"result": …}` or `{"error": …}`.
    pub(crate) fn init_answers(&self, method: &str, answer: Value) {
        self.answers.lock().expect("sound").insert(method.to_owned(), answer);
    }

    /// The next that init is asked for by that method, its params; what it is asked before that is passed over.
    pub(crate) async fn is_asked(&mut self, method: &str) -> Value {
        loop {
            let asked = soon(method, self.asked.recv()).await.expect("a request");
            if asked["method"] == method {
                return asked["params"].clone();
            }
        }
    }

    /// A connection of the owner.
    pub(crate) async fn owner(&self) -> Client {
        Client::connect(&owner_socket(self.folder.path())).await
    }

    /// Tells the gateway of an Arc, and waits until it knows.
    pub(crate) async fn add(&self, arc: &FakeArc) {
        send_added(&self.control, arc);
        self.settle().await;
    }

    /// Tells the gateway that an Arc is gone, and waits until it knows.
    pub(crate) async fn remove(&self, arc: &FakeArc) {
        self.tell("arc.removed", &json!({ "name": arc.name() })).await;
    }

    /// Tells the gateway how a service is doing, and waits until it knows.
    pub(crate) async fn set_service(&self, name: &str, state: &str, reason: Option<&str>) {
        let service = service(name, state, reason);
        self.services.lock().expect("sound").push(service.clone());
        self.tell("service.state", &service).await;
    }

    async fn tell(&self, method: &str, params: &Value) {
        send_line(&self.control, &json!({ "jsonrpc": "2.0", "method": method, "params": params }));
        self.settle().await;
    }

    /// The gateway has taken in all that it was told once it has an answer that came after it.
    async fn settle(&self) {
        let services = self.owner().await.ask("mcp.system.services", &json!([])).await;
        assert!(services["result"].is_array(), "{services}");
    }

    /// Asks the gateway to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> TempDir {
        let pid = rustix::process::Pid::from_child(&self.gateway);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let status = tokio::task::spawn_blocking(move || {
            let status = self.gateway.wait().expect("it ends");
            (status, self)
        });
        let (status, mut this) = soon("the end", status).await.expect("no panic");
        assert!(status.success(), "{status}");
        std::mem::replace(&mut this.folder, tempfile::tempdir().expect("a folder"))
    }

    /// The audit file.
    pub(crate) fn audit_file(folder: &Path) -> PathBuf {
        folder.join("log/audit.jsonl")
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

/// A service as init describes it.
pub(crate) fn service(name: &str, state: &str, reason: Option<&str>) -> Value {
    json!({
        "name": name, "description": "a service", "version": "1", "state": state, "reason": reason,
        "pid": null, "since_ms": 0, "restarts": 0,
    })
}

fn owner_socket(folder: &Path) -> PathBuf {
    folder.join("gateway.sock")
}

fn send_line(control: &UnixStream, message: &Value) {
    let mut stream = control;
    stream.write_all(format!("{message}\n").as_bytes()).expect("the gateway reads");
}

fn send_added(control: &UnixStream, arc: &FakeArc) {
    let params = json!({ "manifest": arc.manifest(), "socket": arc.socket() });
    let line = format!("{}\n", json!({ "jsonrpc": "2.0", "method": "arc.added", "params": params }));
    let (listener, egress) = (arc.caller_listener(), arc.egress_listener());
    let descriptors = [listener.as_fd(), egress.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = rustix::net::sendmsg(control, &[IoSlice::new(line.as_bytes())], &mut ancillary, SendFlags::empty());
    assert_eq!(sent, Ok(line.len()));
}

/// Answers `services` and says what else was asked; the other answers are what was asked for.
async fn answer_as_init(
    control: Arc<UnixStream>,
    services: Arc<Mutex<Vec<Value>>>,
    answers: Answers,
    asked: mpsc::UnboundedSender<Value>,
) {
    let reader = control.try_clone().expect("a descriptor");
    let (lines, mut received) = mpsc::unbounded_channel::<String>();
    std::thread::spawn(move || {
        let lines_of = std::io::BufRead::lines(std::io::BufReader::new(reader));
        lines_of.map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    while let Some(line) = received.recv().await {
        let request: Value = serde_json::from_str(&line).expect("JSON");
        let (method, params) = (request["method"].as_str().expect("a method"), &request["params"]);
        let stated = answers.lock().expect("sound").get(method).cloned();
        let answer = match (method, params["name"].as_str()) {
            _ if stated.is_some() => stated.unwrap_or_default(),
            ("services", _) => json!({ "result": *services.lock().expect("sound") }),
            (_, Some("nobody")) => json!({ "error": { "code": -32602, "message": "there is no service nobody" } }),
            (_, name) => json!({ "result": service(name.unwrap_or("all"), method, None) }),
        };
        if method != "services" {
            let _ = asked.send(request.clone());
        }
        let mut answer = answer;
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = request["id"].clone();
        send_line(&control, &answer);
    }
}

#[expect(unsafe_code, reason = "descriptors get their numbers between fork and exec")]
fn spawn(folder: &Path, notify: &Path, settings: Option<&str>, descriptors: &[OwnedFd]) -> Child {
    // Out of the way of the numbers that they are to have.
    let above = |descriptor: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(descriptor, 100).expect("a descriptor");
    let sources: Vec<OwnedFd> = descriptors.iter().map(above).collect();
    // `LISTEN_PID` must be the gateway's own, which only the shell that becomes the gateway knows.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$0\"", env!("CARGO_BIN_EXE_gateway")])
        .env_clear()
        .env("LISTEN_FDS", sources.len().to_string())
        .env("LISTEN_FDNAMES", "gateway.sock:gateway:control:https")
        .env("NOTIFY_SOCKET", notify)
        .env("ARC_DATA", folder)
        .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
        .stdin(Stdio::null());
    if let Some(settings) = settings {
        let file = folder.join("settings.toml");
        std::fs::write(&file, settings).expect("written");
        command.env("ARC_SETTINGS", file);
    }
    let place = move || {
        for (number, source) in (3 as RawFd..).zip(&sources) {
            // SAFETY: the number is not this process's to close, which ManuallyDrop does not; dup2 sets it anew.
            let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
            rustix::io::dup2(source, &mut target)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only dup2 is called, which is async-signal-safe; nothing is allocated.
    unsafe { command.pre_exec(place) };
    command.spawn().expect("the gateway starts")
}

/// A reader of lines of a tokio stream.
pub(crate) async fn next_line(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = String::new();
    let length = reader.read_line(&mut line).await.ok()?;
    (length > 0).then(|| line.trim_end().to_owned())
}

/// A buffered reader.
pub(crate) fn buffered<R: tokio::io::AsyncRead>(reader: R) -> BufReader<R> {
    BufReader::new(reader)
}
