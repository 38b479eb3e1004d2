//! HTTP with a backend: the client, and answers read in bounded pieces.

use std::sync::Once;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};

use super::error_body;
use crate::failure::Failure;
use crate::key::Key;

/// The longest line of a stream, in bytes: a whole answer may come in one.
const MAX_LINE: usize = 1 << 20;

/// The largest answer that is read whole (a list of models), and how much of an error is read, in bytes.
const MAX_WHOLE: usize = 1 << 20;
const MAX_ERROR: usize = 64 << 10;

static PROVIDER: Once = Once::new();

/// A client for one backend: by the way out of the cage, to that address alone (no redirects), on a new connection for
/// each question, so that none is asked on one that the server has given up.
pub(super) fn client(url: &Url, connect: Duration) -> Result<Client, String> {
    PROVIDER.call_once(|| {
        // Fails only where a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut builder = kit::http::client_builder()
        .redirect(Policy::none())
        .connect_timeout(connect)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("llmbasedos/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        // No certificate is looked at, and a machine that has none can still use its local model.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        tracing::debug!(?error, "no TLS");
        "this machine has no certificate authorities to check an https address with: install ca-certificates".to_owned()
    })
}

/// Sends a request; an answer that is not a success becomes a failure. What it says of it is dropped where it repeats
/// `key`, before anything is cut out of it.
pub(super) async fn send(request: RequestBuilder, key: Option<&Key>) -> Result<Response, Failure> {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| Failure::of_client(&error))?;
    let url = request.url().clone();
    let response = match client.execute(request).await {
        Ok(response) => response,
        Err(error) if error.is_connect() => {
            let refused = kit::http::why_refused(&url).await.map(Failure::Unreachable);
            return Err(refused.unwrap_or_else(|| Failure::of_client(&error)));
        }
        Err(error) => return Err(Failure::of_client(&error)),
    };
    if let Some(words) = kit::http::denial(&response) {
        return Err(Failure::Unreachable(words));
    }
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    // What cannot be read of an error is not worth another error.
    let body = up_to(response, MAX_ERROR).await.unwrap_or_default();
    let failure = error_body::failure(status, &headers, &body);
    // In the words as they came and as they were decoded.
    let gives_away = |key: &Key| key.is_in(&String::from_utf8_lossy(&body)) || key.is_in(&failure.to_string());
    if key.is_some_and(gives_away) { Err(Failure::KeyEchoed) } else { Err(failure) }
}

/// The whole body of an answer.
pub(super) async fn whole(response: Response) -> Result<Vec<u8>, Failure> {
    let body = up_to(response, MAX_WHOLE + 1).await?;
    if body.len() > MAX_WHOLE { Err(Failure::TooLarge(MAX_WHOLE)) } else { Ok(body) }
}

/// The first `most` bytes of an answer.
async fn up_to(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of_client(&error))? {
        let room = most.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body)
}

/// The lines of an answer, as they come.
pub(super) struct Lines {
    stream: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    pending: Vec<u8>,
    /// How many bytes of `pending` are known to hold no line end.
    seen: usize,
    is_over: bool,
}

impl Lines {
    pub(super) fn new(response: Response) -> Self {
        let stream = response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed();
        Self { stream, pending: Vec::new(), seen: 0, is_over: false }
    }

    /// The next line without its end; `None` at the end of the answer. A last line that has no end was cut off, and is
    /// none.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(line) = self.take()? {
                return Ok(Some(line));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.stream.next().await {
                Some(Ok(chunk)) => self.pending.extend(chunk),
                // What has come is whole lines or nothing: a broken connection leaves no answer.
                Some(Err(error)) => {
                    tracing::debug!(%error, "a stream broke");
                    return Err(Failure::Cut);
                }
                None => self.is_over = true,
            }
        }
    }

    fn take(&mut self) -> Result<Option<String>, Failure> {
        let end = self.pending.iter().skip(self.seen).position(|&byte| byte == b'\n').map(|at| at + self.seen);
        self.seen = self.pending.len();
        if end.unwrap_or(self.pending.len()) > MAX_LINE {
            return Err(Failure::TooLarge(MAX_LINE));
        }
        let line: Vec<u8> = match end {
            Some(end) => self.pending.drain(..=end).collect(),
            None => return Ok(None),
        };
        self.seen = 0;
        let line = String::from_utf8(line).map_err(|_| Failure::Rubbish("a model server"))?;
        Ok(Some(line.trim_end().to_owned()))
    }
}
