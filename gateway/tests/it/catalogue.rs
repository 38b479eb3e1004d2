//! The list of tools: merged, filtered, in a fixed order, and helpful about names that are not in it.

use serde_json::{Value, json};

use crate::fake_arc::{FakeArc, tool};
use crate::system::System;

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("a list: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_listed_in_a_fixed_order_by_their_full_names() {
    let odd = json!({ "name": "odd", "title": "Odd", "inputSchema": { "type": "object" }, "outputSchema": { "type": "integer" }, "annotations": { "readOnlyHint": true } });
    let kv = FakeArc::echo("kv", "", json!([tool("set", &["key", "value"]), odd]));
    let files = FakeArc::echo("files", "namespace = \"fs\"\n", json!([tool("list", &["path"])]));
    let system = System::start(&[&kv, &files]).await;
    let mut client = system.owner().await;
    let answer = client.ask("tools/list", &json!({})).await;
    let expected = [
        "arc.list",
        "licence.check",
        "system.services",
        "system.metrics",
        "system.start",
        "system.stop",
        "system.restart",
        "system.cage",
        "system.cages",
        "system.poweroff",
        "system.reboot",
        "system.wifi_scan",
        "system.wifi_join",
        "system.wifi_forget",
        "system.setup_code",
        "system.setup_code_withdraw",
        "system.logs",
        "system.status",
        "fs.list",
        "kv.set",
        "kv.odd",
    ];
    assert_eq!(names(&answer), expected);
    assert_eq!(client.ask("tools/list", &json!({})).await["result"], answer["result"], "again the same");
    let result = &answer["result"];
    assert_eq!((&result["resultType"], &result["cacheScope"]), (&json!("complete"), &json!("private")));
    assert!(result["ttlMs"].is_u64());
    let [text, odd] = [2, 1].map(|from_end| &result["tools"][expected.len() - from_end]);
    assert_eq!((&odd["title"], &odd["outputSchema"]["type"]), (&json!("Odd"), &json!("integer")));
    assert_eq!(odd["annotations"]["readOnlyHint"], true);
    assert_eq!(text["inputSchema"]["properties"]["value"]["type"], "string");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dialect_lists_methods_and_capabilities() {
    let kv = FakeArc::echo("kv", "", json!([tool("set", &["key", "value"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let hello = client.ask("mcp.hello", &json!([])).await["result"].clone();
    let methods: Vec<&str> = hello.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(methods.is_sorted() && methods.contains(&"mcp.kv.set") && methods.contains(&"mcp.hello"), "{methods:?}");
    let capabilities = client.ask("mcp.listCapabilities", &json!([])).await["result"].clone();
    let kv = capabilities.as_array().expect("a list").iter().find(|one| one["service_name"] == "kv").expect("kv");
    assert_eq!((&kv["description"], &kv["version"]), (&json!("the kv"), &json!("1")));
    assert_eq!(kv["capabilities"][0]["method"], "mcp.kv.set");
    assert_eq!(kv["capabilities"][0]["params_schema"]["properties"]["key"]["type"], "string");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arc_that_does_not_answer_is_left_out() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let (dead, odd) = (FakeArc::new("dead", "", json!([])), FakeArc::new("odd", "", json!([{ "name": "a b" }])));
    dead.hang();
    let system = System::start(&[&kv, &dead, &odd]).await;
    let mut client = system.owner().await;
    let listed = names(&client.ask("tools/list", &json!({})).await);
    assert!(listed.contains(&"kv.get".to_owned()), "{listed:?}");
    let error = client.ask("mcp.odd.work", &json!([])).await["error"]["message"].clone();
    assert!(error.as_str().is_some_and(|error| error.starts_with("odd does not list its tools: ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_helped() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    let words = "there is no tool kvv.get. Close to it: kv.get";
    let in_dialect = client.ask("mcp.kvv.get", &json!([])).await["error"].clone();
    assert_eq!((&in_dialect["code"], &in_dialect["message"]), (&json!(-32601), &json!(words)));
    let standard = client.call("kvv.get", &json!({})).await["error"].clone();
    assert_eq!((&standard["code"], &standard["message"]), (&json!(-32602), &json!(words)));
    let plain = client.ask("kv.get", &json!([])).await["error"].clone();
    assert_eq!(plain["code"], -32601, "a tool's plain name is no method");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arc_that_was_started_anew_is_asked_again() {
    let kv = FakeArc::echo("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut client = system.owner().await;
    assert_eq!(client.ask("mcp.kv.new", &json!([])).await["error"]["code"], -32601);
    kv.set_tools(json!([tool("new", &[])]));
    kv.die();
    let noticed = async { while client.ask("mcp.kv.new", &json!([])).await["result"] != json!({}) {} };
    crate::system::soon("the new tool", noticed).await;
    assert_eq!(client.ask("mcp.kv.get", &json!([])).await["error"]["code"], -32601);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tools_are_told_to_those_who_initialised() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let (mut client, mut dialect) = (system.owner().await, system.owner().await);
    client.initialize("2025-11-25").await;
    assert!(names(&client.ask("tools/list", &json!({})).await).contains(&"kv.get".to_owned()));
    dialect.send("{\"id\":2,\"method\":\"mcp.kv.get\"}\n").await;
    let call = kv.next().await;
    kv.set_tools(json!([tool("newer", &[])]));
    call.send(json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
    assert_eq!(client.receive().await["method"], "notifications/tools/list_changed");
    assert!(names(&client.ask("tools/list", &json!({})).await).contains(&"kv.newer".to_owned()));
    call.answer(&json!("only answers reach the dialect"));
    assert_eq!(dialect.receive().await["id"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_belongs_to_one() {
    let first = FakeArc::echo("a", "namespace = \"kv\"\n", json!([tool("get", &["first"])]));
    let second = FakeArc::echo("b", "namespace = \"kv\"\naliases = [\"bee\"]\n", json!([tool("get", &["second"])]));
    let impostor = FakeArc::echo("c", "namespace = \"system\"\n", json!([tool("services", &[])]));
    let system = System::start(&[&first, &second, &impostor]).await;
    let mut client = system.owner().await;
    assert_eq!(client.ask("mcp.kv.get", &json!(["x"])).await["result"], json!({ "first": "x" }));
    assert_eq!(client.ask("mcp.system.services", &json!([])).await["result"], json!([]));
    let listed = names(&client.ask("tools/list", &json!({})).await);
    assert_eq!(listed.iter().filter(|name| *name == "kv.get").count(), 1, "{listed:?}");
    assert_eq!(listed.iter().filter(|name| *name == "system.services").count(), 1, "{listed:?}");
}
