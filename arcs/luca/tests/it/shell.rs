//! `luca-shell` with its lines from a pipe.

use crate::gateway::{Gateway, stale_socket};
use crate::program::{Ended, Program};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn session(lines: &str) -> Ended {
    let home = home();
    let gateway = Gateway::unix(home.path());
    Program::shell(home.path(), &gateway.address, lines).end()
}

#[test]
fn each_line_gives_a_result_and_nothing_else() {
    let lines = "# a comment\n\nmcp.kv.set '[\"hello\", \"world\"]'\nkv.set hello world\nkv.get hello\nmcp.hello\n";
    let ended = session(lines);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.out, "{\"status\":\"ok\"}\n{\"status\":\"ok\"}\n\"world\"\n[\"mcp.kv.get\",\"mcp.kv.set\"]\n");
    assert_eq!(ended.err, "");
}

#[test]
fn both_ways_of_writing_reach_the_tool_by_name() {
    let home = home();
    let gateway = Gateway::web_socket();
    for line in [
        "mcp.kv.set '[\"hello\", \"world\"]'",
        "kv.set value=world hello",
        "kv.set {\"key\":\"hello\",\"value\":\"world\"}",
    ] {
        let ended = Program::shell(home.path(), &gateway.address, line).end();
        assert_eq!((ended.code, ended.out.as_str()), (0, "{\"status\":\"ok\"}\n"), "{ended:?}");
        let call = gateway.wait_for_call("kv.set");
        assert_eq!(call["params"]["arguments"], serde_json::json!({"key": "hello", "value": "world"}), "{line}");
    }
}

#[test]
fn a_failed_line_is_told_and_the_next_one_runs() {
    let ended = session("kvv.get hello\nkv.get 'open\nkv.get kee=1\ntest.fail keyword=\nkv.get hello\n");
    assert_eq!((ended.code, ended.out.as_str()), (1, "\"world\"\n"), "{ended:?}");
    let errors: Vec<&str> = ended.err.lines().collect();
    assert_eq!(
        errors,
        [
            "error: there is no tool kvv.get. Close to it: kv.get",
            "error: a quote (') is not closed",
            "error: kv.get has no argument kee. Close to it: key",
            "error: test.fail: keyword must not be empty (at /keyword)",
            "  try   test.fail keyword=\"self custody\"",
        ]
    );
}

#[test]
fn exit_leaves_at_once() {
    for word in ["exit", "quit"] {
        let ended = session(&format!("kv.get hello\n{word}\nkvv.get\n"));
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "\"world\"\n", ""));
    }
}

#[test]
fn a_lost_connection_is_told_and_made_again() {
    for gateway in [Gateway::unix(home().path()), Gateway::web_socket()] {
        let home = home();
        let _kept = &gateway;
        let ended = Program::shell(home.path(), &gateway.address, "test.drop\nkv.get hello\n").end();
        assert_eq!((ended.code, ended.out.as_str()), (1, "\"world\"\n"), "{ended:?}");
        assert!(ended.err.contains("was lost") && ended.err.contains("connected again to"), "{ended:?}");
    }
}

#[test]
fn the_words_of_the_files_work_from_a_folder() {
    let ended = session("pwd\nls\ncd sites\npwd\nrm -r old\ncd /nowhere\npwd\n");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[..2], ["/", "name       size    modified"]);
    assert!(lines[2].starts_with("sites/             ") && lines[3].starts_with("notes.txt  1.2 KB  "), "{ended:?}");
    assert_eq!(lines[4..], ["/sites", "/sites"]);
    assert!(ended.code == 1 && ended.err.contains("error: there is no tool fs.list"), "{ended:?}");
    let ended = session("cat notes.txt\n");
    assert!(ended.out.starts_with("line 1\n\\u{1b}]0;owned"), "{ended:?}");
    ended.assert_harmless();
    let ended = session("cat picture\n");
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("AA==\n", "this is base64: the file is image/png\n"));
    let ended = session("cat nothing\n");
    assert!(ended.code == 1 && ended.err.contains("there is no tool fs.read"), "{ended:?}");
}

#[test]
fn a_models_answer_is_its_text_and_raw_on_demand() {
    assert_eq!(session("llm say hello\n").out, "Hello there\n");
    let raw = session("llm say hello --json\n").out;
    assert!(raw.starts_with("{\"model\":\"tiny\"") && raw.ends_with("}\n"), "{raw}");
}

#[test]
fn help_is_made_of_the_live_catalogue() {
    let ended = session("help\n");
    for part in ["kv\n  kv.get", "Stores a value", "shell\n", "llm TEXT"] {
        assert!(ended.out.contains(part), "{part} in {ended:?}");
    }
    let page = session("help kv.get\n").out;
    for part in ["kv.get(key: string)", "Arc kv · reads", "mcp.kv.get '[\"hello\"]'", "luca-run kv.get hello"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let unknown = session("help kv.gett\n");
    assert!(unknown.err.contains("there is no tool kv.gett. Close to it: kv.get"), "{unknown:?}");
}

#[test]
fn ctrl_c_ends_a_script_and_cancels_its_call() {
    let home = home();
    let gateway = Gateway::unix(home.path());
    let program = Program::shell(home.path(), &gateway.address, "test.slow\nkv.get hello\n").start();
    let call = gateway.wait_for_call("test.slow");
    program.interrupt();
    let cancelled = gateway.wait_for(|message| message["method"] == "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], call["id"]);
    let ended = program.end();
    assert_eq!((ended.code, ended.out.as_str()), (130, ""), "{ended:?}");
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let ended = session("test.hostile\ntest.hostile --json\nmcp.test.hostile_failure\n");
    assert_eq!(ended.out.lines().count(), 2);
    ended.assert_harmless();
}

#[test]
fn without_a_system_a_script_does_not_start() {
    let home = home();
    let address = format!("unix:{}", stale_socket(home.path()).display());
    let ended = Program::shell(home.path(), &address, "pwd\n").end();
    assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{ended:?}");
    assert!(ended.err.contains("nobody answers at unix:"), "{ended:?}");
}
