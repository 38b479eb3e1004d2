//! Backends that are down, slow, busy, broken or lying.

use std::time::Duration;

use kit::code;
use serde_json::json;

use crate::server::{Act, ModelServer, gone, http, openai, recorded};
use crate::world::{Ears, ask, ask_privately, backend, chat, impatient_router, router, router_on, text, unlabelled};

fn two(first: &str, second: &str) -> String {
    let first = backend("first", "openai", first);
    let second = backend("second", "openai", second);
    format!("{first}{second}[purposes]\ndefault = [\"first\", \"second\"]")
}

async fn message_after(act: Act) -> String {
    let server = ModelServer::start(vec![act]).await;
    let error = ask(&router_on("openai", &server.url), json!({})).await.expect_err("no answer");
    assert_eq!(error.code(), code::MODEL);
    error.message().replace(&server.url, "URL")
}

#[tokio::test]
async fn a_server_that_is_down_is_named_with_what_to_do() {
    let url = gone().await;
    let error = ask(&router_on("openai", &url), json!({"purpose": "copy"})).await.expect_err("nobody there");
    assert_eq!(error.code(), code::MODEL);
    let expected = format!(
        "no model could answer for purpose copy: local (qwen) at {url}: connection refused. \
         Is the model server running? `luca-run system.services`, settings under [arcs.llm_router]"
    );
    assert_eq!(error.message(), expected);
}

#[tokio::test]
async fn the_next_backend_answers_in_place_of_one_that_cannot() {
    let second = ModelServer::start(vec![Act::Answer(openai(&["Yes"], "stop"))]).await;
    let html = http("200 OK", "", "<html>It works!</html>\n");
    let broken = http("500 Internal Server Error", "", "{\"error\":{\"message\":\"out of memory\"}}");
    let missing = recorded("err-unknown-model");
    let cut = openai(&["half"], "stop").split_at(200).0.to_vec();
    for bytes in [html, broken, missing, cut] {
        let first = ModelServer::start(vec![Act::Answer(bytes)]).await;
        let answer = ask(&router(&two(&first.url, &second.url)), json!({})).await.expect("the second answers");
        assert_eq!((answer.backend.as_str(), text(&answer)), ("second", "Yes"));
    }
    let answer = ask(&router(&two(&gone().await, &second.url)), json!({})).await.expect("the second answers");
    assert_eq!(answer.backend, "second");
}

