//! `luca-run`, from outside.

use serde_json::{Value, json};

use crate::gateway::{Gateway, stale_socket};
use crate::program::{Ended, Program};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn run(gateway: &Gateway, arguments: &[&str]) -> Ended {
    let home = home();
    Program::run(home.path(), arguments).gateway(&gateway.address).end()
}

#[test]
fn the_examples_of_the_manual_work_on_both_transports() {
    let home = home();
    for gateway in [Gateway::unix(home.path()), Gateway::web_socket()] {
        let set = run(&gateway, &["mcp.kv.set", r#"["hello", "world"]"#]);
        assert_eq!((set.code, set.out.as_str()), (0, "{\"status\":\"ok\"}\n"), "{set:?}");
        let get = run(&gateway, &["mcp.kv.get", r#"["hello"]"#]);
        assert_eq!((get.code, get.out.as_str()), (0, "\"world\"\n"), "{get:?}");
        let tick = run(&gateway, &["mcp.awake.tick"]);
        assert_eq!((tick.code, tick.out.as_str()), (0, "{\"triggered\":true}\n"), "{tick:?}");
    }
}

#[test]
fn only_plain_words_ask_for_the_catalogue_which_wakes_every_arc() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let called = |arguments: &[&str]| {
        assert_eq!(run(&gateway, arguments).code, 0, "{arguments:?}");
        gateway.methods().split_off(2)
    };
    assert_eq!(called(&["awake.tick"]), ["tools/call"]);
    assert_eq!(called(&["awake.tick", "[]"]), ["tools/call"]);
    assert_eq!(called(&["kv.get", r#"{"key": "hello"}"#]), ["tools/call"]);
    assert_eq!(called(&["kv.get", r#"["hello"]"#]), ["mcp.kv.get"]);
    assert_eq!(called(&["hello"]), ["mcp.hello"]);
    assert_eq!(called(&["kv.get", "hello"]), ["tools/list", "tools/call"]);
}

#[test]
fn plain_words_take_the_types_of_the_schema() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    assert_eq!(run(&gateway, &["kv.set", "5", "value=5", "ttl_s=60"]).code, 0);
    let call = gateway.wait_for_call("kv.set");
    assert_eq!(call["params"]["arguments"], json!({"key": "5", "value": 5, "ttl_s": 60}));
}

#[test]
fn json_may_come_from_the_standard_input() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let piped = |arguments: &[&str], input: &str| {
        Program::run(home.path(), arguments).gateway(&gateway.address).input(input).end()
    };
    assert_eq!(piped(&["kv.get"], "[\"hello\"]\n").out, "\"world\"\n");
    assert_eq!(piped(&["kv.get", "-"], "{\"key\": \"hello\"}").out, "\"world\"\n");
    assert_eq!(piped(&["awake.tick"], "").code, 0);
    assert_eq!(piped(&["kv.get", "-"], "").code, 2);
    assert_eq!(piped(&["kv.get"], "{\"key\":").code, 2);
    // Who runs us may leave it open: a tool that needs no arguments is called, another one goes on waiting.
    let silent = |arguments: &[&str]| Program::run(home.path(), arguments).gateway(&gateway.address).silent().end();
    assert_eq!(silent(&["mcp.awake.tick"]).code, 0);
    let waiting = silent(&["kv.get", "--timeout", "10s"]);
    assert!(
        waiting.code == 4 && waiting.err.starts_with("reading the arguments from the standard input\n"),
        "{waiting:?}"
    );
    // What is given is not waited for on the standard input.
    assert_eq!(piped(&["kv.get", "[\"hello\"]"], "nonsense").out, "\"world\"\n");
}

#[test]
fn a_failed_tool_is_an_error_of_three_parts_or_json() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let failed = run(&gateway, &["test.fail", "keyword="]);
    assert_eq!((failed.code, failed.out.as_str()), (1, ""));
    assert_eq!(
        failed.err,
        "error: test.fail: keyword must not be empty (at /keyword)\n  try   luca-run test.fail keyword=\"self custody\"\n"
    );
    let failed = run(&gateway, &["test.fail", "--json"]);
    let error: Value = serde_json::from_str(&failed.err).expect("JSON");
    assert_eq!((&error["kind"], &error["code"], &error["tool"]), (&json!("tool"), &json!(-32602), &json!("test.fail")));
    assert_eq!(error["problems"][0]["path"], "/keyword");
    let unknown = run(&gateway, &["kvv.get", "hello"]);
    assert_eq!((unknown.code, unknown.err.as_str()), (1, "error: there is no tool kvv.get. Close to it: kv.get\n"));
}

#[test]
fn a_wrong_command_line_is_told_before_anything_is_asked() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let nested = "[".repeat(100_000);
    for arguments in [
        &["kv.set", "[\"hello\","] as &[&str],
        &["kv.set", &nested],
        &["kv.get", "--timeout", "soon"],
        &["kv.get", "--gateway", "http://localhost"],
        &["kv.get", "--nonsense"],
        &[],
    ] {
        let ended = run(&gateway, arguments);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended:?}");
        assert!(ended.err.starts_with("error: "), "{ended:?}");
    }
    assert!(gateway.methods().is_empty());
}

#[test]
fn where_no_system_runs_it_says_where_it_looked_and_what_to_do() {
    let home = home();
    let ended = Program::run(home.path(), &["kv.get", "[]"]).end();
    assert_eq!(ended.code, 3, "{ended:?}");
    for part in ["no running system was found", "data/run/mcp/gateway.sock", "try   scripts/run"] {
        assert!(ended.err.contains(part), "{part} in {ended:?}");
    }
}

#[test]
fn a_stale_socket_is_told_from_a_running_system() {
    let home = home();
    let path = stale_socket(home.path());
    let ended = Program::run(home.path(), &["kv.get", "[]", "--gateway", &format!("unix:{}", path.display())]).end();
    assert_eq!(ended.code, 3);
    assert!(ended.err.starts_with("error: nobody answers at unix:"), "{ended:?}");
    assert!(ended.err.contains("is the system running? scripts/run starts it"), "{ended:?}");
}

#[test]
fn a_running_system_is_found_from_below_its_folder_and_from_elsewhere() {
    let home = home();
    let socket = home.path().join("project/data/run/mcp/gateway.sock");
    let _gateway = Gateway::on(&socket);
    let deep = home.path().join("project/src/deep");
    std::fs::create_dir_all(&deep).expect("made");
    let below = Program::run(home.path(), &["kv.get", r#"["hello"]"#]).folder(&deep).end();
    assert_eq!(below.out, "\"world\"\n", "{below:?}");
    let note = home.path().join(".cache/llmbasedos/gateway");
    std::fs::create_dir_all(note.parent().expect("a folder")).expect("made");
    std::fs::write(&note, socket.display().to_string()).expect("written");
    let elsewhere = Program::run(home.path(), &["kv.get", r#"["hello"]"#]).end();
    assert_eq!(elsewhere.out, "\"world\"\n", "{elsewhere:?}");
}

#[test]
fn a_time_out_cancels_the_call() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let ended = run(&gateway, &["test.slow", "--timeout", "2s"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("error: test.slow gave no answer within 2 s"), "{ended:?}");
    let call = gateway.wait_for_call("test.slow");
    let cancelled = gateway.wait_for(|message| message["method"] == "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], call["id"]);
}

#[test]
fn ctrl_c_cancels_the_call_on_both_transports() {
    let home = home();
    for gateway in [Gateway::unix(home.path()), Gateway::web_socket()] {
        let program = Program::run(home.path(), &["test.slow"]).gateway(&gateway.address).start();
        let call = gateway.wait_for_call("test.slow");
        program.interrupt();
        let cancelled = gateway.wait_for(|message| message["method"] == "notifications/cancelled");
        assert_eq!(cancelled["params"]["requestId"], call["id"]);
        let ended = program.end();
        assert_eq!(ended.code, 130, "{ended:?}");
        assert!(ended.err.ends_with("cancelled\n"), "{ended:?}");
    }
}

#[test]
fn progress_in_a_pipe_is_a_line_a_message_and_may_be_silenced() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let loud = run(&gateway, &["awake.tick"]);
    assert_eq!(loud.err, "think    \"How to move coins\"\nwrite    section 2 (2/4)\n");
    assert_eq!(run(&gateway, &["awake.tick", "--quiet"]).err, "");
    let chat = run(&gateway, &["llm.chat", "{}"]);
    assert!(chat.err.is_empty() && chat.out.contains("\"content\":\"Hello there\""), "{chat:?}");
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let ended = run(&gateway, &["test.hostile"]);
    ended.assert_harmless();
    let value: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(value["text"], crate::gateway::HOSTILE);
    assert!(ended.err.contains("\\u{1b}]0;owned"), "{ended:?}");
    for arguments in [&["test.hostile_failure"] as &[&str], &["test.hostile_failure", "--json"]] {
        let ended = run(&gateway, arguments);
        assert_eq!(ended.code, 1);
        ended.assert_harmless();
    }
}

#[test]
fn a_connection_that_breaks_is_told_from_a_failed_tool() {
    let home = home();
    for gateway in [Gateway::unix(home.path()), Gateway::web_socket()] {
        let ended = run(&gateway, &["test.drop"]);
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(ended.err.contains("was lost") && ended.err.contains("may or may not"), "{ended:?}");
    }
}

#[test]
fn a_large_argument_arrives_whole() {
    let home = home();
    let value = "x".repeat(3 << 20);
    for gateway in [Gateway::unix(home.path()), Gateway::web_socket()] {
        let input = json!({"key": "k", "value": value}).to_string();
        let ended = Program::run(home.path(), &["kv.set", "-"]).gateway(&gateway.address).input(&input).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(gateway.wait_for_call("kv.set")["params"]["arguments"]["value"], value);
    }
}

#[test]
fn the_help_tells_the_exit_codes() {
    let home = home();
    let ended = Program::run(home.path(), &["--help"]).end();
    assert!(ended.code == 0 && ended.out.contains("Exit codes:") && ended.out.contains("130"), "{ended:?}");
}
