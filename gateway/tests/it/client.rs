//! A client on a UNIX socket that sees every byte.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::system::soon;

/// A connection.
pub(crate) struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    next_id: u64,
}

impl Client {
    pub(crate) async fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.expect("it listens");
        Self { stream, received: Vec::new(), next_id: 0 }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("the gateway's reading", self.stream.write_all(bytes.as_ref())).await.expect("it reads");
    }

    /// Sends a request on a line.
    pub(crate) async fn send_json(&mut self, request: &Value) {
        self.send(format!("{request}\n")).await;
    }

    /// The next message with its terminator; `None` at the end of the connection.
    pub(crate) async fn receive_raw(&mut self) -> Option<(Vec<u8>, u8)> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == 0 || byte == b'\n') {
                let mut message: Vec<u8> = self.received.drain(..=end).collect();
                let terminator = message.pop().expect("a terminator");
                return Some((message, terminator));
            }
            let length = soon("a message", self.stream.read_buf(&mut self.received)).await.unwrap_or(0);
            if length == 0 {
                return None;
            }
        }
    }

    /// The next message.
    pub(crate) async fn receive(&mut self) -> Value {
        let (message, _) = self.receive_raw().await.expect("a message");
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Sends a request and awaits its answer, which must be the next message.
    pub(crate) async fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let id = json!(format!("ask-{}", self.next_id));
        self.send_json(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        let answer = self.receive().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Calls a tool by its name, as standard MCP does.
    pub(crate) async fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })).await
    }

    /// Says `initialize` and `notifications/initialized`; the result.
    pub(crate) async fn initialize(&mut self, version: &str) -> Value {
        let client = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client });
        let answer = self.ask("initialize", &params).await;
        self.send_json(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        answer["result"].clone()
    }

    /// Sends no more, but goes on reading.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.expect("it is open");
    }
}
