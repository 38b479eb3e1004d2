//! `/ws`: the same as the UNIX socket, for those who come from where they may.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::fake_arc::{FakeArc, tool};
use crate::system::{System, soon};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(system: &System, host: Option<&str>, origin: Option<&str>) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/ws", system.address).into_client_request().expect("a request");
    for (name, value) in [("host", host), ("origin", origin)] {
        if let Some(value) = value {
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
    }
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    match soon("an answer", connect_async_with_config(request, Some(config), true)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn receive(socket: &mut Socket) -> Value {
    let message = soon("a message", socket.next()).await.expect("not the end").expect("sound");
    serde_json::from_str(message.to_text().expect("text")).expect("JSON")
}

async fn ask(socket: &mut Socket, request: &str) -> Value {
    socket.send(Message::text(request)).await.expect("it reads");
    receive(socket).await
}

fn kv() -> FakeArc {
    FakeArc::echo("kv", "", json!([tool("get", &["key"])]))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_speaking_are_understood() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut socket = connect(&system, None, None).await.expect("let in");
    let bare = ask(&mut socket, r#"{"id":"a","method":"mcp.kv.get","params":["x"]}"#).await;
    assert_eq!(bare, json!({ "jsonrpc": "2.0", "id": "a", "result": { "key": "x" } }));
    let standard =
        ask(&mut socket, r#"{"id":1,"method":"tools/call","params":{"name":"kv.get","arguments":{"key":"x"}}}"#).await;
    assert_eq!(standard["result"]["structuredContent"], json!({ "key": "x" }));
    socket.send(Message::Ping(Bytes::from_static(b"20 s"))).await.expect("it reads");
    let pong = soon("a pong", socket.next()).await.expect("not the end").expect("sound");
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"20 s")));
    socket.send(Message::binary(&br#"{"id":2,"method":"ping"}"#[..])).await.expect("it reads");
    assert_eq!(receive(&mut socket).await["id"], 2, "bytes will do as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_origins_and_hosts_are_kept_out() {
    let system = System::start(&[]).await;
    let port = system.address.port();
    let other = if port == 1 { 2 } else { port - 1 };
    let table = [
        (None, None, Ok(())),
        (None, Some(format!("http://127.0.0.1:{port}")), Ok(())),
        (None, Some(format!("http://localhost:{port}")), Ok(())),
        (Some(format!("localhost:{port}")), None, Ok(())),
        (None, Some("http://example.com".to_owned()), Err(403)),
        (None, Some(format!("http://127.0.0.1:{other}")), Err(403)),
        (None, Some(format!("https://127.0.0.1:{port}")), Err(403)),
        (None, Some(format!("http://127.0.0.1.example.com:{port}")), Err(403)),
        (None, Some("null".to_owned()), Err(403)),
        (Some(format!("example.com:{port}")), None, Err(421)),
        (Some(format!("example.com:{port}")), Some(format!("http://example.com:{port}")), Err(421)),
    ];
    for (host, origin, expected) in table {
        let found = connect(&system, host.as_deref(), origin.as_deref()).await.map(|_| ());
        assert_eq!(found, expected, "host {host:?}, origin {origin:?}");
    }
}

/// What a listener that other machines reach answers to an attempt with these headers.
async fn knock(system: &System, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let address = format!("ws://127.0.0.1:{}/ws", system.address.port());
    let mut request = address.into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    match soon("an answer", connect_async_with_config(request, None, true)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_open_listener_only_a_token_opens() {
    let kv = kv();
    let settings = "tokens = [\"0123456789abcdef\"]";
    let system = System::start_open(Some(settings), &[&kv]).await;
    let bearer = ("authorization", "Bearer 0123456789abcdef");
    assert_eq!(knock(&system, &[]).await.map(|_| ()), Err(401), "the user of the machine is nobody here");
    for wrong in ["Bearer 0123456789abcdeF", "Bearer ", "Basic 0123456789abcdef"] {
        assert_eq!(knock(&system, &[("authorization", wrong)]).await.map(|_| ()), Err(401), "{wrong}");
    }
    let foreign = ("origin", "http://example.com");
    assert_eq!(knock(&system, &[bearer, foreign]).await.map(|_| ()), Err(403));
    let mut socket = knock(&system, &[bearer, ("host", "llmbasedos.local")]).await.expect("let in");
    let answer = ask(&mut socket, r#"{"id":"a","method":"mcp.kv.get","params":["x"]}"#).await;
    assert_eq!(answer["result"], json!({ "key": "x" }));

    let none = System::start_open(None, &[]).await;
    assert_eq!(knock(&none, &[bearer]).await.map(|_| ()), Err(401), "without a token nobody comes in");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_answered_and_the_next_as_well() {
    let kv = kv();
    let system = System::start(&[&kv]).await;
    let mut socket = connect(&system, None, None).await.expect("let in");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let long = "x".repeat(20 << 20);
    let cases = [
        (Message::text("hello"), Value::Null, -32700),
        (Message::text(r#"[{"id":1,"method":"ping"}]"#), Value::Null, -32600),
        (Message::text(r#"{"id":"x","method":7}"#), json!("x"), -32600),
        (Message::text(r#"{"id":"x"}"#), json!("x"), -32600),
        (Message::text("42"), Value::Null, -32600),
        (Message::text(deep.clone()), Value::Null, -32600),
        (Message::text(r#"{"id":1,"method":"mcp.kv.get","params":"a"}"#), json!(1), -32602),
        (Message::text(format!(r#"{{"id":9,"method":"mcp.kv.get","params":{deep}}}"#)), json!(9), -32600),
        (Message::text(format!(r#"{{"method":"mcp.kv.get","params":["{long}"],"id":"last"}}"#)), json!("last"), -32600),
        (Message::binary(&b"{\"id\":\"u\",\"method\":\"\xc3\x28\"}"[..]), json!("u"), -32700),
    ];
    for (message, id, code) in cases {
        socket.send(message).await.expect("it reads");
        let answer = receive(&mut socket).await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{answer}");
        let next = ask(&mut socket, r#"{"id":"n","method":"mcp.kv.get","params":["next"]}"#).await;
        assert_eq!(next["result"], json!({ "key": "next" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_the_connection_is_said_first() {
    let system = System::start(&[]).await;
    let mut socket = connect(&system, None, None).await.expect("let in");
    let broken = tokio_tungstenite::tungstenite::protocol::frame::Frame::message(
        Bytes::from_static(b"{\"id\":1,\"method\":\"\xc3\x28\"}"),
        tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode::Data(
            tokio_tungstenite::tungstenite::protocol::frame::coding::Data::Text,
        ),
        true,
    );
    socket.send(Message::Frame(broken)).await.expect("it reads");
    assert_eq!(receive(&mut socket).await["error"]["code"], -32700);
    let close = soon("a farewell", socket.next()).await.expect("a frame").expect("sound");
    assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1007), "{close:?}");
    assert_eq!(connect(&system, None, None).await.map(|_| ()), Ok(()), "others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_cancelled_when_its_caller_is_gone() {
    let kv = FakeArc::new("kv", "", json!([tool("get", &["key"])]));
    let system = System::start(&[&kv]).await;
    let mut socket = connect(&system, None, None).await.expect("let in");
    socket.send(Message::text(r#"{"id":1,"method":"mcp.kv.get"}"#)).await.expect("it reads");
    let call = kv.next().await;
    drop(socket);
    assert_eq!(kv.next().await.message["params"]["requestId"], call.message["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_says_what_this_is() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let system = System::start(&[]).await;
    let mut answers = Vec::new();
    for (path, host) in [("/", "localhost"), ("/", "example.com"), ("/other", "localhost"), ("/ws", "localhost")] {
        let mut stream = TcpStream::connect(system.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.expect("text");
        answers.push(answer);
    }
    assert!(answers[0].starts_with("HTTP/1.1 200") && answers[0].contains("connect to /ws"), "{}", answers[0]);
    assert!(answers[1].starts_with("HTTP/1.1 421"), "{}", answers[1]);
    assert!(answers[2].starts_with("HTTP/1.1 404"), "{}", answers[2]);
    assert!(answers[3].starts_with("HTTP/1.1 4"), "{}", answers[3]);
}
