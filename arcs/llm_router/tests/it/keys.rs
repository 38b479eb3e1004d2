//! API keys: sent to their backend, and shown nowhere else.

use std::path::Path;

use serde_json::json;

use crate::server::{Act, ModelServer, http, openai};
use crate::world::{Ears, ask, backend, chat, router, unlabelled};

const KEY: &str = "sk-very-secret-key";

fn settings(folder: &Path, url: &str) -> String {
    let key_file = folder.join("openai");
    std::fs::write(&key_file, format!("{KEY}\n")).unwrap();
    format!("{}key_file = {key_file:?}", backend("cloud", "openai", url))
}

#[tokio::test]
async fn the_key_is_sent_as_a_bearer_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = ModelServer::start(vec![Act::Answer(openai(&["Yes, ", "indeed it is so"], "stop"))]).await;
    let ears = Ears::open();
    let answer = router(&settings(folder.path(), &server.url)).chat(chat(json!({})), &unlabelled(), &ears).await;
    assert_eq!(ears.told().concat(), answer.unwrap().choices[0].message.content);
    assert!(server.heard()[0].headers.contains(&format!("authorization: bearer {KEY}")));
}

#[tokio::test]
async fn an_error_that_repeats_the_key_is_not_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let body = json!({"error": {"message": format!("Incorrect API key provided: {KEY}")}}).to_string();
    let server = ModelServer::start(vec![Act::Answer(http("401 Unauthorized", "", &body))]).await;
    let error = ask(&router(&settings(folder.path(), &server.url)), json!({})).await.expect_err("denied");
    assert!(error.message().contains("its answer held the API key and is not passed on"), "{error}");
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn an_answer_that_repeats_the_key_piece_by_piece_is_not_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        ModelServer::start(vec![Act::Answer(openai(&["My key: ", "sk-very", "-secret", "-key"], "stop"))]).await;
    let ears = Ears::open();
    let router = router(&settings(folder.path(), &server.url));
    let error = router.chat(chat(json!({})), &unlabelled(), &ears).await.expect_err("it gives the key away");
    assert!(error.message().contains("its answer held the API key"), "{error}");
    assert!(!ears.told().concat().contains("sk-"), "{:?}", ears.told());
}

#[tokio::test]
async fn a_missing_key_file_is_named() {
    let settings = format!("{}key_file = \"/nowhere/key\"", backend("cloud", "openai", "http://127.0.0.1:9"));
    let error = ask(&router(&settings), json!({})).await.expect_err("no key");
    assert!(error.message().contains("key_file /nowhere/key cannot be read: No such file or directory"), "{error}");
}
