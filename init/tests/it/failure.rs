//! What goes wrong with services, and that everything else runs.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::system::{Setup, manifest, processes_with, signal_to};

const BOOT: &str = "activation = \"boot\"";

#[test]
fn a_killed_service_comes_back_and_the_reason_is_kept() {
    let system = Setup::new().service("kv", "ready forever:mcp", BOOT).start();
    let mut log = system.log();
    let first = system.pid_of("kv");
    signal_to(first, Signal::SIGKILL);
    let backoff = log.until_state("kv", "backoff");
    assert_eq!(backoff["reason"], "killed by signal 9 (SIGKILL)");
    let running = log.until_state("kv", "running");
    assert_eq!(
        (&running["restarts"], &running["reason"]),
        (&json!(1), &json!("last failure: killed by signal 9 (SIGKILL)"))
    );
    assert_ne!(system.pid_of("kv"), first);
    assert_eq!(system.ask("kv", "still there"), "still there");
}

#[test]
fn what_fails_again_and_again_is_given_up_with_its_last_words_until_a_person_starts_it() {
    let setup = Setup::new();
    let gate = setup.path("mended");
    let script = format!("test -e {} || {{ echo 'no such table' >&2; exit 3; }}; exec sleep 1000", gate.display());
    let system = setup.script("broken", &script, "").service("kv", "ready forever:mcp", BOOT).start();
    let failed = system.log().until_state("broken", "failed");
    let expected = "failed 5 times within 60 s; the last time: exited with code 3: no such table";
    assert_eq!(failed["reason"], expected);
    assert_eq!(system.info("broken")["restarts"], 4);
    assert_eq!(system.ask("kv", "hello"), "hello", "everything else runs");
    fs::write(gate, "").expect("mended");
    let info = system.call("start", json!({"name": "broken"})).expect("it starts now");
    assert_eq!(info["state"], "running");
}

#[test]
fn a_service_that_does_not_get_ready_is_stopped_and_said_to_be_so() {
    let more = format!("{BOOT}\nstart_timeout = \"200ms\"\nstop_timeout = \"200ms\"\nrestart = \"never\"");
    let system = Setup::new().service("slow", "deaf status:loading sleep", &more).start();
    let failed = system.log().until_state("slow", "failed");
    assert_eq!(failed["reason"], "was not ready after 200 ms");
    assert_eq!(failed["pid"], json!(null));
}

#[test]
fn a_missing_program_and_a_listener_without_address_are_reasons_not_crashes() {
    let setup = Setup::new().service("dir", "ready sleep", &format!("{BOOT}\nlisten = [\"metrics\"]")).service(
        "plain",
        "ready sleep",
        BOOT,
    );
    for (name, program) in [("missing", "nowhere"), ("noexec", "notes")] {
        let text = manifest(name, "", BOOT).replace("\"fixture\"", &format!("{program:?}"));
        fs::write(setup.path("manifests").join(format!("{name}.toml")), text).expect("written");
    }
    fs::write(setup.path("bin/notes"), "no program").expect("written");
    let system = setup.start();
    let reason = |name: &str| {
        let info = system.info(name);
        assert_eq!(info["state"], "failed", "{info}");
        info["reason"].as_str().expect("a reason").to_owned()
    };
    let bin = system.setup.path("bin");
    let bin = bin.display();
    assert_eq!(
        reason("missing"),
        format!("{bin}/nowhere: not found: build or install it, or name its folder with --bin")
    );
    assert_eq!(reason("noexec"), format!("{bin}/notes: is not an executable file"));
    assert_eq!(reason("dir"), "the listener metrics has no address: set listen.metrics in llmbasedos.toml");
    assert_eq!(system.info("plain")["state"], "running");
    let error = system.call("start", json!({"name": "missing"})).expect_err("still missing");
    assert!(error.starts_with("missing did not start: ") && error.contains("not found"), "{error}");
}

