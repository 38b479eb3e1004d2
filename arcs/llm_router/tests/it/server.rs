//! A model server that follows a script: raw bytes on a real socket, so that it can also break off, stall and lie.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the server does with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends these bytes and closes the connection.
    Answer(Vec<u8>),
    /// Sends these bytes and goes on sending nothing until the client closes.
    Stall(Vec<u8>),
    /// Sends the first bytes, then the second ones again and again until the client closes.
    Flood(Vec<u8>, Vec<u8>),
}

/// A request as the server read it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Method and path.
    pub(crate) line: String,
    /// Headers in lower case.
    pub(crate) headers: String,
    /// The JSON body; null where there is none.
    pub(crate) body: Value,
}

/// A running server; it ends when this is dropped.
pub(crate) struct ModelServer {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    closed: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl ModelServer {
    /// A server that does the acts in order, the last one for ever.
    pub(crate) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (sender, closed) = watch::channel(0);
        let sender = Arc::new(sender);
        let task = tokio::spawn({
            let heard = heard.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, script.clone(), heard.clone(), sender.clone()));
                }
            }
        });
        Self { url, heard, closed, task }
    }

    /// The requests so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a client has closed a connection on which the server stalled or flooded.
    pub(crate) async fn until_closed(&mut self) {
        let closed = self.closed.wait_for(|count| *count > 0);
        tokio::time::timeout(Duration::from_secs(10), closed).await.expect("closed in time").expect("the server lives");
    }
}

/// The address of a server that has gone.
pub(crate) async fn gone() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Vec<Act>,
    heard: Arc<Mutex<Vec<Heard>>>,
    closed: Arc<watch::Sender<u32>>,
) {
    let Some(request) = read(&mut stream).await else { return };
    let number = {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(request);
        heard.len() - 1
    };
    match script.get(number).or(script.last()).expect("an act").clone() {
        Act::Answer(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Act::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.read(&mut [0; 1]).await;
            closed.send_modify(|count| *count += 1);
        }
        Act::Flood(bytes, more) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(&more).await.is_ok() {}
            closed.send_modify(|count| *count += 1);
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, headers) = head.split_once("\r\n")?;
    let headers = headers.to_lowercase();
    let length =
        headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
    Some(Heard { line: line.trim_end_matches(" HTTP/1.1").to_owned(), headers, body })
}

/// An answer with this status and body, ended by closing the connection.
pub(crate) fn http(status: &str, more: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n{body}").into_bytes()
}

/// The raw answer of a recorded exchange with a real Ollama.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/it/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a recorded exchange");
    let (_, answer) = text.split_once("### response (raw bytes)\n").expect("an answer");
    answer.split("\n### timing").next().expect("bytes").as_bytes().to_vec()
}

/// A stream as llama.cpp's server and OpenAI send it: the pieces, why it ended, what it took, the end mark.
pub(crate) fn openai(pieces: &[&str], finish: &str) -> Vec<u8> {
    let mut body = String::new();
    for piece in pieces {
        let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": null}]});
        body.push_str(&format!("data: {delta}\n\n"));
    }
    let end = serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
    let usage =
        serde_json::json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
    body.push_str(&format!("data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n"));
    http("200 OK", "Content-Type: text/event-stream\r\n", &body)
}
