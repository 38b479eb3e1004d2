//! The Arc as init starts it: a process with a socket, settings in a file, and a log.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::server::{Act, ModelServer, http, openai};
use crate::world::backend;

const KEY: &str = "sk-very-secret-key";

struct Arc {
    folder: tempfile::TempDir,
    child: Child,
}

impl Arc {
    fn start(settings: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("arc.sock")).expect("a socket");
        std::fs::write(folder.path().join("settings.toml"), settings(folder.path())).expect("written");
        let own = std::env::current_exe().expect("a path");
        let target = own.parent().and_then(Path::parent).expect("target/debug");
        // The shell moves the listener to descriptor 3 and keeps its pid across exec: LISTEN_PID without `unsafe`.
        let script = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ exec "$0""#;
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(target.join("examples/llm_router_arc"))
            .stdin(OwnedFd::from(listener))
            .stderr(Stdio::piped())
            .envs([
                ("LISTEN_FDS", "1"),
                ("LISTEN_FDNAMES", "mcp"),
                ("ARC_NAME", "llm_router"),
                ("RUST_LOG", "info,llm_router=trace,reqwest=trace,hyper=trace,hyper_util=trace,rustls=trace"),
            ])
            .env("ARC_DATA", folder.path())
            .env("ARC_SETTINGS", folder.path().join("settings.toml"))
            .env("MCP_GATEWAY", folder.path().join("gateway.sock"))
            .env("HTTP_PROXY", "http://192.0.2.1:9")
            .spawn()
            .expect("the Arc starts");
        Self { folder, child }
    }

    async fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.folder.path().join("arc.sock")).await;
        BufReader::new(stream.expect("the socket listens before the Arc runs"))
    }

    /// Stops the Arc and answers what it logged.
    fn log(mut self) -> String {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        self.read_log()
    }

    fn read_log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        log
    }
}

/// No test leaves a process behind, however it ends.
impl Drop for Arc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn send(connection: &mut BufReader<UnixStream>, message: Value) {
    connection.get_mut().write_all(format!("{message}\n").as_bytes()).await.expect("the Arc reads");
}

async fn receive(connection: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    connection.read_line(&mut line).await.expect("text");
    serde_json::from_str(&line).expect("JSON")
}

fn call(id: u32) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "llmbasedos/caller": {"who": "owner", "run": "r-1"},
        "progressToken": "p-1",
    });
    let arguments = json!({"messages": [{"role": "user", "content": "a private question"}]});
    let params = json!({"name": "chat", "arguments": arguments, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

#[tokio::test]
async fn a_call_is_streamed_and_answered_and_neither_key_nor_prompt_is_logged_above_debug() {
    let pieces = ["Once upon a time ", "there was a machine."];
    let server = ModelServer::start(vec![Act::Answer(openai(&pieces, "stop"))]).await;
    let arc = Arc::start(|folder| {
        let key_file = folder.join("key");
        std::fs::write(&key_file, KEY).expect("written");
        format!("{}key_file = {key_file:?}", backend("local", "openai", &server.url))
    });
    let mut connection = arc.connect().await;
    send(&mut connection, call(1)).await;
    let mut streamed = String::new();
    let result = loop {
        let message = receive(&mut connection).await;
        match message["params"]["message"].as_str() {
            Some(piece) => streamed.push_str(piece),
            None => break message["result"]["structuredContent"].clone(),
        }
    };
    assert_eq!(result["choices"][0]["message"]["content"], pieces.concat());
    assert_eq!(streamed, pieces.concat());
    assert_eq!((&result["model"], &result["object"]), (&json!("qwen"), &json!("chat.completion")));
    let log = arc.log();
    assert!(log.contains("answered") && log.contains("completion_tokens=5"), "{log}");
    assert!(log.contains("others may read key_file"), "{log}");
    assert!(!log.contains(KEY), "{log}");
    let above_debug = log.lines().filter(|line| !line.contains("TRACE") && !line.contains("DEBUG"));
    assert!(
        above_debug.clone().count() > 0 && !above_debug.clone().any(|line| line.contains("private question")),
        "{log}"
    );
}

#[tokio::test]
async fn a_cancelled_call_closes_the_connection_to_the_model() {
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"One\"}}]}\n\n";
    let mut server = ModelServer::start(vec![Act::Stall(http("200 OK", "", first))]).await;
    let arc = Arc::start(|_| backend("local", "openai", &server.url));
    let mut connection = arc.connect().await;
    send(&mut connection, call(1)).await;
    assert_eq!(receive(&mut connection).await["params"]["message"], "One");
    send(&mut connection, json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}))
        .await;
    server.until_closed().await;
    arc.log();
}

#[tokio::test]
async fn settings_that_are_wrong_stop_the_start_with_every_problem() {
    let mut arc = Arc::start(|_| "[backends.a]\nkind = \"llama\"\n[purposes]\ndefault = [\"b\"]\n".to_owned());
    let log = arc.read_log();
    assert_eq!(arc.child.wait().expect("ended").code(), Some(1));
    assert!(log.contains("[arcs.llm_router] backends.a.kind: must be \"ollama\", \"openai\""), "{log}");
    assert!(log.contains("purposes.default: there is no backend \"b\"; there are: a"), "{log}");
}
