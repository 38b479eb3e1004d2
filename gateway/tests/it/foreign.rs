//! MCP servers that are not ours, on their standard input and output: both eras, and those that misbehave.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::fake_arc::{FakeArc, Reaction, tool};
use crate::system::System;

const TEXT: &str = "the answer";

/// What a server of the revisions with `initialize` answers, which lists its tools on two pages.
fn older(message: &Value) -> Reaction {
    match message["method"].as_str() {
        Some("initialize") => {
            assert!(message["params"]["_meta"].is_null(), "{message}");
            let server = json!({ "name": "older", "version": "1" });
            let capabilities = json!({ "tools": { "listChanged": true } });
            let version = &message["params"]["protocolVersion"];
            let result = json!({ "protocolVersion": version, "capabilities": capabilities, "serverInfo": server });
            Reaction::result(message, &result)
        }
        Some("tools/list") => {
            let page = match message["params"]["cursor"].as_str() {
                None => json!({ "tools": [tool("first", &["x"])], "nextCursor": "more" }),
                Some(cursor) => json!({ "tools": [tool(&format!("second-{cursor}"), &[])] }),
            };
            Reaction::result(message, &page)
        }
        Some("tools/call") => {
            let meta = &message["params"]["_meta"];
            assert!(meta["io.modelcontextprotocol/protocolVersion"].is_null(), "{message}");
            Reaction::result(message, &json!({ "content": [{ "type": "text", "text": TEXT }] }))
        }
        Some(_) if message["id"].is_null() => Reaction::Lines(Vec::new()),
        _ => Reaction::unknown(message),
    }
}

/// What a server of the newest revision answers, which knows nothing else.
fn newest(message: &Value) -> Reaction {
    let meta = &message["params"]["_meta"];
    if message["id"].is_null() {
        return Reaction::Lines(Vec::new());
    }
    match message["method"].as_str() {
        Some("server/discover") => {
            let capabilities = json!({ "tools": {} });
            Reaction::result(message, &json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities }))
        }
        Some("tools/list") => Reaction::result(message, &json!({ "tools": [tool("first", &["x"])] })),
        Some("tools/call") => {
            assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28", "{message}");
            Reaction::result(message, &json!({ "content": [{ "type": "text", "text": TEXT }] }))
        }
        _ => Reaction::unknown(message),
    }
}

async fn call(system: &System) -> Value {
    system.owner().await.call("x.first", &json!({ "x": "1" })).await
}

fn text(answer: &Value) -> &Value {
    &answer["result"]["content"][0]["text"]
}

