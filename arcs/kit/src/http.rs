//! The way out: HTTP by the egress proxy, and why it was refused.

use std::time::Duration;

use reqwest::{ClientBuilder, Proxy, Response, Url};
use spec::control::env;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The header in which the proxy says why it refuses.
const DENIED: &str = "x-llmbasedos-denied";
/// How long the proxy may take to say it, and how much it says at the most.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: u64 = 8 << 10;

/// A client that reaches what the Arc's manifest grants (`egress` in `[cage]`), by the proxy that init names. Outside of a
/// cage there is none, and it connects directly. No other proxy of the environment counts.
pub fn client_builder() -> ClientBuilder {
    let builder = reqwest::Client::builder().no_proxy();
    match proxy().and_then(|proxy| Proxy::all(proxy).ok()) {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    }
}

fn proxy() -> Option<Url> {
    std::env::var(env::PROXY).ok()?.parse().ok()
}

/// Why the proxy did not carry a request over, where it is the proxy that answers: words for a person, which name the key
/// of the manifest to change.
#[must_use]
pub fn denial(response: &Response) -> Option<String> {
    proxy()?;
    let words = response.headers().get(DENIED)?.to_str().ok()?;
    Some(words.to_owned())
}

/// The same for a request to an `https` address that failed: a client does not show what is answered to its CONNECT, so
/// the proxy is asked once more.
pub async fn why_refused(url: &Url) -> Option<String> {
    let proxy = proxy().filter(|_| url.scheme() == "https")?;
    let target = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
    let ask = async {
        let mut stream = TcpStream::connect((proxy.host_str()?, proxy.port()?)).await.ok()?;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await.ok()?;
        words_of(&String::from_utf8_lossy(&answer))
    };
    tokio::time::timeout(PATIENCE, ask).await.ok().flatten()
}

/// What stands in that header of an answer.
fn words_of(answer: &str) -> Option<String> {
    let headers = answer.lines().take_while(|line| !line.is_empty());
    let mut named = headers.filter_map(|line| line.split_once(':'));
    let (_, words) = named.find(|(name, _)| name.eq_ignore_ascii_case(DENIED))?;
    Some(words.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_proxy_are_found_in_its_answer() {
        let answer = "HTTP/1.1 403 Forbidden\r\nX-Llmbasedos-Denied: kv may not reach a:1: add it\r\n\r\nbody";
        assert_eq!(words_of(answer).as_deref(), Some("kv may not reach a:1: add it"));
        assert_eq!(words_of("HTTP/1.1 200 OK\r\n\r\nx-llmbasedos-denied: no"), None);
    }
}
