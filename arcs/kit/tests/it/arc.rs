//! An example Arc as a child process, and a connection to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub(crate) struct Arc {
    pub(crate) folder: tempfile::TempDir,
    child: Child,
}

/// No test leaves a process behind, however it ends.
impl Drop for Arc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Arc {
    /// Starts the example `name`; `environment` is added to what init sets.
    pub(crate) fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("arc.sock")).expect("a socket");
        // The shell moves the listener to descriptor 3 and keeps its pid across exec: LISTEN_PID without `unsafe`.
        let script = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ exec "$0""#;
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(example(name))
            .stdin(OwnedFd::from(listener))
            .stderr(Stdio::piped())
            .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "mcp"), ("ARC_NAME", name)])
            .env("ARC_DATA", folder.path())
            .env("MCP_GATEWAY", folder.path().join("gateway.sock"))
            .envs(environment.iter().copied())
            .spawn()
            .expect("the example starts");
        Self { folder, child }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = UnixStream::connect(self.path("arc.sock")).expect("the socket listens before the Arc runs");
        Connection { reader: BufReader::new(stream.try_clone().expect("a second handle")), stream, next: 0 }
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is there");
    }

    /// Waits for the end; answers how it ended and what it logged.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("a child");
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        (status, log)
    }
}

/// Examples lie beside the folder of the test's own binary.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let target = own.parent().and_then(Path::parent).expect("target/debug");
    target.join("examples").join(name)
}

pub(crate) struct Connection {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
    next: u64,
}

impl Connection {
    pub(crate) fn send(&mut self, message: &Value) {
        writeln!(self.stream, "{message}").expect("the Arc reads");
    }

    /// The next message; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).expect("text");
        (length > 0).then(|| serde_json::from_str(&line).expect("JSON"))
    }

    /// Sends a request and returns its id.
    pub(crate) fn request(&mut self, method: &str, mut params: Value, meta: Value) -> u64 {
        self.next += 1;
        let mut all = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        all.as_object_mut().expect("an object").extend(meta.as_object().cloned().expect("an object"));
        params["_meta"] = all;
        self.send(&json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params}));
        self.next
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}), owner());
        self.receive().expect("an answer")["result"].clone()
    }

    /// Closes the sending half, as the gateway does once it was told that the Arc drains.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("open");
    }
}

pub(crate) fn owner() -> Value {
    json!({"llmbasedos/caller": {"who": "owner", "run": "r-1"}})
}
