//! Manifests that appear, change, break and go while everything runs.

use std::fs;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::system::{Follower, Setup, System, manifest};

fn write(system: &System, file: &str, text: &str) {
    fs::write(system.data("arcs.d").join(file), text).expect("written");
}

/// The next message of this method that the gateway hears.
fn heard(log: &mut Follower, method: &str) -> Value {
    loop {
        let line = log.until("gateway", method);
        let message: Value = serde_json::from_str(line.trim_start_matches("heard ")).expect("a message");
        if message["method"] == method {
            return message["params"].clone();
        }
    }
}

#[test]
fn the_gateway_is_told_of_each_arc_with_the_socket_that_the_arc_calls_on() {
    let system = Setup::new()
        .service("kv", "ready forever:mcp", "")
        .service("llama", "sleep", "activation = \"boot\"\ntransport = \"none\"")
        .start();
    let mut log = system.log();
    log.until("gateway", "socket kv.sock");
    let added = heard(&mut log, "arc.added");
    let text = fs::read_to_string(system.setup.path("manifests/kv.toml")).expect("there");
    assert_eq!(added["manifest"], text);
    let socket = added["socket"].as_str().expect("a path").to_owned();
    UnixStream::connect(socket).expect("the Arc's own socket");
    // The fixture accepts on what it was handed and echoes.
    assert_eq!(system.call_gateway_as("kv", "hello"), "hello");

    let before = system.pid_of("gateway");
    system.call("restart", json!({"name": "gateway"})).expect("restarted");
    assert_ne!(system.pid_of("gateway"), before);
    log.until("gateway", "socket kv.sock");
    assert_eq!(system.call_gateway_as("kv", "again"), "again");
    let all = system.call("logs", json!({"name": "gateway", "lines": 1000})).expect("lines").to_string();
    assert!(all.contains("llama.sock"), "what has a network of its own is told of: it goes out by the gateway");
    assert!(!all.contains("logd.sock"), "what is part of init is no Arc");
}

#[test]
fn an_arc_appears_changes_breaks_and_goes() {
    let system = Setup::new().start();
    let mut log = system.log();

    write(&system, "weather.toml", &manifest("weather", "ready forever:mcp", ""));
    heard(&mut log, "arc.added");
    assert_eq!(system.ask("weather", "one"), "one");
    assert_eq!(system.call_gateway_as("weather", "hello"), "hello");
    let first = system.pid_of("weather");

    write(&system, "weather.toml", &manifest("weather", "ready forever:mcp", "idle_exit = \"5m\""));
    assert_eq!(heard(&mut log, "arc.removed"), json!({"name": "weather"}));
    heard(&mut log, "arc.added");
    assert_eq!(system.ask("weather", "two"), "two");
    let second = system.pid_of("weather");
    assert_ne!(second, first);

    write(&system, "weather.toml", &manifest("weather", "ready forever:mcp", "idle_exitt = \"5m\""));
    log.until("init", "idle_exitt: unknown key. Close to it: idle_exit");
    log.until("init", "what the file said before still counts");
    assert_eq!(system.pid_of("weather"), second, "the previous one keeps running");

    fs::remove_file(system.data("arcs.d/weather.toml")).expect("removed");
    assert_eq!(heard(&mut log, "arc.removed"), json!({"name": "weather"}));
    while system.call("services", json!({})).expect("services").to_string().contains("weather") {}
    let error = system.call("start", json!({"name": "weather"})).expect_err("gone");
    assert_eq!(error, "there is no service weather");
    for file in ["run/mcp/weather.sock", "run/callers/weather.sock", "run/notify/weather.sock"] {
        assert!(!system.data(file).exists(), "{file} is left");
    }
}

#[test]
fn an_arc_in_a_folder_of_its_own_is_found_and_a_taken_name_is_refused() {
    let system = Setup::new().service("kv", "ready forever:mcp", "").start();
    let mut log = system.log();
    fs::create_dir(system.data("arcs.d/mail")).expect("made");
    write(&system, "mail/arc.toml", &manifest("mail", "ready forever:mcp", ""));
    log.until("init", "mail: added");
    assert_eq!(system.ask("mail", "one"), "one");

    write(&system, "kv.toml", &manifest("kv", "ready sleep", ""));
    let line = log.until("init", "the name kv is taken by");
    assert!(line.contains("arcs.d/kv.toml") && line.contains("manifests/kv.toml"), "{line}");
    assert_eq!(system.ask("kv", "still"), "still");
}

#[test]
fn what_waits_for_a_service_that_is_added_later_gets_its_chance() {
    let more = "activation = \"boot\"\nafter = [\"later\"]";
    let system = Setup::new().service("early", "ready forever:mcp", more).start();
    assert_eq!(system.info("early")["reason"], "after: there is no service later");
    let mut log = system.log();
    write(&system, "later.toml", &manifest("later", "ready sleep", "activation = \"boot\""));
    log.until_state("later", "running");
    log.until_state("early", "running");
}

#[test]
fn a_person_may_not_take_what_is_for_the_system() {
    let system = Setup::new().start();
    let mut log = system.log();
    write(&system, "evil.toml", &manifest("evil", "ready sleep", "control = true"));
    log.until("init", "control: is for the system's own services");
    write(&system, "init.toml", &manifest("init", "ready sleep", ""));
    log.until("init", "the name init is taken by init itself");
}