#[test]
fn an_impossible_order_is_a_reason_and_a_failed_service_holds_nobody_up() {
    let system = Setup::new()
        .service("a", "ready sleep", &format!("{BOOT}\nafter = [\"b\"]"))
        .service("b", "ready sleep", &format!("{BOOT}\nafter = [\"a\"]"))
        .service("c", "ready sleep", &format!("{BOOT}\nafter = [\"gatewy\"]"))
        .service("d", "ready sleep", &format!("{BOOT}\nafter = [\"a\"]"))
        .start();
    assert_eq!(system.info("a")["reason"], "after: goes in a circle: a → b → a");
    assert_eq!(system.info("b")["state"], "failed");
    assert_eq!(system.info("c")["reason"], "after: there is no service gatewy. Close to it: gateway");
    assert_eq!(system.info("d")["state"], "running");
}

#[test]
fn a_broken_manifest_is_reported_whole_and_everything_else_runs() {
    let setup = Setup::new().service("kv", "ready forever:mcp", "");
    fs::write(setup.path("manifests/weather.toml"), "name = \"weather\"\nactivation = \"ondemand\"\nexec = []\n")
        .expect("written");
    fs::write(setup.path("manifests/zz.toml"), manifest("kv", "ready sleep", "")).expect("written");
    let system = setup.start();
    let mut log = system.log();
    let file = system.setup.path("manifests/weather.toml");
    let file = file.display();
    for expected in [
        format!("{file}:1: version: `version` is missing"),
        format!("{file}:1: description: `description` is missing"),
        format!("{file}:2: activation: must be \"boot\" or \"on-demand\""),
        "it was not started; everything else runs".to_owned(),
    ] {
        log.until("init", &expected);
    }
    let line = log.until("init", "the name kv is taken by");
    assert!(line.contains("zz.toml") && line.contains("manifests/kv.toml"), "both files are named: {line}");
    assert_eq!(system.ask("kv", "hello"), "hello");
}

#[test]
fn what_a_service_leaves_behind_goes_with_it() {
    let system = Setup::new().service("messy", "orphan ready forever:mcp", BOOT).start();
    let marked = || -> Vec<u32> {
        let mark =
            format!("NOTIFY_SOCKET={}", system.data("run/notify/messy.sock").canonicalize().expect("there").display());
        let has_mark = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
        };
        processes_with("").into_iter().filter(has_mark).collect()
    };
    assert!(marked().len() >= 2, "the service and its orphan");
    system.call("stop", json!({"name": "messy"})).expect("stopped");
    assert_eq!(marked(), [0; 0]);
    system.call("start", json!({"name": "messy"})).expect("started");
    let mut log = system.log();
    log.until_state("messy", "stopped");
    signal_to(system.pid_of("messy"), Signal::SIGKILL);
    log.until_state("messy", "backoff");
    log.until_state("messy", "running");
    let children = marked().len();
    assert!((2..=3).contains(&children), "one orphan, not two: {children}");
}

#[test]
fn an_arc_that_shuts_its_socket_down_gets_a_new_one() {
    let system = Setup::new().service("kv", "ready serve:mcp break:mcp exit:0", "").start();
    assert_eq!(system.ask("kv", "one"), "one");
    system.log().until_state("kv", "running");
    let mut log = system.log();
    log.until_state("kv", "listening");
    assert_eq!(system.ask("kv", "two"), "two");
}

#[test]
fn a_flood_starves_nobody_and_fills_no_disk() {
    let system = Setup::new().service("flood", "ready flood", BOOT).service("kv", "ready forever:mcp", BOOT).start();
    for number in 0..50 {
        assert_eq!(system.ask("kv", &number.to_string()), number.to_string());
        assert_eq!(system.info("kv")["state"], "running");
    }
    let rotated = system.data("log/flood.log.1");
    while !rotated.exists() {
        assert_eq!(system.info("flood")["state"], "running");
    }
    for name in ["log/flood.log", "log/flood.log.1"] {
        let size = fs::metadata(system.data(name)).map_or(0, |metadata| metadata.len());
        assert!(size < 2 * 1024 * 1024, "{name} has {size} bytes");
    }
    let info = system.call("stop", json!({"name": "flood"})).expect("it can be stopped");
    assert_eq!(info["state"], "stopped");
}
