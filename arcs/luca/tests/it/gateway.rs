//! A gateway that does what a script says: raw JSON, no code of the crate under test.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

/// Everything hostile that a tool may say: title, clipboard, clear, C1, direction override.
pub(crate) const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}31m\u{202e}";

/// The gateway; it ends when it is dropped.
pub(crate) struct Gateway {
    /// What follows `--gateway`.
    pub(crate) address: String,
    received: Receiver<Value>,
    _runtime: Runtime,
}

impl Gateway {
    /// On the socket `path`.
    pub(crate) fn on(path: &Path) -> Self {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let (runtime, sender, received) = start();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(path).expect("bound")
        };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let Some(replies) = answer(&line, &sender) else { return };
                        for reply in replies {
                            // A client that has gone reads no answer; what it said before that is still to be read.
                            let _gone = write.write_all(format!("{reply}\n").as_bytes()).await;
                        }
                    }
                });
            }
        });
        Self { address: format!("unix:{}", path.display()), received, _runtime: runtime }
    }

    /// In a folder of its own.
    pub(crate) fn unix(folder: &Path) -> Self {
        Self::on(&folder.join("gateway.sock"))
    }

    /// On a free port of the loopback.
    pub(crate) fn web_socket() -> Self {
        let (runtime, sender, received) = start();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bound");
        let address = format!("ws://{}/ws", listener.local_addr().expect("an address"));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
                    while let Some(Ok(message)) = socket.next().await {
                        let Message::Text(text) = message else { continue };
                        let Some(replies) = answer(text.as_str(), &sender) else { return };
                        for reply in replies {
                            let _gone = socket.send(Message::text(reply.to_string())).await;
                        }
                    }
                });
            }
        });
        Self { address, received, _runtime: runtime }
    }

    /// Waits until a message comes that `is_it`, and returns it.
    pub(crate) fn wait_for(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.received.recv_timeout(Duration::from_secs(20)) {
                Ok(message) if is_it(&message) => return message,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("it did not come"),
            }
        }
    }

    /// Waits for the call of a tool.
    pub(crate) fn wait_for_call(&self, tool: &str) -> Value {
        self.wait_for(|message| message["params"]["name"] == tool)
    }

    /// The methods of all messages up to now.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.received.try_iter().map(|message| message["method"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// A socket that nobody listens on any more.
pub(crate) fn stale_socket(folder: &Path) -> PathBuf {
    let path = folder.join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    path
}

fn start() -> (Runtime, Sender<Value>, Receiver<Value>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (sender, received) = channel();
    (runtime, sender, received)
}

/// What is sent back for a message; `None`: the connection is closed.
fn answer(line: &str, log: &Sender<Value>) -> Option<Vec<Value>> {
    let message: Value = serde_json::from_str(line).expect("JSON");
    // The test may have seen enough.
    let _ = log.send(message.clone());
    let id = message["id"].clone();
    let params = &message["params"];
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    Some(match message["method"].as_str().expect("a method") {
        "initialize" => {
            assert_eq!(params["protocolVersion"], "2025-11-25");
            vec![result(json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "llmbasedos", "version": "0.1.0"}}))]
        }
        "tools/list" => vec![result(catalogue())],
        "tools/call" => tool(params, &id)?,
        method if id.is_null() => {
            assert!(method.starts_with("notifications/"), "{method}");
            Vec::new()
        }
        method => vec![dialect(method, params, &id)],
    })
}

fn catalogue() -> Value {
    let text = json!({"type": "string"});
    json!({"tools": [
        {"name": "kv.get", "description": "The value stored under key, null when there is none.",
         "inputSchema": {"type": "object", "properties": {"key": {"type": "string", "examples": ["hello"]}},
            "required": ["key"]}, "annotations": {"readOnlyHint": true}},
        {"name": "kv.set", "description": "Stores a value.", "inputSchema": {"type": "object", "properties":
            {"key": text, "value": {}, "ttl_s": {"type": ["integer", "null"]}}, "required": ["key", "value"]}},
        {"name": "llm.chat", "inputSchema": {"properties": {"messages": {"type": "array"}}}},
        {"name": "test.drop", "inputSchema": {}}, {"name": "test.slow", "inputSchema": {}},
        {"name": "test.hostile", "inputSchema": {}}, {"name": "test.list", "inputSchema": {}},
        {"name": "test.fail", "inputSchema": {"properties": {"keyword": {"type": "string",
            "examples": ["self custody"]}}}},
    ]})
}

