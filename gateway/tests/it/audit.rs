//! Every call is written down, in a chain that goes on over restarts and shows what was changed.

use std::fs;

use serde_json::{Value, json};

use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_chained_over_restarts_and_changes_show() {
    let kv = FakeArc::echo("kv", "returns = \"private\"\n", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.call("kv.get", &json!({ "key": "a" })).await;
    client.call("kv.got", &json!({})).await;
    drop(client);
    let folder = system.stop().await;
    let system = System::start_in(folder, &[&kv]).await;
    system.owner().await.ask("mcp.kv.get", &json!(["b"])).await;
    let folder = system.stop().await;

    let file = System::audit_file(folder.path());
    let text = fs::read_to_string(&file).expect("an audit file");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(gateway::verify(text.as_bytes()).ok(), Some(3));
    let [first, unknown, last] = lines.as_slice() else { panic!("three calls: {text}") };
    assert_eq!((&first["seq"], &first["who"], &first["tool"]), (&json!(1), &json!("owner"), &json!("kv.get")));
    assert_eq!(first["args"], blake3::hash(br#"{"key":"a"}"#).to_hex().as_str());
    assert!(first["run"].as_str().is_some_and(|run| run.starts_with("r-")));
    assert_eq!((&first["ok"], &first["code"]), (&json!(true), &Value::Null));
    assert_eq!((&unknown["ok"], &unknown["code"], &unknown["tool"]), (&json!(false), &json!(-32602), &json!("kv.got")));
    assert_eq!(last["seq"], 3);

    assert!(gateway::verify(text.replace("\"kv.got\"", "\"kv.get\"").as_bytes()).is_err(), "a changed line");
    let without: Vec<&str> = text.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    assert!(gateway::verify((without.join("\n") + "\n").as_bytes()).is_err(), "a line taken out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_line_is_cut_off() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    system.owner().await.call("kv.get", &json!({})).await;
    let folder = system.stop().await;
    let file = System::audit_file(folder.path());
    let whole = fs::read_to_string(&file).expect("an audit file");
    fs::write(&file, whole + "{\"seq\":2,\"ti").expect("written");
    let system = System::start_in(folder, &[&kv]).await;
    system.owner().await.call("kv.get", &json!({})).await;
    let folder = system.stop().await;
    let text = fs::read(System::audit_file(folder.path())).expect("an audit file");
    assert_eq!(gateway::verify(text.as_slice()).ok(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_when_they_cannot_be_written_down() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_way = folder.path().join("log");
    fs::write(&in_the_way, "").expect("written");
    let system = System::start_in(folder, &[&kv]).await;
    let mut client = system.owner().await;
    for _ in 0..3 {
        assert_eq!(client.ask("mcp.kv.get", &json!(["a"])).await["result"], json!({ "key": "a" }));
    }
    for tries in 0.. {
        assert!(tries < 1000, "they are counted");
        let status = client.ask("mcp.system.status", &json!([])).await["result"]["audit"].clone();
        let status = status.as_str().expect("it says so");
        assert!(status.starts_with("calls are not written down: "), "{status}");
        if !status.ends_with("they go on, 0 so far") {
            break;
        }
    }
    fs::remove_file(&in_the_way).expect("removed");
    assert_eq!(client.ask("mcp.kv.get", &json!(["a"])).await["result"], json!({ "key": "a" }));
    let folder = system.stop().await;
    let text = fs::read_to_string(System::audit_file(folder.path())).expect("an audit file");
    assert!(text.starts_with("{\"seq\":"), "{text}");
    assert_ne!(text.get(..9), Some("{\"seq\":1,"), "the gap shows");
    assert!(gateway::verify(text.as_bytes()).is_ok_and(|count| count > 0), "{text}");
}
