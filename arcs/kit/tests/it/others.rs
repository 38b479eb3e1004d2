//! An Arc calls other tools through its gateway socket, in the same run.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

use crate::arc::{Arc, owner};

/// The gateway's side of one connection, line by line.
struct Gateway {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Gateway {
    /// Accepts the Arc's connection and answers its `server/discover`.
    fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = listener.accept().expect("the Arc connects");
        let mut gateway = Self { reader: BufReader::new(stream.try_clone().expect("a handle")), stream };
        let discover = gateway.receive();
        assert_eq!(discover["method"], "server/discover");
        gateway.answer(
            &discover,
            &json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "gateway", "version": "1"}, "ttlMs": 0, "cacheScope": "private",
            }),
        );
        gateway
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("text");
        serde_json::from_str(&line).expect("JSON")
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stream, "{message}").expect("the Arc reads");
    }

    fn answer(&mut self, request: &Value, result: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}));
    }
}

fn relay_of(tool: &str) -> Value {
    json!({"name": "relay", "arguments": {"tool": tool, "arguments": {"key": "hello"}}})
}

#[test]
fn a_call_keeps_its_run_and_passes_progress_on() {
    let arc = Arc::start("relay", &[]);
    let listener = UnixListener::bind(arc.path("gateway.sock")).expect("a socket");
    let mut connection = arc.connect();
    let mut meta = owner();
    meta["progressToken"] = json!("p1");
    connection.request("tools/call", relay_of("kv.get"), meta);
    assert_eq!(connection.receive().expect("progress")["params"]["message"], "relay to kv.get");

    let mut gateway = Gateway::accept(&listener);
    let call = gateway.receive();
    assert_eq!((&call["params"]["name"], &call["params"]["arguments"]), (&json!("kv.get"), &json!({"key": "hello"})));
    assert_eq!(call["params"]["_meta"]["llmbasedos/caller"], json!({"run": "r-1"}));
    let token = &call["params"]["_meta"]["progressToken"];
    gateway.send(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
        "progressToken": token, "progress": 2, "total": 4, "message": "write section 2",
    }}));
    let progress = connection.receive().expect("progress")["params"].clone();
    assert_eq!((&progress["progressToken"], &progress["message"]), (&json!("p1"), &json!("write section 2")));
    assert_eq!((progress["progress"].as_f64(), progress["total"].as_f64()), (Some(2.0), Some(4.0)));

    gateway.answer(&call, &json!({"resultType": "complete", "content": [], "structuredContent": "world"}));
    assert_eq!(connection.receive().expect("an answer")["result"]["structuredContent"], "world");
}

#[test]
fn a_failure_further_on_keeps_its_code_and_words() {
    let arc = Arc::start("relay", &[]);
    let listener = UnixListener::bind(arc.path("gateway.sock")).expect("a socket");
    let mut connection = arc.connect();
    connection.request("tools/call", relay_of("mail.send"), owner());
    let mut gateway = Gateway::accept(&listener);
    let call = gateway.receive();
    gateway.send(&json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32002, "message": "relay may not call mail.send"}}));
    let failure = connection.receive().expect("an answer")["result"]["_meta"]["llmbasedos/failure"].clone();
    assert_eq!(failure, json!({"code": -32002, "message": "relay may not call mail.send"}));
}

#[test]
fn a_cancelled_call_cancels_the_calls_that_it_made() {
    let arc = Arc::start("relay", &[]);
    let listener = UnixListener::bind(arc.path("gateway.sock")).expect("a socket");
    let mut connection = arc.connect();
    let id = connection.request("tools/call", relay_of("llm.chat"), owner());
    let mut gateway = Gateway::accept(&listener);
    let call = gateway.receive();
    connection.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    let cancelled = gateway.receive();
    assert_eq!(
        (&cancelled["method"], &cancelled["params"]["requestId"]),
        (&json!("notifications/cancelled"), &call["id"])
    );
}

#[test]
fn a_gateway_that_comes_back_is_found_again() {
    let arc = Arc::start("relay", &[]);
    let mut connection = arc.connect();
    let result = connection.call("relay", relay_of("kv.get")["arguments"].clone());
    let message = result["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("the gateway cannot be reached"), "{message}");

    for _ in 0..2 {
        let path = arc.path("gateway.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        connection.request("tools/call", relay_of("kv.get"), owner());
        let mut gateway = Gateway::accept(&listener);
        let call = gateway.receive();
        gateway.answer(&call, &json!({"resultType": "complete", "content": [], "structuredContent": null}));
        let answer = connection.receive().expect("an answer");
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        // The connection ends with the gateway; the Arc notices before its next call or says that it may be tried again.
        drop(gateway);
    }
}
