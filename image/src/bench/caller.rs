//! A caller as thin as can be, so that what is measured is the system and not the caller.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::failure::Failure;

/// Which door a caller calls at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The gateway's: tools by their full names.
    Gateway,
    /// The Arc's own: what the gateway sends it, sent by us.
    Arc,
}

/// One connection, one call at a time.
pub(crate) struct Caller {
    door: Door,
    reader: BufReader<UnixStream>,
    line: String,
}

/// What the gateway puts into `_meta` of each request to an Arc.
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{},"llmbasedos/caller":{"who":"owner","run":"r-bench"}},"#;

impl Caller {
    pub(crate) fn connect(socket: &Path, door: Door) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).map_err(|error| Failure::io("reach", socket, &error))?;
        Ok(Self { door, reader: BufReader::new(stream), line: String::new() })
    }

    /// Calls a tool and waits for its answer, which must be a success.
    pub(crate) fn call(&mut self, namespace: &str, tool: &str, arguments: &str) -> Result<(), Failure> {
        let (meta, name) = match self.door {
            Door::Gateway => ("", format!("{namespace}.{tool}")),
            Door::Arc => (META, tool.to_owned()),
        };
        let request = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{{meta}\"name\":\"{name}\",\"arguments\":{arguments}}}}}\n"
        );
        let answered = self.exchange(&request);
        let failed = |reason: String| {
            Failure::new(
                format!("cannot measure {namespace}.{tool}"),
                reason,
                "is the system running? start it: scripts/run",
            )
        };
        answered.map_err(|error| failed(error.to_string()))?;
        let is_success = self.line.contains("\"result\"") && !self.line.contains("\"isError\":true");
        if is_success { Ok(()) } else { Err(failed(self.line.trim().to_owned())) }
    }

    fn exchange(&mut self, request: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(request.as_bytes())?;
        self.line.clear();
        match self.reader.read_line(&mut self.line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