fn error(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_either_era_is_spoken_to_in_its_own() {
    let table: [fn(&Value) -> Reaction; 2] = [older, newest];
    for server in table {
        let arc = FakeArc::foreign("x", "", move |_, message| server(message));
        let system = System::start(&[&arc]).await;
        let answer = call(&system).await;
        assert_eq!(text(&answer), TEXT, "{answer}");
        assert_eq!(arc.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_is_greeted_once_and_its_results_get_the_type_of_newer_ones() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let arc = FakeArc::foreign("x", "", {
        let heard = Arc::clone(&heard);
        move |_, message| {
            heard.lock().expect("sound").push(message["method"].as_str().unwrap_or_default().to_owned());
            older(message)
        }
    });
    let system = System::start(&[&arc]).await;
    let (first, again) = (call(&system).await, call(&system).await);
    assert_eq!((text(&first), &again["result"]["resultType"]), (&json!(TEXT), &json!("complete")));
    let mut legacy = system.owner().await;
    legacy.initialize("2025-06-18").await;
    assert!(legacy.call("x.first", &json!({})).await["result"]["resultType"].is_null());
    let names = legacy.ask("tools/list", &Value::Null).await["result"]["tools"].to_string();
    assert!(names.contains("x.first") && names.contains("x.second-more"), "{names}");
    let order = ["server/discover", "initialize", "notifications/initialized", "tools/list", "tools/list"];
    let heard = heard.lock().expect("sound");
    assert_eq!((&heard[..5], &heard[5..]), (&order.map(str::to_owned)[..], &["tools/call"; 3].map(str::to_owned)[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_to_the_newest_revision_is_greeted_all_the_same() {
    let arc = FakeArc::foreign("x", "start_timeout = \"1s\"\n", |_, message| match message["method"].as_str() {
        Some("server/discover") => Reaction::Lines(Vec::new()),
        _ => older(message),
    });
    let system = System::start(&[&arc]).await;
    assert_eq!(text(&call(&system).await), TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_at_the_newest_revision_is_greeted_on_the_next_connection() {
    let arc = FakeArc::foreign("x", "", |_, message| match message["method"].as_str() {
        Some("server/discover") => Reaction::End,
        _ => older(message),
    });
    let system = System::start(&[&arc]).await;
    assert_eq!(text(&call(&system).await), TEXT);
    assert_eq!(arc.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_is_answered_and_what_it_tells_is_passed_over() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let arc = FakeArc::foreign("x", "", {
        let answers = Arc::clone(&answers);
        move |_, message| {
            if message["method"].is_null() {
                answers.lock().expect("sound").push(message.clone());
            }
            let told = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hello"}}"#;
            match (message["method"].as_str(), message["id"].as_str()) {
                // It answers a call only once it has been answered itself.
                (Some("tools/call"), _) => Reaction::Lines(vec![
                    r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#.to_owned(),
                    json!({ "jsonrpc": "2.0", "id": message["id"].to_string(), "method": "roots/list" }).to_string(),
                ]),
                (None, Some("a")) => Reaction::Lines(vec![told.to_owned()]),
                (None, Some(id)) => {
                    let call = json!({ "id": id.parse::<u64>().expect("a number") });
                    Reaction::result(&call, &json!({ "content": [{ "type": "text", "text": TEXT }] }))
                }
                _ => older(message),
            }
        }
    });
    let system = System::start(&[&arc]).await;
    assert_eq!(text(&call(&system).await), TEXT);
    let answers = answers.lock().expect("sound");
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!({}), &json!(-32601)), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_standard_output_is_passed_over_up_to_a_bound() {
    let noisy = FakeArc::foreign("x", "", |_, message| {
        older(message).after("Server running on stdio").after(r#"{"level":30}"#).after(r#"{"id":"mine"}"#)
    });
    let system = System::start(&[&noisy]).await;
    assert_eq!(text(&call(&system).await), TEXT);

    let flood = FakeArc::foreign("x", "", |_, message| older(message).after(&"debug\n".repeat(1001)));
    let system = System::start(&[&flood]).await;
    let answer = call(&system).await;
    assert!(error(&answer).contains("lines to its standard output that are no MCP messages"), "{answer}");
    assert_eq!(flood.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_no_mcp_server() {
    let arc = FakeArc::foreign("x", "start_timeout = \"300ms\"\n", |_, _| Reaction::Lines(Vec::new()));
    let system = System::start(&[&arc]).await;
    let answer = call(&system).await;
    let words = "x is no MCP server on its standard input and output: it answers neither server/discover nor initialize \
                 as an MCP server does within 300 ms (`start_timeout`). Its log: luca-run system.logs '[\"x\"]'";
    assert_eq!(error(&answer), words);
    // Its input is at its end: it is not waited for any more.
    arc.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_of_a_server_that_ends_at_once_hears_its_last_words() {
    let arc = FakeArc::foreign("x", "", |_, _| Reaction::End);
    let system = System::start(&[&arc]).await;
    let mut client = system.owner().await;
    client.send("{\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"x.first\"}}\n").await;
    arc.connected_times(2).await;
    system.set_service("x", "listening", Some("exited with code 1: No module named 'mcp'")).await;
    let answer = client.receive().await;
    let words = "x ended before it had answered: exited with code 1: No module named 'mcp'. \
                 Its log: luca-run system.logs '[\"x\"]'";
    assert_eq!(error(&answer), words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_nothing_to_do_is_let_go() {
    let arc = FakeArc::foreign("x", "idle_exit = \"200ms\"\n", |_, message| newest(message));
    let system = System::start(&[&arc]).await;
    assert_eq!(text(&call(&system).await), TEXT);
    arc.closed().await;
    assert_eq!(text(&call(&system).await), TEXT);
    assert_eq!(arc.connections(), 2);
}
