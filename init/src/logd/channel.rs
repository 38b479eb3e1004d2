//! The channel to init (`spec::control`): JSON-RPC, a message a line, some with descriptors.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spec::Name;
use spec::control::{
    ByName, Fingerprints, LOG, LOG_RESUME, LOG_STREAM, LOGS, LogAnswer, LogLine, LogQuery, LogResume, NextLines,
    REDACT, UNFOLLOW,
};

use crate::log::Journal;
use crate::sys;

/// What is read in one turn.
const TURN: usize = 16 * 1024;

/// What init says.
pub(super) enum Message {
    /// There is a service whose output is to be kept.
    Stream { service: Name, pipe: OwnedFd, journal: Journal },
    /// Somebody asks for lines; the answer bears this id.
    Query { id: Value, query: LogQuery },
    /// Somebody follows, and knows what comes before these.
    Resume(NextLines),
    /// Nobody follows any more.
    Unfollow,
    /// By what secrets are found.
    Redact(Fingerprints),
}

/// The channel. What is read does not wait; what is written does, for init always reads.
pub(super) struct Channel {
    stream: UnixStream,
    begun: Vec<u8>,
    /// Descriptors whose message has not come whole.
    descriptors: VecDeque<OwnedFd>,
    is_closed: bool,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

impl Channel {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self { stream: descriptor.into(), begun: Vec::new(), descriptors: VecDeque::new(), is_closed: false }
    }

    /// Whether init is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What init has said.
    pub(super) fn hear(&mut self) -> io::Result<Vec<Message>> {
        let mut buffer = [0; TURN];
        let count = match sys::receive_attached(&self.stream, &mut buffer, &mut self.descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            other => other?,
        };
        self.is_closed = count == 0;
        self.begun.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let whole = self.begun.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.begun.drain(..whole).collect();
        lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(|line| self.read(line)).collect()
    }

    fn read(&mut self, line: &[u8]) -> io::Result<Message> {
        let Wire { id, method, params } = serde_json::from_slice(line)?;
        match method.as_str() {
            LOG_STREAM => {
                let ByName { name } = serde_json::from_value(params)?;
                let mut descriptor = || self.descriptors.pop_front().ok_or_else(|| missing(&name));
                let (pipe, journal) = (descriptor()?, descriptor()?.into());
                Ok(Message::Stream { service: name, pipe, journal })
            }
            LOGS => Ok(Message::Query { id, query: serde_json::from_value(params)? }),
            LOG_RESUME => Ok(Message::Resume(serde_json::from_value::<LogResume>(params)?.next)),
            UNFOLLOW => Ok(Message::Unfollow),
            REDACT => Ok(Message::Redact(serde_json::from_value(params)?)),
            other => Err(io::Error::other(format!("init asks for {other:?}, which logd does not know"))),
        }
    }

    /// Answers a query.
    pub(super) fn answer(&self, id: &Value, answer: &LogAnswer) -> io::Result<()> {
        self.write([json!({ "jsonrpc": "2.0", "id": id, "result": answer })])
    }

    /// Tells of lines.
    pub(super) fn tell<'l>(&self, lines: impl IntoIterator<Item = &'l LogLine>) -> io::Result<()> {
        self.write(lines.into_iter().map(|line| json!({ "jsonrpc": "2.0", "method": LOG, "params": line })))
    }

    fn write(&self, messages: impl IntoIterator<Item = impl Serialize>) -> io::Result<()> {
        let mut writer = BufWriter::new(&self.stream);
        for message in messages {
            serde_json::to_writer(&mut writer, &message)?;
            writer.write_all(b"\n")?;
        }
        writer.flush()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn missing(name: &Name) -> io::Error {
    io::Error::other(format!("the pipe of {name} did not come with its name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_comes_with_its_descriptors_and_a_query_without() {
        let (init, theirs) = UnixStream::pair().expect("a pair");
        let mut channel = Channel::new(theirs.into());
        let (pipe, _writer) = io::pipe().expect("a pipe");
        let journal = Journal::create().expect("a journal");
        let attached = [pipe.into(), journal.share().expect("shared")];
        let text = b"{\"method\":\"log.stream\",\"params\":{\"name\":\"kv\"}}\n{\"id\":7,\"method\":\"logs\",\"par";
        assert_eq!(sys::send(&init, text, &attached).expect("sent"), text.len());
        let heard = channel.hear().expect("heard");
        assert!(matches!(heard.as_slice(), [Message::Stream { service, .. }] if service.as_str() == "kv"));
        (&init).write_all(b"ams\":{\"lines\":3}}\n").expect("sent");
        let heard = channel.hear().expect("heard");
        assert!(
            matches!(heard.as_slice(), [Message::Query { id, query }] if *id == json!(7) && query.lines == Some(3))
        );
        drop(init);
        assert!(channel.hear().is_ok_and(|heard| heard.is_empty()) && channel.is_closed());
    }

    #[test]
    fn what_cannot_be_used_is_an_error() {
        for text in ["{\"method\":\"log.stream\",\"params\":{\"name\":\"kv\"}}\n", "{\"method\":\"format\"}\n", "[]\n"]
        {
            let (init, theirs) = UnixStream::pair().expect("a pair");
            (&init).write_all(text.as_bytes()).expect("sent");
            assert!(Channel::new(theirs.into()).hear().is_err(), "{text}");
        }
    }
}
