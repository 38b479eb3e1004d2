//! What each backend is sent and how its answers are read.

use llm_router::{Finish, Usage};
use serde_json::json;

use crate::server::{Act, ModelServer, gone, http, openai, recorded};
use crate::world::{Ears, ask, chat, router, router_on, text, unlabelled};

#[tokio::test]
async fn a_recorded_answer_of_ollama_is_read_to_its_end() {
    let server = ModelServer::start(vec![Act::Answer(recorded("chat-stream-qwen_0.5b"))]).await;
    let router = router_on("ollama", &server.url);
    let ears = Ears::open();
    let answer =
        router.chat(chat(json!({"max_tokens": 20, "seed": 1})), &unlabelled(), &ears).await.expect("an answer");
    assert_eq!(text(&answer), "Sure, here are the numbers from one to ten:\n\n1. 1\n2. 2");
    assert_eq!(ears.told().concat(), text(&answer), "every word was told as it came");
    assert!(ears.told().len() > 10);
    assert_eq!(answer.choices[0].finish_reason, Finish::Length);
    assert_eq!(answer.usage, Some(Usage { prompt_tokens: 35, completion_tokens: 20, total_tokens: 55 }));
    assert_eq!((answer.model.as_str(), answer.backend.as_str()), ("qwen", "local"));
    let heard = &server.heard()[0];
    assert_eq!(heard.line, "POST /api/chat");
    assert_eq!(heard.body["truncate"], false);
    assert_eq!(heard.body["options"], json!({"num_predict": 20, "seed": 1}));
}

#[tokio::test]
async fn without_a_model_ollama_is_asked_for_its_first() {
    let answers = vec![Act::Answer(recorded("tags")), Act::Answer(recorded("chat-stream-qwen_0.5b"))];
    let server = ModelServer::start(answers).await;
    let router = router(&format!("[backends.local]\nkind = \"ollama\"\nurl = \"{}\"", server.url));
    assert_eq!(ask(&router, json!({})).await.expect("an answer").model, "qwen:0.5b");
    assert_eq!(server.heard()[1].body["model"], "qwen:0.5b");
}

#[tokio::test]
async fn a_recorded_answer_of_openais_protocol_is_read_to_its_end() {
    let server = ModelServer::start(vec![Act::Answer(recorded("v1-chat-stream"))]).await;
    let answer = ask(&router_on("openai", &server.url), json!({"temperature": 0.5})).await.expect("an answer");
    assert_eq!(text(&answer), "Hello there. I'm here to help");
    assert_eq!(answer.usage, Some(Usage { prompt_tokens: 12, completion_tokens: 8, total_tokens: 20 }));
    let heard = &server.heard()[0];
    assert_eq!(heard.line, "POST /v1/chat/completions");
    assert_eq!((&heard.body["max_tokens"], &heard.body["temperature"]), (&json!(1024), &json!(0.5)));
    assert!(heard.body["stream"] == true && heard.body.get("seed").is_none());
}

#[tokio::test]
async fn gemini_is_spoken_to_in_its_own_words() {
    let body = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true},{\"text\":\"One, \"}]}}]}\r\n\r\n\
                data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"two\"}]},\"finishReason\":\"STOP\"}],\
                \"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":3,\"thoughtsTokenCount\":2}}\r\n\r\n";
    let server =
        ModelServer::start(vec![Act::Answer(http("200 OK", "Content-Type: text/event-stream\r\n", body))]).await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("gemini");
    std::fs::write(&key_file, "google-secret-key\n").unwrap();
    let settings = format!(
        "[backends.g]\nkind = \"gemini\"\nurl = \"{}\"\nmodel = \"gemini-2.5-flash\"\nkey_file = {key_file:?}",
        server.url
    );
    let options = json!({"schema": {"type": "string", "maxLength": 9, "const": "x"}, "max_tokens": 5});
    let plain = ask(&router(&settings), json!({"max_tokens": 5})).await.expect("an answer");
    assert_eq!(text(&plain), "One, two");
    assert_eq!(plain.usage, Some(Usage { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 }));
    let _ = ask(&router(&settings), options).await.expect_err("not JSON");
    let heard = server.heard();
    assert_eq!(heard[0].line, "POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert!(heard[0].headers.contains("x-goog-api-key: google-secret-key"));
    assert_eq!(heard[0].body["contents"], json!([{"role": "user", "parts": [{"text": "Count from one to ten."}]}]));
    assert_eq!(heard[1].body["generationConfig"]["responseJsonSchema"], json!({"type": "string", "enum": ["x"]}));
}

#[tokio::test]
async fn a_model_can_be_named_if_a_backend_has_it() {
    let local =
        ModelServer::start(vec![Act::Answer(recorded("tags")), Act::Answer(recorded("chat-stream-qwen_0.5b"))]).await;
    let other = ModelServer::start(vec![Act::Answer(openai(&["yes"], "stop"))]).await;
    let settings = format!(
        "[backends.a]\nkind = \"ollama\"\nurl = \"{}\"\nmodel = \"first\"\n[backends.b]\nkind = \"openai\"\nurl = \"{}\"\nmodel = \"second\"\n[purposes]\ndefault = [\"a\"]",
        local.url, other.url
    );
    let router = router(&settings);
    assert_eq!(ask(&router, json!({"model": "second"})).await.expect("configured").backend, "b");
    let listed = ask(&router, json!({"model": "smol"})).await.expect("smol:latest is listed");
    assert_eq!((listed.backend.as_str(), listed.model.as_str()), ("a", "smol"));
}

#[tokio::test]
async fn an_unknown_model_is_an_invalid_argument_that_names_the_known_ones() {
    let server = ModelServer::start(vec![Act::Answer(recorded("tags"))]).await;
    let error = ask(&router_on("ollama", &server.url), json!({"model": "gpt-9"})).await.expect_err("unknown");
    assert_eq!(error.code(), kit::code::INVALID_PARAMS);
    let expected = "no backend has a model \"gpt-9\"; there are: qwen, qwen:0.5b, smol:latest (llm.models tells their state) \
                    (at /options/model)";
    assert_eq!(error.message(), expected);
}

#[tokio::test]
async fn models_tell_the_state_of_every_backend() {
    let ollama = ModelServer::start(vec![Act::Answer(recorded("tags"))]).await;
    let gone = gone().await;
    let settings = format!(
        "[backends.gone]\nkind = \"openai\"\nurl = \"{gone}\"\nmodel = \"x\"\n\
         [backends.here]\nkind = \"ollama\"\nurl = \"{0}\"\nmodel = \"smol\"\n\
         [backends.lacks]\nkind = \"ollama\"\nurl = \"{0}\"\nmodel = \"big\"\n[purposes]\ndefault = [\"here\"]",
        ollama.url
    );
    let states = serde_json::to_value(router(&settings).models().await).unwrap();
    let models = json!(["qwen:0.5b", "smol:latest"]);
    let lacks = "the backend does not have big";
    let expected = json!([
        {"backend": "gone", "kind": "openai", "model": "x", "ready": false, "models": [], "error": "connection refused"},
        {"backend": "here", "kind": "ollama", "model": "smol", "ready": true, "models": models},
        {"backend": "lacks", "kind": "ollama", "model": "big", "ready": false, "models": models, "error": lacks},
    ]);
    assert_eq!(states, expected);
}
