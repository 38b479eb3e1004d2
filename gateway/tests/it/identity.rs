//! An Arc is known by the socket that it calls on; what it says of itself counts for nothing.

use serde_json::{Value, json};

use crate::client::Client;
use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

async fn call_in_run(client: &mut Client, tool: &str, run: &str) -> Value {
    let meta = json!({ "llmbasedos/caller": { "run": run, "who": "owner", "labels": [] } });
    client.ask("tools/call", &json!({ "name": tool, "_meta": meta })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arc_may_call_what_its_manifest_names() {
    let awake = FakeArc::new("awake", "calls = [\"kv.get\", \"system.*\"]\n", json!([tool("tick", &[])]));
    let kv = FakeArc::new("kv", "aliases = [\"store\"]\n", json!([tool("get", &[]), tool("set", &[])]));
    let _system = System::start(&[&awake, &kv]).await;
    let mut caller = awake.caller().await;
    caller.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n").await;
    let call = kv.next().await;
    assert_eq!(call.meta()["llmbasedos/caller"]["who"], "arc:awake");
    call.answer(&json!(1));
    assert_eq!(caller.receive().await["result"], 1);
    for refused in ["kv.set", "store.set"] {
        let error = caller.call(refused, &json!({})).await["error"].clone();
        assert_eq!(error["code"], -32002);
        assert_eq!(error["message"], "awake may not call kv.set: add it to `calls` in its manifest");
    }
    let error = caller.call("system.stop", &json!({ "name": "kv" })).await["error"].clone();
    assert_eq!(error["code"], -32002, "{error}");
    let listed = caller.ask("tools/list", &json!({})).await["result"]["tools"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "it sees what it may call: {listed}");
    let hint = caller.call("kvv.set", &json!({})).await["error"]["message"].to_string();
    assert!(hint.contains("kv.get") && !hint.contains("kv.set"), "hints name nothing that is not for it: {hint}");
    assert!(!kv.has_more());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arc_calls_in_the_runs_that_it_works_on_and_no_others() {
    let more = "calls = [\"kv.get\"]\n";
    let (a, b) =
        (FakeArc::new("a", more, json!([tool("work", &[])])), FakeArc::new("b", more, json!([tool("work", &[])])));
    let kv = FakeArc::new("kv", "returns = \"private\"\n", json!([tool("get", &[])]));
    let system = System::start(&[&a, &b, &kv]).await;
    let mut owner = system.owner().await;
    owner.send("{\"id\":1,\"method\":\"mcp.a.work\"}\n").await;
    let work = a.next().await;
    let run = work.run();
    assert_eq!(work.meta()["llmbasedos/caller"], json!({ "who": "owner", "run": run, "labels": [] }));

    let (mut of_a, mut of_b) = (a.caller().await, b.caller().await);
    assert_eq!(call_in_run(&mut of_b, "kv.get", &run).await["error"]["code"], -32002, "b works on nothing");
    assert_eq!(call_in_run(&mut owner, "kv.get", &run).await["error"]["code"], -32002, "a person begins runs");
    assert_eq!(call_in_run(&mut of_a, "kv.get", "r-000000000000").await["error"]["code"], -32002);

    for labels in [json!([]), json!(["private"])] {
        let meta = json!({ "llmbasedos/caller": { "run": run, "who": "owner" } });
        of_a.send_json(&json!({ "id": 1, "method": "tools/call", "params": { "name": "kv.get", "_meta": meta } }))
            .await;
        let call = kv.next().await;
        assert_eq!(call.meta()["llmbasedos/caller"], json!({ "who": "arc:a", "run": run, "labels": labels }));
        call.answer(&json!(1));
        of_a.receive().await;
    }

    of_a.send("{\"id\":2,\"method\":\"mcp.kv.get\"}\n").await;
    let call = kv.next().await;
    assert_ne!(call.run(), run, "without a name a run begins");
    call.answer(&json!(1));
    of_a.receive().await;

    work.answer(&json!("done"));
    assert_eq!(owner.receive().await["result"], "done");
    assert_eq!(call_in_run(&mut of_a, "kv.get", &run).await["error"]["code"], -32002, "the run is over");
}
