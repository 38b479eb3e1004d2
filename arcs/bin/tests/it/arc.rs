//! An Arc as a child process, and a connection to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The program under test.
pub(crate) const ARCS: &str = env!("CARGO_BIN_EXE_arcs");

/// A file may have at most 4 MiB (`ulimit` counts 512 bytes), and going beyond is an error and not the end.
pub(crate) const SMALL_FILES: &str = "trap '' XFSZ; ulimit -f 8192; ";

pub(crate) struct Arc {
    child: Child,
    socket: PathBuf,
    /// Where its TCP listener is reached.
    pub(crate) address: SocketAddr,
}

impl Arc {
    /// Starts the Arc `name` on the data folder `data`.
    pub(crate) fn start(name: &str, data: &Path) -> Self {
        Self::start_after("", name, data)
    }

    /// Starts the Arc once the shell has run `prelude` in its process.
    pub(crate) fn start_after(prelude: &str, name: &str, data: &Path) -> Self {
        let socket = data.join(format!("{name}.sock"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("an address");
        // The shell moves the listeners to descriptors 3 and 4 and keeps its pid across exec: no `unsafe` needed.
        let script = r#"exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ exec "$0" "$1""#;
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("{prelude}{script}"), ARCS, name])
            .stdin(OwnedFd::from(listener))
            .stdout(OwnedFd::from(tcp))
            .stderr(Stdio::piped())
            .envs([("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "mcp:sites"), ("ARC_NAME", name)])
            .env("ARC_DATA", data)
            .env("MCP_GATEWAY", data.join("gateway.sock"))
            .spawn()
            .expect("the Arc starts");
        Self { child, socket, address }
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = UnixStream::connect(&self.socket).expect("the socket listens before the Arc runs");
        Connection { reader: BufReader::new(stream.try_clone().expect("a second handle")), stream, next: 0 }
    }

    /// Ends the Arc the hard way.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("runs");
        self.child.wait().expect("a child");
    }

    /// Asks the Arc to stop; answers how it ended and what it logged.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is there");
        self.end()
    }

    /// Waits for the end; answers how it ended and what it logged.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        (self.child.wait().expect("a child"), log)
    }
}

/// No test leaves a process behind, however it ends.
impl Drop for Arc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Connection {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
    next: u64,
}

impl Connection {
    /// Sends a call and returns its id.
    pub(crate) fn request(&mut self, tool: &str, arguments: &Value) -> u64 {
        self.send("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    fn send(&mut self, method: &str, mut params: Value) -> u64 {
        self.next += 1;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
            "llmbasedos/caller": {"who": "owner", "run": "r-1"},
        });
        let request = json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        writeln!(self.stream, "{request}").expect("the Arc reads");
        self.next
    }

    /// The tools that the Arc lists.
    pub(crate) fn tools(&mut self) -> Vec<Value> {
        self.send("tools/list", json!({}));
        self.receive().expect("an answer")["result"]["tools"].as_array().cloned().expect("a list")
    }

    /// The next message; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).unwrap_or(0);
        (length > 0).then(|| serde_json::from_str(&line).expect("JSON"))
    }

    /// Calls a tool; its value, or the words of its failure.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, String> {
        self.request(tool, &arguments);
        let result = self.receive().expect("an answer")["result"].clone();
        match result["isError"] == true {
            true => Err(result["content"][0]["text"].as_str().expect("words").to_owned()),
            false => Ok(result["structuredContent"].clone()),
        }
    }

    /// As [`Connection::call`] where it must succeed.
    pub(crate) fn value(&mut self, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments).expect("no failure")
    }

    /// As [`Connection::call`] where it must fail.
    pub(crate) fn failure(&mut self, tool: &str, arguments: Value) -> String {
        self.call(tool, arguments).expect_err("a failure")
    }
}
