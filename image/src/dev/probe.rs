//! Asking a server whether it has a model: Ollama by its own API, any other by `/v1/models`.

use std::io;
use std::time::Duration;

use serde::Deserialize;

use crate::failure::{Failure, plain};
use crate::http::{Answer, Url};

/// A server on this machine or this network answers within this, or it is not taken for one.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Ollama's port (<https://docs.ollama.com/faq>).
const OLLAMA_PORT: u16 = 11434;

/// A model that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// What the server speaks.
    pub(crate) kind: Kind,
    /// The server.
    pub(crate) url: Url,
    /// The model's name there.
    pub(crate) model: String,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ollama's own API.
    Ollama,
    /// The OpenAI-compatible `/v1`.
    OpenAi,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    /// Absent in older versions.
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    /// Where a model of Ollama's cloud really is.
    #[serde(default)]
    remote_host: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "version")]
    _version: String,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// Ollama at `OLLAMA_HOST` or where it listens by itself, if it is there and has a model that writes.
///
/// `stated` is the value of `OLLAMA_HOST`. The model is the one that was changed last: that is how Ollama sorts them.
///
/// # Errors
/// Why a stated one cannot be used; without one, absence is no error.
pub(crate) fn ollama(stated: Option<&str>) -> Result<Option<Served>, String> {
    let url = match stated {
        None => Url::loopback(OLLAMA_PORT),
        Some(text) => Url::parse(text, OLLAMA_PORT).map_err(|error| format!("OLLAMA_HOST {error}"))?,
    };
    match (ask_ollama(&url), stated) {
        (Ok(served), _) => Ok(Some(served)),
        (Err(_), None) => Ok(None),
        (Err(why), Some(_)) => Err(format!("OLLAMA_HOST: {url} {why}")),
    }
}

/// The model of the server that the user named.
pub(crate) fn server(url: &Url) -> Result<Served, Failure> {
    let base = url.clone().without_v1();
    let is_ollama = base.get("/api/version", PATIENCE).is_ok_and(|answer| read::<Version>(&answer).is_some());
    let asked = if is_ollama { ask_ollama(&base) } else { ask_openai(&base) };
    asked.map_err(|why| {
        let advice = "start it, or look at its address; or leave --model away to use the model that is fetched";
        Failure::new(format!("cannot use --model {url}"), format!("it {why}"), advice)
    })
}

fn ask_ollama(url: &Url) -> Result<Served, String> {
    let tags: Tags = ask(url, "/api/tags")?;
    let writes = |tag: &Tag| tag.capabilities.as_ref().is_none_or(|can| can.iter().any(|word| word == "completion"));
    // As `llm_router` judges them (`backend/ollama.rs`).
    let is_cloud = |name: &str| name.ends_with("-cloud") || name.ends_with(":cloud");
    let is_here = |tag: &Tag| tag.remote_host.as_ref().is_none_or(String::is_empty) && !is_cloud(&tag.name);
    let usable = |tag: &Tag| writes(tag) && is_here(tag);
    let model = tags.models.into_iter().find(usable).ok_or("has no model of its own that writes: ollama pull NAME")?;
    Ok(Served { kind: Kind::Ollama, url: url.clone(), model: model.name })
}

fn ask_openai(url: &Url) -> Result<Served, String> {
    let models: Models = ask(url, "/v1/models")?;
    let model = models.data.into_iter().next().ok_or("has no model at /v1/models")?;
    Ok(Served { kind: Kind::OpenAi, url: url.clone(), model: model.id })
}

fn ask<T: serde::de::DeserializeOwned>(url: &Url, path: &str) -> Result<T, String> {
    let answer = url.get(path, PATIENCE).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "did not answer in time".to_owned(),
        _ => format!("does not answer ({})", plain(&error)),
    })?;
    read(&answer).ok_or_else(|| format!("answered {} to {path} in no form that is known here", answer.status))
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Option<T> {
    (answer.status == 200).then(|| serde_json::from_str(&answer.body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Recorded from Ollama 0.32.15.
    const TAGS: &str = r#"{"models":[{"name":"minilm:latest","capabilities":["embedding"]},
        {"name":"qwen:0.5b","model":"qwen:0.5b",
        "modified_at":"2026-11-23T03:55:35.461462495Z","size":491400218,
        "digest":"ef0e9ff0a0ffc1497b40ccbb2d0c7256b4bbe5387814e89b77c5f0aa25807cba",
        "details":{"parent_model":"","format":"gguf","family":"qwen2","families":["qwen2"],
        "parameter_size":"630.17M","quantization_level":"Q4_K_M","context_length":32768,"embedding_length":896},
        "capabilities":["completion"]}]}"#;

    /// A server that answers each path of `routes` and 404 to all others, until the process ends.
    fn serve(routes: &'static [(&str, &str)]) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let lines: Vec<_> =
                    BufReader::new(&stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
                let request = lines.first().expect("a request");
                let path = request.split(' ').nth(1).unwrap_or_default();
                let found = routes.iter().find(|(route, _)| *route == path);
                let (status, body) =
                    found.map_or(("404 Not Found", "404 page not found"), |(_, body)| ("200 OK", body));
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                    .expect("written");
            }
        });
        Url::loopback(port)
    }

    #[test]
    fn ollama_is_taken_with_a_model_that_writes() {
        let url = serve(&[("/api/tags", TAGS), ("/api/version", r#"{"version":"0.32.15"}"#)]);
        let expected = Served { kind: Kind::Ollama, url: url.clone(), model: "qwen:0.5b".to_owned() };
        assert_eq!(ollama(Some(&url.to_string())), Ok(Some(expected.clone())));
        assert_eq!(server(&url), Ok(expected));
    }

    #[test]
    fn ollama_without_a_model_is_of_no_use() {
        const CLOUD: &str =
            r#"{"models":[{"name":"a:120b","remote_host":"https://ollama.com:443"},{"name":"b:1t-cloud"}]}"#;
        for routes in [&[("/api/tags", r#"{"models":[]}"#)], &[("/api/tags", CLOUD)]] {
            let url = serve(routes);
            let why = ollama(Some(&url.to_string())).expect_err("nothing to use");
            assert!(why.ends_with("has no model of its own that writes: ollama pull NAME"), "{why}");
        }
    }

    #[test]
    fn any_other_server_is_asked_for_its_models() {
        let url = serve(&[("/v1/models", r#"{"object":"list","data":[{"id":"m.gguf","object":"model"}]}"#)]);
        let with_path: Url = format!("{url}/v1").parse().expect("a URL");
        assert_eq!(server(&with_path), Ok(Served { kind: Kind::OpenAi, url, model: "m.gguf".to_owned() }));
    }

    #[test]
    fn what_is_no_model_server_is_named_with_the_reason() {
        let text = server(&serve(&[("/v1/models", "<html>")])).expect_err("no model").to_string();
        assert!(text.contains("it answered 200 to /v1/models in no form"), "{text}");
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let text = server(&Url::loopback(nobody.port())).expect_err("nobody").to_string();
        assert!(text.contains("does not answer (connection refused)"), "{text}");
        assert!(ollama(Some("https://example.com")).expect_err("no TLS here").starts_with("OLLAMA_HOST must begin"));
    }
}
