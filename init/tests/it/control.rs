//! What is spoken on `init.sock`, and what is said there that is not spoken.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::system::{Client, PATIENCE, Setup, System};

const BOOT: &str = "activation = \"boot\"";

#[test]
fn start_stop_and_restart_answer_when_it_is_done() {
    let system = Setup::new().service("kv", "ready forever:mcp", "").start();
    let state = |method: &str| system.call(method, json!({"name": "kv"})).expect("done")["state"].clone();
    assert_eq!(state("start"), "running");
    let first = system.pid_of("kv");
    assert_eq!(state("start"), "running");
    assert_eq!(system.pid_of("kv"), first, "it ran already");
    assert_eq!(state("restart"), "running");
    assert_ne!(system.pid_of("kv"), first);
    assert_eq!(state("stop"), "stopped");
    assert_eq!(system.info("kv")["pid"], Value::Null);
    assert_eq!(state("stop"), "stopped");
}

#[test]
fn a_stopped_arc_is_not_started_by_a_call_but_answers_it_once_a_person_starts_it() {
    let system = Setup::new().service("kv", "ready forever:mcp", "").start();
    system.call("stop", json!({"name": "kv"})).expect("stopped");
    let mut waiting = UnixStream::connect(system.data("run/mcp/kv.sock")).expect("not refused");
    waiting.write_all(b"hello\n").expect("written");
    assert_eq!(system.info("kv")["state"], "stopped");
    system.call("start", json!({"name": "kv"})).expect("started");
    let mut answer = [0; 6];
    waiting.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"hello\n");
}

#[test]
fn a_service_that_ignores_sigterm_is_killed_when_its_time_is_over() {
    let more = format!("{BOOT}\nstop_timeout = \"300ms\"");
    let system = Setup::new().service("deaf", "deaf ready sleep", &more).start();
    assert_eq!(system.call("stop", json!({"name": "deaf"})).expect("stopped")["state"], "stopped");
}

#[test]
fn a_status_is_shown() {
    let system = Setup::new().service("kv", "ready status:3_tables sleep", BOOT).start();
    // A start that is answered: what the service said before was read.
    let mut log = system.log();
    log.until_state("kv", "running");
    let info = std::iter::repeat_with(|| system.info("kv")).find(|info| info["reason"] != Value::Null);
    assert_eq!(info.expect("in the end")["reason"], "3_tables");
}

#[test]
fn logs_are_asked_for_and_followed_by_several_at_once() {
    let system = Setup::new().service("kv", "write:one write:two ready forever:mcp", "").start();
    let mut followers = [system.log(), system.log()];
    system.call("start", json!({"name": "kv"})).expect("started");
    for follower in &mut followers {
        follower.until("kv", "one");
        follower.until("kv", "two");
    }
    let last = system.call("logs", json!({"name": "kv", "lines": 1})).expect("lines");
    assert_eq!(last[0]["text"], "two");
    assert_eq!(last.as_array().map(Vec::len), Some(1));
    let error = system.call("logs", json!({"name": "kvs"})).expect_err("unknown");
    assert_eq!(error, "there is no service kvs. Close to it: kv");
    let written = std::fs::read_to_string(system.data("log/kv.log")).expect("a file");
    assert!(written.lines().all(|line| line.contains("Z one") || line.contains("Z two")), "{written}");
}

#[test]
fn the_socket_is_its_owners_alone() {
    let system = Setup::new().service("kv", "ready sleep", "").start();
    for path in ["run/init.sock", "run/mcp/kv.sock", "run/callers/kv.sock", "run/mcp/gateway.sock"] {
        let mode = std::fs::metadata(system.data(path)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{path}");
    }
    let mode = std::fs::metadata(system.data("run")).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

/// Sends bytes and answers the error's code; the next call on the same connection must be answered.
fn code(system: &System, bytes: &[u8]) -> Value {
    let mut client: Client = system.client();
    let mut writer = client.stream.try_clone().expect("a copy");
    let sent = bytes.to_vec();
    let sending = std::thread::spawn(move || {
        writer.write_all(&sent).expect("it is read");
        writer.write_all(b"\n").expect("it is read");
    });
    let answer = client.receive();
    sending.join().expect("sent");
    client.call("services", json!({})).expect("the next call is answered");
    assert!(answer["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    answer["error"]["code"].clone()
}

#[test]
fn garbage_is_answered_with_an_error_and_the_next_call_is_answered() {
    let system = Setup::new().start();
    assert_eq!(code(&system, "[".repeat(100_000).as_bytes()), -32600, "too long before it is too deep");
    assert_eq!(code(&system, "[".repeat(50_000).as_bytes()), -32700);
    assert_eq!(code(&system, &vec![b'x'; 20 * 1024 * 1024]), -32600);
    assert_eq!(code(&system, b"{\"method\": \"\xff\xfe\"}"), -32700);
    assert_eq!(code(&system, b"[1, 2, 3]"), -32600);
    assert_eq!(code(&system, b"{\"id\": 1, \"method\": 5}"), -32600);
    assert_eq!(code(&system, b"{\"id\": 1, \"method\": \"format\"}"), -32601);
    assert_eq!(
        code(&system, b"{\"id\": 1, \"method\": \"reboot\"}"),
        -32603,
        "a developer's machine is not ours to end"
    );
    assert_eq!(code(&system, b"{\"id\": 1, \"method\": \"stop\", \"params\": {\"nam\": \"kv\"}}"), -32602);
    assert_eq!(code(&system, b"{\"id\": 1, \"method\": \"stop\", \"params\": {\"name\": \"gatewy\"}}"), -32602);
}

#[test]
fn who_does_not_read_is_let_go_and_who_half_closes_is_answered() {
    let system = Setup::new().service("flood", "ready flood", "").start();
    let mut deaf = system.client();
    deaf.send(&json!({"id": 1, "method": "logs", "params": {"follow": true}}));
    system.call("start", json!({"name": "flood"})).expect("started");
    // It floods more than is kept for anybody; then the connection is closed, and what was sent is all there is.
    let rotated = system.data("log/flood.log.1");
    let modified = || std::fs::metadata(&rotated).and_then(|metadata| metadata.modified()).ok();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let now = modified();
        if now.is_some() && seen.last() != Some(&now) {
            seen.push(now);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    system.call("stop", json!({"name": "flood"})).expect("stopped");
    let mut rest = Vec::new();
    deaf.stream.read_to_end(&mut rest).expect("closed");
    assert!(rest.len() < 8 * 1024 * 1024, "{} bytes", rest.len());

    let mut half = UnixStream::connect(system.data("run/init.sock")).expect("it listens");
    half.set_read_timeout(Some(PATIENCE)).expect("set");
    half.write_all(b"{\"id\": 1, \"method\": \"start\", \"params\": {\"name\": \"gateway\"}}\n").expect("written");
    half.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = String::new();
    half.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.contains("\"running\""), "{answer}");
}

#[test]
fn a_gateway_that_does_not_read_its_channel_is_started_again() {
    let setup = Setup::new();
    setup.gateway("ready sleep");
    let mut system = setup;
    for number in 0..60 {
        let long = "x".repeat(100 * 1024);
        system = system.service(&format!("a{number}"), "ready sleep", &format!("# {long}"));
    }
    let command = &mut system.command();
    let system = system.start_with(command);
    system.log().until("init", "gateway: does not read its control channel; it is started again");
}
