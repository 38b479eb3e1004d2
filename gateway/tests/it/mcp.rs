//! Standard MCP of every revision.

use serde_json::{Value, json};

use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

fn kv() -> FakeArc {
    let odd = json!({ "name": "odd", "inputSchema": { "type": "object" }, "outputSchema": { "type": "array" } });
    FakeArc::new("kv", "", json!([tool("get", &["key"]), odd]))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_older_revision_is_agreed_on() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = system.owner().await;
        let result = client.initialize(version).await;
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "llmbasedos");
        assert_eq!(result["capabilities"]["tools"]["listChanged"], true);

        let list = client.ask("tools/list", &json!({})).await["result"].clone();
        assert!(list.get("resultType").is_none() && list.get("ttlMs").is_none(), "{list}");
        let odd = list["tools"].as_array().expect("tools").iter().find(|tool| tool["name"] == "kv.odd");
        assert!(odd.is_some_and(|odd| odd.get("outputSchema").is_none()), "only schemas of objects were known then");

        let params = json!({ "name": "kv.get", "arguments": { "key": "a" } });
        client.send_json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })).await;
        kv.next().await.answer(&json!([1]));
        let result = client.receive().await["result"].clone();
        assert_eq!(result, json!({ "content": [{ "type": "text", "text": "[1]" }] }));
    }
    let mut client = system.owner().await;
    assert_eq!(client.initialize("1999-12-31").await["protocolVersion"], "2025-11-25");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stateless_revision_needs_no_greeting() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let meta = |version: &str| {
        json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    };
    let discovered = client.ask("server/discover", &json!({ "_meta": meta("2026-07-28") })).await["result"].clone();
    assert_eq!(discovered["supportedVersions"][0], "2026-07-28");
    assert_eq!(discovered["resultType"], "complete");
    assert_eq!(discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "llmbasedos");

    let params = json!({ "name": "kv.get", "arguments": {}, "_meta": meta("2026-07-28") });
    client.send_json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })).await;
    kv.next().await.answer(&json!([1]));
    let result = client.receive().await["result"].clone();
    assert_eq!((&result["structuredContent"], &result["resultType"]), (&json!([1]), &json!("complete")));

    let error = client.ask("tools/list", &json!({ "_meta": meta("2031-01-01") })).await["error"].clone();
    assert_eq!((&error["code"], &error["data"]["requested"]), (&json!(-32022), &json!("2031-01-01")));
    assert_eq!(error["data"]["supported"][0], "2026-07-28");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_unknown() {
    let system = System::start(&[]).await;
    let mut client = system.owner().await;
    assert_eq!(client.ask("ping", &Value::Null).await["result"], json!({}));
    for method in ["resources/list", "prompts/list", "tools/cal", ""] {
        assert_eq!(client.ask(method, &json!({})).await["error"]["code"], -32601, "{method}");
    }
    let hint = client.ask("tools/cal", &json!({})).await["error"]["message"].clone();
    assert_eq!(hint, "there is no method tools/cal. Close to it: tools/call, tools/list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_tool_is_a_result_and_an_error_of_the_arc_stays_one() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"kv.get\"}}\n").await;
    let failed = json!({ "content": [{ "type": "text", "text": "no" }], "isError": true, "resultType": "complete" });
    kv.next().await.answer_result(&failed);
    assert_eq!(client.receive().await["result"], failed);
    client.send("{\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"kv.get\"}}\n").await;
    let call = kv.next().await;
    let error = json!({ "code": -32602, "message": "odd", "data": { "a": [1] } });
    call.send(json!({ "jsonrpc": "2.0", "id": call.message["id"], "error": error }));
    assert_eq!(client.receive().await["error"], error);
}