#[tokio::test]
async fn why_each_backend_did_not_answer_is_told() {
    let overflow = ModelServer::start(vec![Act::Answer(recorded("overflow-chat-truncate-false"))]).await;
    let html = ModelServer::start(vec![Act::Answer(http("200 OK", "", "<html>\n"))]).await;
    let error = ask(&router(&two(&overflow.url, &html.url)), json!({})).await.expect_err("neither");
    let expected = format!(
        "no model could answer for purpose chat: first (qwen) at {}: the messages do not fit the model's context (request (6010 \
         tokens) exceeds the available context size (4096 tokens), try increasing it); second (qwen) at {}: what it answers is \
         not what a server of OpenAI's protocol sends. See the settings under [arcs.llm_router]. Shorten the messages, or name \
         a model with a larger context",
        overflow.url, html.url
    );
    assert_eq!(error.message(), expected);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_answer() {
    let whole = openai(&["One, ", "two"], "stop");
    let start = whole.windows(13).position(|window| window == b"finish_reason").unwrap();
    let message = message_after(Act::Answer(whole.split_at(start).0.to_vec())).await;
    assert!(
        message.contains("not what a server of OpenAI's protocol sends") || message.contains("cut off"),
        "{message}"
    );
    let between =
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"One\"}}]}\n\n";
    assert!(message_after(Act::Answer(between.to_vec())).await.contains("the answer was cut off before its end"));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"One\"}}]}\n\n";
    assert!(message_after(Act::Answer(chunked.to_vec())).await.contains("the answer was cut off before its end"));
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_told() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"One\"}}]}\n\ndata: {\"error\":{\"message\":\"slot\\u001b[2J lost\"}}\n\n";
    let message = message_after(Act::Answer(http("200 OK", "", body))).await;
    assert!(message.contains("it broke off (slot [2J lost)"), "{message}");
    let line = "{\"message\":{\"content\":\"One\"},\"done\":false}\n{\"error\":\"an error was encountered while running the model: unexpected EOF\"}\n";
    let server = ModelServer::start(vec![Act::Answer(http("200 OK", "", line))]).await;
    let error = ask(&router_on("ollama", &server.url), json!({})).await.expect_err("broken");
    assert!(error.message().contains("while running the model: unexpected EOF"), "{error}");
}

#[tokio::test]
async fn lines_and_texts_are_bounded() {
    let mut server = ModelServer::start(vec![Act::Flood(http("200 OK", "", "data: "), vec![b'x'; 65_536])]).await;
    let error = ask(&router_on("openai", &server.url), json!({})).await.expect_err("one endless line");
    assert!(error.message().contains("what it answers is larger than 1048576 bytes"), "{error}");
    server.until_closed().await;
    let piece = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "x".repeat(60_000)}}]}));
    let server = ModelServer::start(vec![Act::Flood(http("200 OK", "", ""), piece.into_bytes())]).await;
    let error = ask(&router_on("openai", &server.url), json!({})).await.expect_err("an endless text");
    assert!(error.message().contains("what it answers is larger than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_rubbish() {
    let mut bytes = http("200 OK", "", "data: ");
    bytes.extend(b"\xff\xfe\n\n");
    assert!(message_after(Act::Answer(bytes)).await.contains("what it answers is not what a model server sends"));
}

#[tokio::test]
async fn an_empty_answer_is_no_answer() {
    assert!(message_after(Act::Answer(openai(&["", " \n"], "stop"))).await.contains("it answered nothing"));
}

#[tokio::test]
async fn a_stalled_stream_is_given_up() {
    let mut server = ModelServer::start(vec![Act::Stall(http(
        "200 OK",
        "",
        "data: {\"choices\":[{\"delta\":{\"content\":\"One\"}}]}\n\n",
    ))])
    .await;
    let router = impatient_router(&backend("local", "openai", &server.url));
    let error = ask(&router, json!({})).await.expect_err("nothing more comes");
    assert!(error.message().contains("no further word within 300 ms"), "{error}");
    server.until_closed().await;
}

#[tokio::test]
async fn the_callers_time_out_ends_it() {
    let mut server = ModelServer::start(vec![Act::Stall(Vec::new())]).await;
    let error = ask(&router_on("openai", &server.url), json!({"timeout_ms": 100})).await.expect_err("too slow");
    assert!(error.message().contains("no answer within"), "{error}");
    server.until_closed().await;
}

#[tokio::test]
async fn the_settings_time_out_ends_it() {
    let server = ModelServer::start(vec![Act::Stall(Vec::new())]).await;
    let settings = format!("{}timeout = \"100ms\"", backend("local", "openai", &server.url));
    let error = ask(&router(&settings), json!({})).await.expect_err("too slow");
    assert!(error.message().contains("no answer within 100 ms"), "{error}");
}

#[tokio::test]
async fn a_model_that_is_being_loaded_is_waited_for() {
    let loading = http(
        "503 Service Unavailable",
        "",
        "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503}}",
    );
    let script =
        vec![Act::Answer(loading.clone()), Act::Answer(loading.clone()), Act::Answer(openai(&["Yes"], "stop"))];
    let server = ModelServer::start(script).await;
    assert_eq!(text(&ask(&router_on("openai", &server.url), json!({})).await.expect("an answer")), "Yes");
    let server = ModelServer::start(vec![Act::Answer(loading)]).await;
    let error = ask(&router_on("openai", &server.url), json!({"timeout_ms": 200})).await.expect_err("for ever");
    assert!(error.message().contains("the model is still being loaded"), "{error}");
}

#[tokio::test]
async fn a_busy_backend_is_tried_once_more() {
    let busy =
        http("503 Service Unavailable", "Retry-After: 3600\r\n", "{\"error\":\"server busy, please try again\"}");
    let server =
        ModelServer::start(vec![Act::Answer(busy.clone()), Act::Answer(recorded("chat-stream-qwen_0.5b"))]).await;
    assert!(ask(&router_on("ollama", &server.url), json!({})).await.is_ok());
    let server = ModelServer::start(vec![Act::Answer(busy)]).await;
    let error = ask(&router_on("ollama", &server.url), json!({})).await.expect_err("busy");
    assert!(error.message().contains("it is busy (server busy, please try again)"), "{error}");
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn the_last_hope_is_given_time_to_be_started_anew() {
    let cut = http("200 OK", "", "data: {\"choices\":[{\"delta\":{\"content\":\"On\"}}]}\n\n");
    let server = ModelServer::start(vec![Act::Answer(cut), Act::Answer(openai(&["One, ", "two"], "stop"))]).await;
    let ears = Ears::open();
    let answer = router_on("openai", &server.url).chat(chat(json!({})), &unlabelled(), &ears).await.expect("an answer");
    assert_eq!(text(&answer), "One, two");
    assert_eq!(ears.told(), ["On", "<Again from the beginning: the answer broke off, asking local>", "One, ", "two"]);
}

#[tokio::test]
async fn a_backend_that_failed_thrice_is_left_alone() {
    let broken = ModelServer::start(vec![Act::Answer(http("500 Oh", "", "{\"error\":\"no memory\"}"))]).await;
    let second = ModelServer::start(vec![Act::Answer(openai(&["Yes"], "stop"))]).await;
    let router = router(&two(&broken.url, &second.url));
    for _ in 0..5 {
        assert_eq!(ask(&router, json!({})).await.expect("an answer").backend, "second");
    }
    assert_eq!(broken.heard().len(), 3);
    assert_eq!(second.heard().len(), 5);
}

#[tokio::test]
async fn the_only_backend_is_asked_however_often_it_failed() {
    let mut script = vec![Act::Answer(http("500 Oh", "", "{\"error\":\"no memory\"}")); 5];
    script.push(Act::Answer(openai(&["Yes"], "stop")));
    let server = ModelServer::start(script).await;
    let router = router(&backend("local", "openai", &server.url));
    for _ in 0..5 {
        let error = ask(&router, json!({})).await.expect_err("it has no memory");
        assert!(error.message().contains("no memory"), "{error}");
    }
    assert_eq!(ask(&router, json!({})).await.expect("it is well again").backend, "local");
}

#[tokio::test]
async fn private_data_is_not_sent_elsewhere() {
    // A documentation address (RFC 5737): nothing must ever be sent there.
    let settings = two("http://192.0.2.1:9", &gone().await);
    let error = ask_privately(&router(&settings)).await.expect_err("only the local one may be asked");
    assert!(error.message().contains("second (qwen) at http://127.0.0.1:"), "{error}");
    let reason = "first (qwen) at http://192.0.2.1:9: skipped, the run holds private data and this backend is not on this machine";
    assert!(error.message().contains(reason), "{error}");
    let local = ModelServer::start(vec![Act::Answer(openai(&["Yes"], "stop"))]).await;
    let answer = ask_privately(&router(&two("http://192.0.2.1:9", &local.url))).await.expect("the local one answers");
    assert_eq!(answer.backend, "second");
}

#[tokio::test]
async fn private_data_is_not_sent_on_by_a_server_that_is_here() {
    let tags = json!({"models": [
        {"name": "large:latest", "remote_host": "https://cloud.example", "remote_model": "large"},
        {"name": "larger:1t-cloud"},
        {"name": "small:latest"},
    ]});
    let listing = || Act::Answer(http("200 OK", "", &tags.to_string()));
    for model in ["large", "larger:1t-cloud"] {
        let server = ModelServer::start(vec![listing()]).await;
        let settings = backend("local", "ollama", &server.url).replace("qwen", model);
        let error = ask_privately(&router(&settings)).await.expect_err("it is not here");
        assert!(error.message().contains("skipped, the run holds private data"), "{error}");
        assert!(server.heard().iter().all(|heard| heard.line == "GET /api/tags"));
    }
    let server = ModelServer::start(vec![listing(), Act::Answer(recorded("chat-stream-qwen_0.5b"))]).await;
    let settings = format!("[backends.local]\nkind = \"ollama\"\nurl = \"{}\"", server.url);
    assert_eq!(ask_privately(&router(&settings)).await.expect("an answer").model, "small:latest");
}

#[tokio::test]
async fn a_caller_who_goes_away_closes_the_connection() {
    let mut server = ModelServer::start(vec![Act::Stall(http(
        "200 OK",
        "",
        "data: {\"choices\":[{\"delta\":{\"content\":\"One\"}}]}\n\n",
    ))])
    .await;
    let router = router_on("openai", &server.url);
    let (ears, nobody) = (Ears::open(), unlabelled());
    let call = router.chat(chat(json!({})), &nobody, &ears);
    let first_word = async {
        while ears.told().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = call => panic!("no answer can be whole: {answer:?}"),
        () = first_word => {}
    }
    server.until_closed().await;
}

#[tokio::test]
async fn no_more_requests_at_once_than_the_settings_say() {
    let server = ModelServer::start(vec![Act::Stall(Vec::new())]).await;
    let router = router(&format!("{}parallel = 1", backend("local", "openai", &server.url)));
    let (first, second) =
        tokio::join!(ask(&router, json!({"timeout_ms": 2000})), ask(&router, json!({"timeout_ms": 100})));
    assert!(first.expect_err("slow").message().contains("no answer within"));
    let second = second.expect_err("no slot");
    assert!(second.message().contains("it is busy (its bound of 1 at once is reached)"), "{second}");
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = ModelServer::start(vec![Act::Answer(openai(&["stolen"], "stop"))]).await;
    let moved = http("307 Temporary Redirect", &format!("Location: {}/v1/chat/completions\r\n", other.url), "");
    let message = message_after(Act::Answer(moved)).await;
    assert!(message.contains("it redirects elsewhere (status 307): correct its url"), "{message}");
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn a_slow_backend_does_not_hold_the_others_up() {
    let slow = ModelServer::start(vec![Act::Stall(Vec::new())]).await;
    let quick = ModelServer::start(vec![Act::Answer(openai(&["Yes"], "stop"))]).await;
    let first = format!("{}timeout = \"100ms\"\n", backend("first", "openai", &slow.url));
    let settings = format!(
        "{first}{}[purposes]\ndefault = [\"first\", \"second\"]\nrank = [\"second\"]",
        backend("second", "openai", &quick.url)
    );
    let router = router(&settings);
    let bound = Duration::from_secs(10);
    let both = async { tokio::join!(ask(&router, json!({})), ask(&router, json!({"purpose": "rank"}))) };
    let (fallen_back, direct) = tokio::time::timeout(bound, both).await.expect("in time");
    assert_eq!(fallen_back.expect("an answer").backend, "second");
    assert_eq!(direct.expect("an answer").backend, "second");
}
