//! Answers that must fit a schema.

use kit::code;
use llm_router::Completion;
use serde_json::{Value, json};

use crate::server::{Act, ModelServer, http, openai, recorded};
use crate::world::{Ears, ask, chat, router_on, text, unlabelled};

fn entry() -> Value {
    json!({
        "type": "object",
        "properties": {
            "kind": {"anyOf": [{"const": "task"}, {"const": "note"}]},
            "title": {"type": "string", "maxLength": 40},
            "prio": {"enum": ["low", "high"]},
            "n": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["kind", "title", "prio", "n"],
        "additionalProperties": false,
    })
}

fn number() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
}

/// Asks for a number from a server that gives these answers in turn.
async fn number_from(answers: &[Vec<u8>]) -> (Result<Completion, kit::Error>, ModelServer) {
    let server = ModelServer::start(answers.iter().cloned().map(Act::Answer).collect()).await;
    let answer = ask(&router_on("openai", &server.url), json!({"schema": number(), "seed": 7, "max_tokens": 50})).await;
    (answer, server)
}

#[tokio::test]
async fn a_recorded_answer_of_ollama_fits_its_schema() {
    let server = ModelServer::start(vec![Act::Answer(recorded("chat-format-schema-stream-smol"))]).await;
    let answer = ask(&router_on("ollama", &server.url), json!({"schema": entry()})).await.expect("it fits");
    let message = &answer.choices[0].message;
    assert_eq!(message.parsed.as_ref().unwrap()["kind"], "task");
    assert_eq!(serde_json::from_str::<Value>(&message.content).unwrap(), *message.parsed.as_ref().unwrap());
    assert_eq!(server.heard()[0].body["format"], entry());
}

#[tokio::test]
async fn the_schema_is_sent_in_openais_way() {
    let (answer, server) = number_from(&[openai(&["```json\n{\"n\"", ": 3}\n```"], "stop")]).await;
    assert_eq!(answer.unwrap().choices[0].message.parsed, Some(json!({"n": 3})));
    let expected = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": number()}});
    assert_eq!(server.heard()[0].body["response_format"], expected);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong() {
    let (answer, server) =
        number_from(&[openai(&["{\"n\": \"three\"}"], "stop"), openai(&["{\"n\": 3}"], "stop")]).await;
    let answer = answer.expect("repaired");
    assert_eq!(text(&answer), "{\"n\":3}");
    assert_eq!(answer.usage.unwrap().total_tokens, 30, "both rounds count");
    let (first, second) = (&server.heard()[0].body, &server.heard()[1].body);
    assert_eq!((&first["seed"], &second["seed"]), (&json!(7), &json!(8)));
    let added = &second["messages"].as_array().unwrap()[1..];
    let content = "That does not fit: /n: value is not of type \"integer\". Answer again with JSON alone that fits.";
    let expected =
        json!([{"role": "assistant", "content": "{\"n\": \"three\"}"}, {"role": "user", "content": content}]);
    assert_eq!(json!(added), expected);
}

#[tokio::test]
async fn an_answer_that_was_cut_short_is_given_more_room() {
    let (answer, server) = number_from(&[openai(&["{\"n\": "], "length"), openai(&["{\"n\": 3}"], "stop")]).await;
    assert!(answer.is_ok());
    assert_eq!(server.heard()[1].body["max_tokens"], 100);
    assert_eq!(server.heard()[1].body["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_never_fits_is_an_error_and_never_passed_on() {
    let (answer, server) = number_from(&[openai(&["{\"n\": \"three\", \"x\": \"marker\"}"], "stop")]).await;
    let error = answer.expect_err("never right");
    assert_eq!(error.code(), code::MODEL);
    assert!(error.message().contains("no answer fitted the schema: /n: value is not of type \"integer\""), "{error}");
    assert!(!error.message().contains("marker"));
    assert_eq!(server.heard().len(), 3, "once, and two repairs");
}

#[tokio::test]
async fn a_backend_that_refuses_the_schema_is_told_it_in_words() {
    let (answer, server) = number_from(&[recorded("err-format-maxitems-big"), openai(&["{\"n\": 3}"], "stop")]).await;
    assert_eq!(text(&answer.expect("an answer")), "{\"n\":3}");
    let second = &server.heard()[1].body;
    assert!(second.get("response_format").is_none());
    assert_eq!(second["messages"][0]["role"], "system");
    assert!(second["messages"][0]["content"].as_str().unwrap().contains(&number().to_string()));
}

#[tokio::test]
async fn json_is_not_streamed_as_prose() {
    let server = ModelServer::start(vec![Act::Answer(openai(&["{\"n\": ", "3}"], "stop"))]).await;
    let ears = Ears::open();
    let answer = router_on("openai", &server.url).chat(chat(json!({"schema": number()})), &unlabelled(), &ears).await;
    assert!(answer.is_ok() && ears.told().iter().all(|told| told.starts_with("<answer ")), "{:?}", ears.told());
}

#[tokio::test]
async fn a_schema_that_is_none_is_an_invalid_argument() {
    let server = ModelServer::start(vec![Act::Answer(http("500 Oh", "", ""))]).await;
    let error =
        ask(&router_on("openai", &server.url), json!({"schema": {"type": "objekt"}})).await.expect_err("no schema");
    assert_eq!(error.code(), code::INVALID_PARAMS);
    assert!(error.message().contains("(at /options/schema/type)"), "{error}");
    assert!(server.heard().is_empty());
}