fn tool(params: &Value, id: &Value) -> Option<Vec<Value>> {
    let arguments = &params["arguments"];
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let text = |text: &str| result(json!({"content": [{"type": "text", "text": text}]}));
    let progress = |done: u32, total: Option<u32>, message: &str, is_stream: bool| {
        let mut params = json!({"progressToken": params["_meta"]["progressToken"], "progress": done,
            "message": message});
        if let Some(total) = total {
            params["total"] = json!(total);
        }
        if is_stream {
            params["_meta"] = json!({"llmbasedos/stream": true});
        }
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    };
    Some(match params["name"].as_str().expect("a name") {
        "system.cages" => {
            let missing = ["the memory limit (not delegated)", "the disk quota (not made for it)"];
            vec![result(json!({"content": [], "structuredContent": {"layers": ["files"], "missing": missing}}))]
        }
        "kv.set" => {
            assert!(arguments["key"].is_string() && !arguments["value"].is_null(), "{arguments}");
            vec![result(json!({"content": [], "structuredContent": {"status": "ok"}}))]
        }
        "kv.get" => vec![text("\"world\"")],
        "awake.tick" => vec![
            progress(1, None, "think  \"How to move coins\"", false),
            progress(2, Some(4), "write  section 2", false),
            result(json!({"content": [], "structuredContent": {"triggered": true}})),
        ],
        "llm.chat" => vec![
            progress(1, None, "Hello ", true),
            progress(2, None, "there", true),
            result(json!({"content": [], "structuredContent": {"model": "tiny",
                "choices": [{"message": {"role": "assistant", "content": "Hello there"}}]}})),
        ],
        "test.list" => vec![text(r#"[{"name":"a","size":1},{"name":"b","size":2}]"#)],
        "test.fail" => vec![result(json!({"isError": true, "content": [{"type": "text", "text": "no"}],
            "_meta": {"llmbasedos/failure": {"code": -32602, "message": "keyword must not be empty",
                "problems": [{"path": "/keyword", "message": "must not be empty"}]}}}))],
        "test.hostile" => vec![
            progress(1, None, &format!("think  {HOSTILE}"), false),
            result(json!({"content": [], "structuredContent": {"text": HOSTILE, HOSTILE: HOSTILE}})),
        ],
        "test.hostile_failure" => vec![json!({"jsonrpc": "2.0", "id": id,
            "error": {"code": -32603, "message": HOSTILE}})],
        "test.slow" => vec![progress(1, None, "think  for ever", false)],
        "test.drop" => return None,
        name => panic!("an unexpected tool {name}"),
    })
}

fn dialect(method: &str, params: &Value, id: &Value) -> Value {
    let result = match (method, params.to_string().as_str()) {
        ("mcp.hello", "[]") => json!(["mcp.kv.get", "mcp.kv.set"]),
        ("mcp.kv.set", r#"["hello","world"]"#) => json!({"status": "ok"}),
        ("mcp.kv.get", r#"["hello"]"#) => json!("world"),
        ("mcp.fs.list", r#"["/"]"# | r#"["/sites"]"#) => json!([
            {"name": "notes.txt", "path": "/notes.txt", "type": "file", "size": 1234, "modified_at": "2020-01-01T00:00:00Z"},
            {"name": "sites", "path": "/sites", "type": "directory", "size": 0, "modified_at": "2020-01-01T00:00:00Z"}]),
        ("mcp.fs.read", r#"["/picture","base64"]"#) => json!({"path": "/picture", "content": "AA==",
            "encoding": "base64", "mime_type": "image/png"}),
        ("mcp.fs.read", r#"["/notes.txt","text"]"#) => {
            json!({"path": "/notes.txt", "content": format!("line 1\n{HOSTILE}\n"),
            "encoding": "text", "mime_type": "text/plain"})
        }
        ("mcp.fs.delete", r#"["/sites/old",true]"#) => json!({"path": "/sites/old", "status": "deleted"}),
        _ => {
            let name = method.trim_start_matches("mcp.");
            let message = format!("there is no tool {name}. Close to it: kv.get");
            return json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": message}});
        }
    };
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}
