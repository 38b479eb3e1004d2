//! The little HTTP that is needed to ask a server who it is: one GET, one bounded answer.
//!
//! HTTP/1.0 (RFC 1945), so that no server answers in chunks.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// No answer that is looked at here is longer.
const ANSWER_MAX: usize = 4 << 20;

/// A server's `http://HOST:PORT`, with the path that stands before its API's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    host: String,
    port: u16,
    prefix: String,
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

impl Url {
    /// A server on this machine.
    pub(crate) fn loopback(port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, prefix: String::new() }
    }

    /// Reads a URL; `default_port` where it names none.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("must begin with http://, not {scheme}://")),
            None => text,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority, default_port)?;
        let sound = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
        if !sound || path.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '?' || c == '#') {
            return Err("must be http://HOST:PORT".to_owned());
        }
        let host = if host.is_empty() || host == "0.0.0.0" { "127.0.0.1" } else { host };
        Ok(Self { host: host.to_owned(), port, prefix: path.trim_end_matches('/').to_owned() })
    }

    /// The same server without `/v1` at the end of the path.
    pub(crate) fn without_v1(mut self) -> Self {
        if let Some(rest) = self.prefix.strip_suffix("/v1") {
            self.prefix = rest.to_owned();
        }
        self
    }

    /// Asks for `path`, waiting at most `patience` for each step.
    ///
    /// # Errors
    /// No connection, no answer in time, or an answer that is not HTTP.
    pub(crate) fn get(&self, path: &str, patience: Duration) -> io::Result<Answer> {
        let mut stream = self.connect(patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let Self { host, port, prefix } = self;
        let head = format!("GET {prefix}{path} HTTP/1.0\r\nHost: {host}:{port}\r\n");
        stream.write_all(format!("{head}Accept: */*\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut bytes = Vec::new();
        let mut part = [0; 8192];
        let deadline = Instant::now() + 4 * patience;
        while let length @ 1.. = stream.read(&mut part)? {
            bytes.extend(part.iter().take(length));
            if bytes.len() > ANSWER_MAX || Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the answer has no end"));
            }
        }
        Answer::parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    }

    fn connect(&self, patience: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.host.trim_matches(['[', ']']), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn split_port(authority: &str, default_port: u16) -> Result<(&str, u16), String> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
            Ok((host, port))
        }
        _ => Ok((authority, default_port)),
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, 80)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.prefix)
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, body: body.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_people_write_them() {
        let read = |text| Url::parse(text, 11434).map(|url| url.to_string());
        assert_eq!(read("http://127.0.0.1:8080/v1/"), Ok("http://127.0.0.1:8080/v1".to_owned()));
        assert_eq!(read("0.0.0.0"), Ok("http://127.0.0.1:11434".to_owned()));
        assert_eq!(read(":9000"), Ok("http://127.0.0.1:9000".to_owned()));
        assert_eq!(read("[::1]"), Ok("http://[::1]:11434".to_owned()));
        assert!(read("https://example.com").is_err());
        assert!(read("http://a:b").is_err());
        assert!(read("http://a b/").is_err());
        assert!(read("http://a/x\r\nEvil: 1").is_err());
    }

    #[test]
    fn an_answer_needs_a_status_line() {
        let answer = Answer::parse(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno").expect("an answer");
        assert_eq!(answer, Answer { status: 404, body: "no".to_owned() });
        assert_eq!(Answer::parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(Answer::parse(b""), None);
    }
}
