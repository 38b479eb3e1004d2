//! An Arc says when it is ready, ends when it is idle or asked to, and loses no call over it.

use std::os::unix::net::UnixDatagram;

use serde_json::json;

use crate::arc::{Arc, owner};

#[test]
fn it_says_when_it_is_ready() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let arc = Arc::start("greeter", &[("NOTIFY_SOCKET", path.to_str().expect("text"))]);
    let mut buffer = [0; 64];
    let mut next = || {
        let length = socket.recv(&mut buffer).expect("a state");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(next(), "READY=1");
    arc.terminate();
    assert_eq!(next(), "STOPPING=1");
    assert!(arc.end().0.success());
}

#[test]
fn an_idle_arc_asks_its_peer_to_close_and_ends() {
    let arc = Arc::start("greeter", &[("ARC_IDLE_EXIT_MS", "100")]);
    let mut connection = arc.connect();
    assert_eq!(connection.call("greet", json!({"name": "Ada"}))["isError"], false);
    assert_eq!(connection.receive().expect("asks to close")["method"], "notifications/llmbasedos/draining");
    // What was on its way is still answered.
    assert_eq!(connection.call("greet", json!({"name": "Eve"}))["structuredContent"]["count"], 2);
    connection.finish();
    assert_eq!(connection.receive(), None);
    assert!(arc.end().0.success());
}

#[test]
fn a_stopping_arc_finishes_what_it_began() {
    let arc = Arc::start("relay", &[]);
    let mut connection = arc.connect();
    let id = connection.request("tools/call", json!({"name": "wait", "arguments": {}}), owner());
    assert_eq!(connection.call("fail", json!({}))["isError"], true);
    arc.terminate();
    assert_eq!(connection.receive().expect("asks to close")["method"], "notifications/llmbasedos/draining");
    connection.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    connection.finish();
    assert!(arc.end().0.success());
}

#[test]
fn without_init_it_says_how_to_start_it() {
    let arc = Arc::start("greeter", &[("LISTEN_FDNAMES", "other")]);
    let (status, log) = arc.end();
    assert!(!status.success());
    assert!(log.contains("init handed over no descriptor called mcp"), "{log}");
}
