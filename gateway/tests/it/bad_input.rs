//! What is wrong gets one clear error, with its id where that can be read, and the next request is answered.

use serde_json::{Value, json};

use crate::client::Client;
use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

/// Sends `bytes`, expects an error, and then that the connection still works.
async fn refused(client: &mut Client, bytes: Vec<u8>, id: Value, code: i32, words: &str) {
    let shown: String = String::from_utf8_lossy(&bytes).chars().take(60).collect();
    let end = *bytes.last().expect("bytes");
    client.send(bytes).await;
    let (answer, terminator) = client.receive_raw().await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{shown}: {answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains(words)), "{shown}: {answer}");
    assert_eq!(terminator, end);
    assert_eq!(client.ask("mcp.kv.get", &json!(["next"])).await["result"], json!({ "key": "next" }), "after {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_owners_socket() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    on_a_unix_socket(system.owner().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_socket_of_an_arc() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let asker = FakeArc::new("asker", "calls = [\"kv.get\"]", json!([]));
    let _system = System::start(&[&kv, &asker]).await;
    on_a_unix_socket(asker.caller().await).await;
}

async fn on_a_unix_socket(mut client: Client) {
    for end in ["\n", "\0"] {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let long = "x".repeat(20 << 20);
        let text = |text: &str| format!("{text}{end}").into_bytes();
        let not_utf8 = [&b"{\"id\":\"u\",\"method\":\"\xc3\x28\"}"[..], end.as_bytes()].concat();
        let cases = [
            (text("hello"), Value::Null, -32700, "not JSON"),
            (text(r#"{"id":3,"method":"mcp.kv.get","params":["a"}"#), json!(3), -32700, "not JSON"),
            (not_utf8, json!("u"), -32700, "not UTF-8"),
            (text(r#"[{"id":1,"method":"ping"}]"#), Value::Null, -32600, "batches"),
            (text(r#"{"id":"x","method":7}"#), json!("x"), -32600, "method must be a string"),
            (text(r#"{"id":"x"}"#), json!("x"), -32600, "method is missing"),
            (text("42"), Value::Null, -32600, "JSON object"),
            (
                text(&format!(r#"{{"id":9,"method":"mcp.kv.get","params":{deep}}}"#)),
                json!(9),
                -32600,
                "deeper than 100",
            ),
            (text(&deep), Value::Null, -32600, "batches"),
            (text(&format!(r#"{{"id":5,"method":"mcp.kv.get","params":["{long}"]}}"#)), json!(5), -32600, "4 MiB"),
            (
                text(&format!(r#"{{"method":"mcp.kv.get","params":["{long}"],"id":"last"}}"#)),
                json!("last"),
                -32600,
                "4 MiB",
            ),
            (text(r#"{"id":1,"method":"mcp.kv.get","params":"a"}"#), json!(1), -32602, "array or an object"),
            (text(r#"{"id":1,"method":"tools/call","params":[]}"#), json!(1), -32602, "must be an object"),
            (text(r#"{"id":1,"method":"tools/call","params":{}}"#), json!(1), -32602, "name is missing"),
            (
                text(r#"{"id":1,"method":"tools/call","params":{"name":"kv.get","arguments":[1]}}"#),
                json!(1),
                -32602,
                "must be an object",
            ),
            (text(r#"{"id":1,"method":"tools/call","params":{"name":"kv.get","_meta":7}}"#), json!(1), -32602, "_meta"),
        ];
        for (bytes, id, code, words) in cases {
            refused(&mut client, bytes, id, code, words).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_from_an_arc_fails_its_own_call_alone() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let (mut one, mut other) = (system.owner().await, system.owner().await);
    one.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n").await;
    let long = kv.next().await;
    other.send("{\"id\":2,\"method\":\"mcp.kv.get\"}\n").await;
    let short = kv.next().await;
    long.answer(&json!("x".repeat(17 << 20)));
    short.answer(&json!("short"));
    let error = one.receive().await["error"]["message"].clone();
    assert_eq!(error, "kv answered with more than 16 MiB, the most that is taken");
    assert_eq!(other.receive().await["result"], "short");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_is_passed_on() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n").await;
    kv.next().await.answer_result(&json!({ "structuredContent": "x".repeat(15 << 20) }));
    assert_eq!(client.receive().await["result"].as_str().map(str::len), Some(15 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arc_that_writes_rubbish_is_connected_anew() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"mcp.kv.get\"}\n").await;
    kv.next().await.send(json!("a string is no message"));
    let error = client.receive().await["error"]["message"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("try again")), "{error}");
    client.send("{\"id\":2,\"method\":\"mcp.kv.get\"}\n").await;
    kv.next().await.answer(&json!("better"));
    assert_eq!(client.receive().await["result"], "better");
}
