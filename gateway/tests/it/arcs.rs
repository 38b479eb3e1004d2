//! Many calls on one connection, Arcs that call each other, die, hang, come and go.

use serde_json::{Value, json};

use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

fn kv() -> FakeArc {
    FakeArc::new("kv", "", json!([tool("get", &["key"])]))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_one_connection_and_are_answered_as_they_end() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    for id in 0..32 {
        client.send(format!("{{\"id\":{id},\"method\":\"mcp.kv.get\",\"params\":[\"{id}\"]}}\n")).await;
    }
    let mut calls = Vec::new();
    for _ in 0..32 {
        calls.push(kv.next().await);
    }
    for call in calls.iter().rev() {
        call.answer(call.arguments());
        let answer = client.receive().await;
        assert_eq!(answer["result"]["key"], answer["id"].to_string(), "{answer}");
        assert_eq!(&answer["result"], call.arguments());
    }
    assert_eq!(kv.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_arcs_that_call_back_at_once_do_not_hang() {
    let names = ["a", "b", "c", "d"];
    let arcs = names.map(|name| FakeArc::new(name, "calls = [\"kv.*\"]\n", json!([tool("work", &[])])));
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&arcs[0], &arcs[1], &arcs[2], &arcs[3], &kv]).await;
    let mut client = system.owner().await;
    for (id, name) in names.iter().enumerate() {
        client.send(format!("{{\"id\":{id},\"method\":\"mcp.{name}.work\"}}\n")).await;
    }
    let mut working = Vec::new();
    for arc in &arcs {
        working.push((arc.next().await, arc.caller().await));
    }
    for (call, caller) in &mut working {
        let meta = json!({ "llmbasedos/caller": { "run": call.run() } });
        let params = json!({ "name": "kv.get", "arguments": { "key": call.run() }, "_meta": meta });
        caller.send_json(&json!({ "id": 1, "method": "tools/call", "params": params })).await;
    }
    for (call, caller) in &mut working {
        let answer = caller.receive().await;
        assert_eq!(answer["result"]["structuredContent"], json!({ "key": call.run() }), "{answer}");
        call.answer(&json!("done"));
    }
    for _ in names {
        assert_eq!(client.receive().await["result"], "done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_or_abandoned_is_cancelled_at_the_arc() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":\"c\",\"method\":\"tools/call\",\"params\":{\"name\":\"kv.get\"}}\n").await;
    let call = kv.next().await;
    client.send("{\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"c\"}}\n").await;
    let cancelled = kv.next().await;
    assert_eq!(cancelled.message["method"], "notifications/cancelled");
    assert_eq!(cancelled.message["params"]["requestId"], call.message["id"]);
    call.answer(&json!("too late"));
    assert_eq!(client.ask("ping", &Value::Null).await["result"], json!({}), "a cancelled request is not answered");

    client.send("{\"id\":2,\"method\":\"mcp.kv.get\"}\n").await;
    let call = kv.next().await;
    drop(client);
    assert_eq!(kv.next().await.message["params"]["requestId"], call.message["id"]);

    let mut client = system.owner().await;
    client.send("{\"id\":3,\"method\":\"mcp.kv.get\"}\n").await;
    let call = kv.next().await;
    client.finish().await;
    drop(client);
    assert_eq!(kv.next().await.message["params"]["requestId"], call.message["id"], "gone after it sent no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_ended() {
    let more = "timeout = \"200ms\"\n[tools.slow]\ntimeout = \"1h\"\n";
    let kv = FakeArc::new("kv", more, json!([tool("get", &[]), tool("slow", &[])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let short = json!({ "name": "kv.slow", "_meta": { "llmbasedos/timeout_ms": 100 } });
    let table = [
        (json!({ "name": "kv.get" }), "kv.get did not answer within 200 ms"),
        (json!({ "name": "kv.get", "_meta": { "llmbasedos/timeout_ms": 10_000_000 } }), "within 200 ms"),
        (short, "kv.slow did not answer within 100 ms"),
    ];
    for (params, words) in table {
        let answer = client.ask("tools/call", &params).await;
        assert!(answer["error"]["message"].as_str().is_some_and(|error| error.contains(words)), "{answer}");
        let call = kv.next().await;
        assert_eq!(kv.next().await.message["params"]["requestId"], call.message["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_arc_dies_its_calls_fail_at_once_and_the_next_is_answered() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n{\"id\":2,\"method\":\"mcp.kv.get\"}\n").await;
    let _calls = (kv.next().await, kv.next().await);
    kv.die();
    for _ in 0..2 {
        let error = client.receive().await["error"].clone();
        assert_eq!(error["code"], -32603);
        let words = "kv ended while it was working on this call; it is being started again: try again";
        assert_eq!(error["message"], words);
    }
    client.send("{\"id\":3,\"method\":\"mcp.kv.get\"}\n").await;
    kv.next().await.answer(&json!("again"));
    assert_eq!(client.receive().await["result"], "again");
    assert_eq!(kv.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arc_that_is_about_to_exit_loses_no_call() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\",\"params\":[\"old\"]}\n").await;
    let old = kv.next().await;
    old.send(json!({ "jsonrpc": "2.0", "method": "notifications/llmbasedos/draining" }));
    // The gateway has read the notification once it has passed on what came after it.
    old.answer(&json!("old"));
    assert_eq!(client.receive().await["result"], "old");
    // What it waits for before it exits.
    kv.closed().await;
    client.send("{\"id\":2,\"method\":\"mcp.kv.get\",\"params\":[\"new\"]}\n").await;
    kv.next().await.answer(&json!("new"));
    assert_eq!(client.receive().await["result"], "new");
    assert_eq!(kv.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_will_not_come_is_answered_for() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    kv.hang();
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n").await;
    system.set_service("kv", "failed", Some("exited with code 1, five times in 10 s")).await;
    let error = client.receive().await["error"]["message"].clone();
    let words = "kv has failed: exited with code 1, five times in 10 s. Its log: luca-run system.logs '[\"kv\"]'. \
                 To start it: luca-run system.start '[\"kv\"]'";
    assert_eq!(error, words);
    assert_eq!(client.ask("mcp.kv.get", &json!([])).await["error"]["message"], words);
    system.set_service("kv", "stopped", None).await;
    let error = client.ask("mcp.kv.get", &json!([])).await["error"]["message"].clone();
    assert_eq!(error, "kv is stopped. To start it: luca-run system.start '[\"kv\"]'");
}

#[tokio::test(flavor = "multi_thread")]
async fn arcs_come_and_go() {
    let (kv, files) = (kv(), FakeArc::echo("files", "namespace = \"fs\"\n", json!([tool("list", &["path"])])));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    assert_eq!(client.ask("mcp.fs.list", &json!(["/"])).await["error"]["code"], -32601);
    system.add(&files).await;
    assert_eq!(client.ask("mcp.fs.list", &json!(["/"])).await["result"], json!({ "path": "/" }));
    let mut caller = files.caller().await;
    assert_eq!(caller.ask("ping", &Value::Null).await["result"], json!({}));

    client.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n").await;
    let _call = kv.next().await;
    system.remove(&files).await;
    assert_eq!(client.ask("mcp.fs.list", &json!(["/"])).await["error"]["code"], -32601);
    let methods = client.ask("mcp.hello", &json!([])).await["result"].to_string();
    assert!(methods.contains("mcp.kv.get") && !methods.contains("mcp.fs"), "{methods}");
    assert!(caller.receive_raw().await.is_none(), "a removed Arc is shown out");

    system.remove(&kv).await;
    let error = client.receive().await["error"]["message"].clone();
    assert_eq!(error, "kv was removed while it was working on this call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_manifest_counts_at_once_and_the_connection_stays() {
    let mut kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    assert_eq!(client.ask("mcp.store.get", &json!(["a"])).await["error"]["code"], -32601);
    assert_eq!(client.ask("mcp.kv.get", &json!(["a"])).await["result"], json!({ "key": "a" }));
    kv.set_manifest("aliases = [\"store\"]\n");
    kv.set_tools(json!([tool("get", &["name"])]));
    system.add(&kv).await;
    assert_eq!(client.ask("mcp.store.get", &json!(["a"])).await["result"], json!({ "name": "a" }));
    assert_eq!(kv.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_comes_back_under_the_callers_token() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let params = json!({ "name": "kv.get", "_meta": { "progressToken": "mine" } });
    client.send_json(&json!({ "id": 1, "method": "tools/call", "params": params })).await;
    let call = kv.next().await;
    let token = call.meta()["progressToken"].clone();
    let stream = json!({ "llmbasedos/stream": true });
    let progress = json!({ "progressToken": token, "progress": 1, "total": 2, "message": "half", "_meta": stream });
    call.send(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": progress }));
    call.answer(&json!("done"));
    let notification = client.receive().await;
    assert_eq!(notification["method"], "notifications/progress");
    let expected = json!({ "progressToken": "mine", "progress": 1, "total": 2, "message": "half", "_meta": stream });
    assert_eq!(notification["params"], expected);
    assert_eq!(client.receive().await["result"]["structuredContent"], "done");

    client.send("{\"id\":2,\"method\":\"mcp.kv.get\"}\0").await;
    let call = kv.next().await;
    assert!(call.meta().get("progressToken").is_none(), "the dialect has no progress");
    call.answer(&json!(1));
    client.receive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_calls_on_one_connection_are_refused() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    for id in 0..65 {
        client.send(format!("{{\"id\":{id},\"method\":\"mcp.kv.get\"}}\n")).await;
    }
    let refused = client.receive().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(64), &json!(-32001)), "{refused}");
    for _ in 0..64 {
        kv.next().await.answer(&json!(1));
        assert_eq!(client.receive().await["result"], 1);
    }
    client.send("{\"id\":65,\"method\":\"mcp.kv.get\"}\n").await;
    kv.next().await.answer(&json!("room again"));
    assert_eq!(client.receive().await["result"], "room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_does_not_hold_up_the_others() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let (mut deaf, mut other) = (system.owner().await, system.owner().await);
    let long = "x".repeat(1 << 20);
    for id in 0..8 {
        let line = format!("{{\"id\":{id},\"method\":\"mcp.kv.get\",\"params\":[\"{long}\"]}}\n");
        // Its reading stops once enough answers wait for it, so this stops too.
        if tokio::time::timeout(std::time::Duration::from_secs(1), deaf.send(line)).await.is_err() {
            break;
        }
    }
    assert_eq!(other.ask("mcp.kv.get", &json!(["quick"])).await["result"], json!({ "key": "quick" }));
}
