//! The dialect and standard MCP side by side on the UNIX socket.

use serde_json::{Value, json};

use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

fn kv() -> FakeArc {
    FakeArc::echo("kv", "aliases = [\"store\"]\n", json!([tool("get", &["key"]), tool("set", &["key", "value"])]))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_framed_as_its_request_was() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    for end in [0, b'\n'] {
        let mut bytes = br#"{"jsonrpc":"2.0","method":"mcp.kv.get","params":["a"],"id":"bridge-call-1"}"#.to_vec();
        bytes.push(end);
        client.send(bytes).await;
        let (answer, terminator) = client.receive_raw().await.expect("an answer");
        let expected = r#"{"jsonrpc":"2.0","id":"bridge-call-1","result":{"key":"a"}}"#;
        assert_eq!((String::from_utf8_lossy(&answer).as_ref(), terminator), (expected, end));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_first_nul_is_kept() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let request = |id: u32| format!("{{\"method\":\"mcp.kv.get\",\"params\":[\"{id}\"],\"id\":{id}}}\0");
    client.send([request(1), request(2), request(3)].concat()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.receive().await["id"].as_u64().expect("an id"));
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pretty_printed_request_is_one_request() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "mcp.kv.set", "params": ["a", { "b": [1, 2] }] });
    for end in ["\0", "\n"] {
        client.send(serde_json::to_string_pretty(&request).expect("JSON") + end).await;
        assert_eq!(client.receive().await["result"], json!({ "key": "a", "value": { "b": [1, 2] } }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_mapped_by_position_or_name() {
    let chat = json!({
        "name": "chat",
        "inputSchema": { "properties": { "messages": { "type": "array" }, "options": { "type": "object" } } },
    });
    let (kv, llm) = (kv(), FakeArc::echo("llm", "", json!([chat, tool("tick", &[])])));
    let system = System::start(&[&kv, &llm]).await;
    let mut client = system.owner().await;
    let table = [
        ("mcp.kv.set", json!(["a", "b"]), json!({ "key": "a", "value": "b" })),
        ("mcp.kv.set", json!([{ "key": "a", "value": 1 }]), json!({ "key": "a", "value": 1 })),
        ("mcp.kv.set", json!({ "key": "a" }), json!({ "key": "a" })),
        ("mcp.kv.get", json!([]), json!({})),
        ("mcp.store.get", json!(["by the alias"]), json!({ "key": "by the alias" })),
        (
            "mcp.llm.chat",
            json!([[{ "role": "user" }], { "t": 1 }]),
            json!({ "messages": [{ "role": "user" }], "options": { "t": 1 } }),
        ),
        ("mcp.llm.chat", json!([{ "messages": [] }]), json!({ "messages": [] })),
        ("mcp.llm.tick", json!([]), json!({})),
    ];
    for (method, params, expected) in table {
        assert_eq!(client.ask(method, &params).await["result"], expected, "{method} {params}");
    }
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\0").await;
    assert_eq!(client.receive().await["result"], json!({}), "params may be absent");
    let error = client.ask("mcp.kv.get", &json!(["a", "b"])).await["error"].clone();
    assert_eq!(error["code"], -32602);
    assert_eq!(error["message"], "kv.get was given 2 parameters and takes [key]");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_failures_are_bare_in_the_dialect() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let failure = json!({ "code": -32602, "message": "key must not be empty", "problems": [{ "path": "/key", "message": "is empty" }] });
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    let table = [
        (json!({ "content": [], "structuredContent": null }), json!({ "result": null })),
        (json!({ "content": text("7") }), json!({ "result": 7 })),
        (json!({ "content": text("seven") }), json!({ "result": "seven" })),
        (
            json!({ "content": text("x"), "isError": true, "_meta": { "llmbasedos/failure": failure } }),
            json!({ "error": { "code": -32602, "message": "key must not be empty", "data": { "problems": failure["problems"] } } }),
        ),
        (
            json!({ "content": text("broken"), "isError": true }),
            json!({ "error": { "code": -32603, "message": "broken" } }),
        ),
    ];
    for (result, expected) in table {
        client.send("{\"id\":1,\"method\":\"mcp.kv.get\",\"params\":[\"a\"]}\0").await;
        kv.next().await.answer_result(&result);
        let mut answer = client.receive().await;
        let members = answer.as_object_mut().expect("an object");
        members.remove("jsonrpc");
        members.remove("id");
        assert_eq!(answer, expected, "{result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_done_and_not_answered() {
    let kv = FakeArc::new("kv", "", json!([tool("set", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"method\":\"mcp.kv.set\",\"params\":[\"a\"]}\0{\"method\":\"mcp.nothing.there\"}\0").await;
    let call = kv.next().await;
    assert_eq!(call.arguments(), &json!({ "key": "a" }));
    call.answer(&json!("done"));
    assert_eq!(client.ask("ping", &Value::Null).await["result"], json!({}), "the first answer is to the first request");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_json_reaches_the_arc_and_comes_back_unchanged() {
    let kv = FakeArc::new("kv", "", json!([tool("set", &["value"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let number = "1234567890123456789012345678901234567890.5000e-3";
    client.send(format!("{{\"id\":1,\"method\":\"mcp.kv.set\",\"params\":[\n{number}\n]}}\0")).await;
    let call = kv.next().await;
    assert!(call.line.contains(&format!("\"arguments\":{{\"value\":{number}}}")), "{}", call.line);
    call.answer(&json!("ä\u{0}\n"));
    let (answer, _) = client.receive_raw().await.expect("an answer");
    assert_eq!(String::from_utf8(answer).expect("UTF-8"), r#"{"jsonrpc":"2.0","id":1,"result":"ä\u0000\n"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_sends_no_more_still_gets_the_answers() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\",\"params\":[\"a\"]}").await;
    client.finish().await;
    kv.next().await.answer(&json!(1));
    assert_eq!(client.receive().await["result"], 1);
    assert!(client.receive_raw().await.is_none(), "then the connection ends");
}
