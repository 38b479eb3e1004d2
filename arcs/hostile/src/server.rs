//! MCP of 2026-07-28 on the socket that it inherits: a message a line, a thread a connection.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

use crate::attempts::{self, Attempt};

/// The first descriptor that is handed over (sd_listen_fds(3)): the one listener of an Arc.
const LISTENER: i32 = 3;
/// `method not found` of JSON-RPC.
const NO_METHOD: i32 = -32601;

pub(crate) fn run() -> io::Result<()> {
    #[expect(unsafe_code, reason = "what is inherited is known by its number")]
    // SAFETY: init hands it over, and nothing else here knows of it.
    let listener = unsafe { UnixListener::from_raw_fd(LISTENER) };
    for connection in listener.incoming() {
        let connection = connection?;
        std::thread::Builder::new().spawn(move || serve(&connection))?;
    }
    Ok(())
}

/// Answers one request after the other. A gateway that has gone wants no more.
fn serve(connection: &UnixStream) {
    for line in BufReader::new(connection).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        if message["id"].is_null() {
            continue;
        }
        if answer(connection, &message).is_err() {
            return;
        }
    }
}

fn answer(connection: &UnixStream, message: &Value) -> io::Result<()> {
    let id = &message["id"];
    match message["method"].as_str().unwrap_or_default() {
        "server/discover" => say(
            connection,
            id,
            "result",
            &json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } }),
        ),
        "tools/list" => say(connection, id, "result", &json!({ "tools": tools() })),
        "tools/call" => {
            let params = &message["params"];
            let (what, at) = (text(&params["arguments"]["what"]), text(&params["arguments"]["at"]));
            match (text(&params["name"]), attempts::find(what)) {
                ("attempts", _) => result(connection, id, &json!({ "names": attempts::names() })),
                (_, Some(Attempt::Inside(attempt))) => {
                    let (did, how) = match attempt(at) {
                        Ok(how) => (true, how),
                        Err(how) => (false, how),
                    };
                    result(connection, id, &json!({ "did": did, "how": how }))
                }
                (_, Some(Attempt::Answer(attempt))) => attempt(connection, id),
                (_, None) => result(connection, id, &json!({ "did": false, "how": "there is no such attempt" })),
            }
        }
        _ => say(connection, id, "error", &json!({ "code": NO_METHOD, "message": "there is no such method" })),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn tools() -> Value {
    let text = json!({ "type": "string" });
    json!([
        { "name": "try", "description": "Tries what an Arc may not",
          "inputSchema": { "type": "object", "properties": { "what": text, "at": text }, "required": ["what"] } },
        { "name": "answer", "description": "Answers as an Arc may not",
          "inputSchema": { "type": "object", "properties": { "what": text, "at": text }, "required": ["what"] } },
        { "name": "attempts", "description": "Names what can be tried", "inputSchema": { "type": "object" } },
    ])
}

fn result(connection: &UnixStream, id: &Value, structured: &Value) -> io::Result<()> {
    let content = json!([{ "type": "text", "text": structured.to_string() }]);
    let result = json!({ "resultType": "complete", "content": content, "structuredContent": structured });
    say(connection, id, "result", &result)
}

fn say(mut connection: &UnixStream, id: &Value, kind: &str, what: &Value) -> io::Result<()> {
    connection.write_all(format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, kind: what })).as_bytes())
}
