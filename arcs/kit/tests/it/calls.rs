//! Tools are listed with their schemas, and called with arguments that fit them.

use serde_json::json;

use crate::arc::{Arc, owner};

#[test]
fn a_tool_is_listed_with_its_schema() {
    let arc = Arc::start("greeter", &[]);
    let mut connection = arc.connect();
    connection.request("tools/list", json!({}), json!({}));
    let tool = connection.receive().expect("an answer")["result"]["tools"][0].clone();
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"description": "Who is greeted.", "type": "string", "minLength": 1, "maxLength": 80}
        },
        "required": ["name"],
        "additionalProperties": false
    });
    assert_eq!((tool["name"].clone(), tool["inputSchema"].clone()), (json!("greet"), schema));
    assert_eq!(tool["outputSchema"]["required"], json!(["text", "count"]));
}

#[test]
fn a_result_is_structured_and_the_caller_is_known() {
    let arc = Arc::start("greeter", &[]);
    let mut connection = arc.connect();
    let result = connection.call("greet", json!({"name": "Ada"}));
    assert_eq!(result["structuredContent"], json!({"text": "Hello Ada, says owner", "count": 1}));
    assert_eq!(result["content"][0]["text"], json!(r#"{"text":"Hello Ada, says owner","count":1}"#));
}

#[test]
fn every_wrong_argument_is_named_with_its_path() {
    let arc = Arc::start("greeter", &[]);
    let mut connection = arc.connect();
    for (arguments, path, words) in [
        (json!({}), "/name", "\"name\" is a required property"),
        (json!({"name": ""}), "/name", "shorter than 1 character"),
        (json!({"name": 3}), "/name", "is not of type \"string\""),
        (json!({"name": "Ada", "a/ge": 36}), "/a~1ge", "'a/ge' was unexpected"),
    ] {
        let result = connection.call("greet", arguments.clone());
        let failure = &result["_meta"]["llmbasedos/failure"];
        assert_eq!((&result["isError"], &failure["code"]), (&json!(true), &json!(-32602)), "{arguments}");
        assert_eq!(failure["problems"][0]["path"], path, "{arguments}");
        assert!(failure["message"].as_str().is_some_and(|text| text.contains(words)), "{failure}");
    }
}

#[test]
fn a_call_without_a_caller_or_of_an_unknown_tool_fails() {
    let arc = Arc::start("greeter", &[]);
    let mut connection = arc.connect();
    connection.request("tools/call", json!({"name": "greet", "arguments": {"name": "Ada"}}), json!({}));
    let result = &connection.receive().expect("an answer")["result"];
    assert_eq!(result["content"][0]["text"], "the call does not say who calls: use the gateway");
    let result = connection.call("greeet", json!({}));
    assert_eq!(result["content"][0]["text"], "greeter has no tool greeet");
}

#[test]
fn the_cause_of_a_failure_is_for_the_log_alone() {
    let arc = Arc::start("relay", &[]);
    let mut connection = arc.connect();
    let result = connection.call("fail", json!({}));
    assert_eq!(result["content"][0]["text"], "the store cannot be read; try again");
    assert!(!result.to_string().contains("secret"), "{result}");
    drop(connection);
    arc.terminate();
    let (status, log) = arc.end();
    assert!(status.success() && log.contains("a secret detail"), "{log}");
}

#[test]
fn a_cancelled_call_ends() {
    let arc = Arc::start("relay", &[]);
    let mut connection = arc.connect();
    let id = connection.request("tools/call", json!({"name": "wait", "arguments": {}}), owner());
    connection.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    // A cancelled request is not answered; the Arc ends at once because nothing is going on any more.
    assert_eq!(connection.call("fail", json!({}))["isError"], true);
    connection.finish();
    arc.terminate();
    assert!(arc.end().0.success());
}
