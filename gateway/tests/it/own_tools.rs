//! What the gateway itself offers: the machine by way of init, the Arcs, the licence.

use serde_json::json;

use crate::fake_arc::FakeArc;
use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_is_steered_through_init() {
    let mut system = System::start(&[]).await;
    let mut client = system.owner().await;
    for verb in ["start", "stop", "restart"] {
        let answer = client.ask(&format!("mcp.system.{verb}"), &json!(["kv"])).await;
        assert_eq!((&answer["result"]["name"], &answer["result"]["state"]), (&json!("kv"), &json!(verb)), "{answer}");
        let asked = system.asked.recv().await.expect("a request");
        assert_eq!((&asked["method"], &asked["params"]), (&json!(verb), &json!({ "name": "kv" })));
    }
    client.ask("mcp.system.logs", &json!(["kv", 20])).await;
    let asked = system.asked.recv().await.expect("a request");
    assert_eq!(
        (&asked["method"], &asked["params"]),
        (&json!("logs"), &json!({ "name": "kv", "lines": 20, "follow": false }))
    );
    let error = client.ask("mcp.system.start", &json!(["nobody"])).await["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!(-32602), &json!("there is no service nobody")));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_arguments_are_checked() {
    let mut system = System::start(&[]).await;
    let mut client = system.owner().await;
    for (tool, arguments) in [
        ("system.start", json!({})),
        ("system.start", json!({ "name": "Not A Name" })),
        ("system.start", json!({ "name": "kv", "force": true })),
        ("system.logs", json!({ "line": 3 })),
    ] {
        let error = client.call(tool, &arguments).await["error"].clone();
        assert_eq!(error["code"], -32602, "{tool} {arguments}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| message.starts_with(tool)), "{error}");
    }
    assert!(system.asked.try_recv().is_err(), "init was not bothered");
}

#[tokio::test(flavor = "multi_thread")]
async fn arcs_and_licence_are_told() {
    let kv = FakeArc::new("kv", "calls = [\"fs.*\"]\n", json!([]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let arcs = client.ask("mcp.arc.list", &json!([])).await["result"].clone();
    assert_eq!((&arcs[0]["name"], &arcs[0]["calls"]), (&json!("kv"), &json!(["fs.*"])));
    let licence = client.ask("mcp.licence.check", &json!([])).await["result"].clone();
    assert_eq!((&licence["status"], &licence["licence"]), (&json!("ok"), &json!("Apache-2.0 OR MIT")));
    let standard = client.call("system.services", &json!({})).await["result"].clone();
    assert_eq!((&standard["structuredContent"], &standard["content"][0]["text"]), (&json!([]), &json!("[]")));
}
