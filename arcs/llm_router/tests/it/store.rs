//! Models are fetched into an Ollama and removed from it: against exchanges that a real one had with a registry.

use kit::Error;
use llm_router::{Kept, Stored};
use serde_json::{Value, json};

use crate::server::{Act, ModelServer, recorded};
use crate::world::{Ears, backend, router, router_on};

fn stored(arguments: Value) -> Stored {
    serde_json::from_value(arguments).expect("sound arguments")
}

/// Has a model fetched by an Ollama that answers so; what came of it, and what was told meanwhile.
async fn pulled(answer: &str) -> (Result<Kept, Error>, Vec<String>) {
    let server = ModelServer::start(vec![Act::Answer(recorded(answer))]).await;
    let ears = Ears::open();
    let outcome = router_on("ollama", &server.url).pull(stored(json!({"model": "tiny:1b"})), &ears).await;
    let heard = &server.heard()[0];
    assert_eq!((heard.line.as_str(), &heard.body), ("POST /api/pull", &json!({"model": "tiny:1b", "stream": true})));
    (outcome, ears.told())
}

#[tokio::test]
async fn a_model_is_fetched_and_how_far_it_is_is_told() {
    let (outcome, told) = pulled("pull-fake-ok").await;
    let kept = Kept { backend: "local".to_owned(), model: "tiny:1b".to_owned(), is_there: true };
    assert_eq!(outcome.expect("fetched"), kept);
    let first: Vec<&str> = told.iter().take(2).map(String::as_str).collect();
    assert_eq!(first, ["<pulling manifest>", "<fetching 4 % of 99 MB>"]);
    assert_eq!(told.last().map(String::as_str), Some("<writing manifest>"));
    assert!(told.len() < 8, "a line for each megabyte is none for each of them: {told:?}");
}

#[tokio::test]
async fn why_it_could_not_be_fetched_is_said_with_what_to_do() {
    let (outcome, _) = pulled("pull-proxy403-stream").await;
    let message = outcome.expect_err("the proxy refuses").to_string();
    assert!(message.starts_with("tiny:1b could not be fetched: it broke off (pull model manifest:"), "{message}");
    assert!(message.contains("Forbidden") && message.contains("luca-run system.logs ollama"), "{message}");
    let (outcome, _) = pulled("pull-fake-corrupt").await;
    let message = outcome.expect_err("what came is not what was asked for").to_string();
    assert!(message.contains("digest mismatch"), "{message}");
    let (outcome, _) = pulled("pull-fake-cancelled").await;
    let message = outcome.expect_err("it never said that it succeeded").to_string();
    assert!(message.contains("cut off") && message.contains("the same command goes on"), "{message}");
}

#[tokio::test]
async fn a_model_is_removed_or_was_not_there() {
    let server =
        ModelServer::start(vec![Act::Answer(recorded("delete-ok")), Act::Answer(recorded("delete-missing"))]).await;
    let router = router_on("ollama", &server.url);
    let remove = async || router.remove(stored(json!({"model": "qwen2"}))).await;
    assert!(!remove().await.expect("removed").is_there);
    let message = remove().await.expect_err("it has gone").to_string();
    assert!(message.contains("qwen2 could not be removed") && message.contains("'qwen2' not found"), "{message}");
    assert_eq!(server.heard()[0].line, "DELETE /api/delete");
}

#[tokio::test]
async fn only_an_ollama_keeps_models_and_only_names_are_asked_for() {
    let both = [backend("cloud", "openai", "http://127.0.0.1:1"), "[purposes]\ndefault = [\"cloud\"]\n".to_owned()];
    let router = router(&both.concat());
    let refused = async |arguments: Value| {
        let outcome = router.pull(stored(arguments), &Ears::shut()).await;
        outcome.expect_err("refused").to_string()
    };
    let message = refused(json!({"model": "tiny"})).await;
    assert!(message.contains("no backend of the settings is an Ollama"), "{message}");
    let message = refused(json!({"model": "tiny", "backend": "cloud"})).await;
    assert!(message.contains("no backend \"cloud\" of the settings is an Ollama"), "{message}");
    for name in ["", "http://evil.example/a/b", "a b", "a\u{1b}[31m", &"x".repeat(201)] {
        let message = refused(json!({"model": name})).await;
        assert!(message.contains("must be the name of a model of Ollama's registry"), "{name:?}: {message}");
    }
}
