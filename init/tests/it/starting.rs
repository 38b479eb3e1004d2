//! How services come up: order, readiness, sockets, what they inherit.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};

use serde_json::json;

use crate::system::{PATIENCE, Setup};

const BOOT: &str = "activation = \"boot\"";

#[test]
fn services_start_in_order_and_each_waits_until_the_one_before_is_ready() {
    let setup = Setup::new();
    let gate = setup.path("gate");
    let setup = setup
        .service("a", &format!("write:first gate:{} ready sleep", gate.display()), BOOT)
        .service("b", "write:second ready sleep", &format!("{BOOT}\nafter = [\"a\"]"))
        .service("c", "write:third ready sleep", &format!("{BOOT}\nafter = [\"b\", \"lazy\"]"))
        .service("lazy", "write:asked ready sleep", "");
    let mut command = setup.command();
    fs::create_dir(setup.path("data")).expect("made");
    let opener = std::thread::spawn({
        let log = setup.path("data/log/a.log");
        move || {
            while !fs::read_to_string(&log).is_ok_and(|text| text.contains("first")) {
                std::thread::yield_now();
            }
            fs::write(gate, "").expect("opened");
        }
    });
    let system = setup.start_with(&mut command);
    opener.join().expect("opened");
    let mut log = system.log();
    let order = ["first", "second", "third"].map(|text| {
        loop {
            let (service, line) = log.next();
            if line == text {
                return service;
            }
        }
    });
    assert_eq!(order, ["a", "b", "c"]);
    let services = system.call("services", json!({})).expect("services");
    let listed: Vec<String> = services
        .as_array()
        .expect("a list")
        .iter()
        .map(|service| format!("{} {}", service["name"].as_str().expect("a name"), service["state"]))
        .collect();
    let expected = ["logd", "gateway", "a", "lazy", "b", "c"].map(|name| format!("{name} \"running\""));
    assert_eq!(listed, expected, "in start order");
}

#[test]
fn init_says_that_it_is_ready_to_whoever_started_it() {
    let setup = Setup::new();
    let path = setup.path("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let setup = setup.service("kv", "ready sleep", BOOT).service("files", "ready sleep", "");
    let mut command = setup.command();
    command.env("NOTIFY_SOCKET", &path);
    let system = setup.start_with(&mut command);
    let mut buffer = [0; 64];
    let count = socket.recv(&mut buffer).expect("a notification");
    assert_eq!(&buffer[..count], b"READY=1");
    let line = system.log().until("init", "up in");
    let (_, rest) = line.split_once(" s: ").expect("a time");
    assert_eq!(rest, "logd, gateway, kv · at the first call: files");
}

#[test]
fn the_first_call_starts_an_arc_and_its_idle_exit_refuses_nobody() {
    // Each process answers one call and leaves: the second call finds nobody, or somebody who leaves, and is answered.
    let system = Setup::new().service("kv", "ready serve:mcp exit:0", "idle_exit = \"1s\"").start();
    assert_eq!(system.info("kv")["state"], "listening");
    for number in 0..10 {
        assert_eq!(system.ask("kv", &number.to_string()), number.to_string());
    }
    let path = system.data("run/mcp/kv.sock");
    let crowd: Vec<_> = (0..8).map(|_| UnixStream::connect(&path).expect("nobody is refused")).collect();
    for mut stream in crowd {
        use std::io::{Read, Write};
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(b"hello\n").expect("written");
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"hello\n");
    }
    assert_eq!(system.info("kv")["restarts"], 0, "a clean exit is no failure");
}

#[test]
fn a_service_that_speaks_on_stdio_gets_one_connection() {
    let system = Setup::new().service("echo", "stdio", "transport = \"stdio\"").start();
    assert_eq!(system.ask("echo", "one"), "one");
    assert_eq!(system.ask("echo", "two"), "two");
    let mut log = system.log();
    log.until_state("echo", "running");
    log.until_state("echo", "listening");
}

#[test]
fn a_service_on_stdio_that_does_not_end_with_its_connection_is_ended() {
    let more = "transport = \"stdio\"\nstop_timeout = \"100ms\"";
    let system = Setup::new().service("deaf", "stdio deaf sleep", more).start();
    for word in ["one", "two"] {
        assert_eq!(system.ask("deaf", word), word);
    }
    let mut log = system.log();
    for state in ["running", "stopping", "listening"] {
        log.until_state("deaf", state);
    }
}

#[test]
fn a_service_inherits_what_its_plan_says_and_nothing_else() {
    let setup = Setup::new()
        .service(
            "kv",
            "fds limits environment ready sleep",
            "activation = \"boot\"\nlisten = [\"sites\"]\n[env]\nMODE = \"quick\"\n[[cage.mounts]]\npath = \"/data/x/y\"",
        )
        .argument("--config");
    let config = setup.path("llmbasedos.toml");
    fs::write(&config, "[arcs.kv]\nsize = 3\n").expect("written");
    let setup = setup.argument(config.to_str().expect("a text"));
    let mut command = setup.command();
    command.env("OPENAI_API_KEY", "secret").env("RUST_LOG", "debug").env("LANG", "C.UTF-8");
    let system = setup.start_with(&mut command);

    let lines = system.call("logs", json!({"name": "kv"})).expect("lines");
    let lines: Vec<&str> = lines.as_array().expect("a list").iter().filter_map(|line| line["text"].as_str()).collect();
    let data = system.data("").canonicalize().expect("there");
    let data = data.display();
    assert_eq!(lines[0], "open [0, 1, 2, 3, 4] named mcp:sites");
    for expected in [
        "Max core file size 0 0 bytes",
        "Umask: 0077",
        "NoNewPrivs: 1",
        "SigBlk: 0000000000000000",
        "session true",
        "MODE=quick",
        "RUST_LOG=debug",
        "LANG=C.UTF-8",
        "ARC_NAME=kv",
        "LISTEN_FDS=2",
        &format!("in {data}/arcs/kv"),
        &format!("HOME={data}/arcs/kv"),
        &format!("ARC_DATA={data}"),
        &format!("MCP_GATEWAY={data}/run/callers/kv.sock"),
        &format!("ARC_SETTINGS={data}/run/settings/kv.toml"),
    ] {
        assert!(lines.contains(&expected), "{expected:?} not in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:#?}");
    assert_eq!(fs::read_to_string(system.data("run/settings/kv.toml")).expect("there"), "size = 3\n");
    assert!(system.data("x/y").is_dir(), "the folder of its mount");
}

#[test]
fn the_gateway_gets_its_listeners_and_keeps_them_over_a_restart() {
    let setup = Setup::new();
    setup.gateway("fds ready control");
    let system = setup.start();
    let mut log = system.log();
    let line = log.until("init", "listening: gateway on ");
    let address = line.strip_prefix("listening: gateway on ").expect("an address").to_owned();
    assert_eq!(log.until("gateway", "open "), "open [0, 1, 2, 3, 4, 5] named gateway.sock:control:gateway");
    let first = system.pid_of("gateway");
    let waiting = [TcpStream::connect(&address).expect("TCP"), TcpStream::connect(&address).expect("TCP")];
    system.call("restart", json!({"name": "gateway"})).expect("restarted");
    TcpStream::connect(&address).expect("still there");
    UnixStream::connect(system.data("run/mcp/gateway.sock")).expect("still there");
    assert_ne!(system.pid_of("gateway"), first);
    drop(waiting);
}
