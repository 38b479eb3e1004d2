//! Requests to an Arc, as the era in which it speaks has them.

use serde_json::{Value, json};
use tokio_util::bytes::Bytes;

use crate::mcp::{Era, WITH_INITIALIZE};

/// What the gateway says of itself in `_meta` of each request; see "The protocol inside" in ARCHITECTURE.md.
const META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"llmbasedos-gateway","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"io.modelcontextprotocol/clientCapabilities":{}"#
);

/// A request to an Arc.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    /// The members of its params beside `_meta`, each with a comma after it.
    pub(super) members: &'a [u8],
    /// Members of `_meta` beside those of every request, each with a comma before it.
    pub(super) meta: &'a [u8],
}

impl Ask<'_> {
    /// The message. The id serves as the token of progress too.
    pub(super) fn line(&self, id: u64, with_progress: bool, era: Era) -> Vec<u8> {
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{}\",\"params\":{{", self.method);
        let token = if with_progress { format!(",\"progressToken\":{id}") } else { String::new() };
        let mut meta = [self.meta, token.as_bytes()].concat();
        match era {
            Era::Stateless => meta.splice(0..0, META.bytes()).for_each(drop),
            // Of an older revision nothing stands before them.
            Era::WithInitialize => meta.splice(0..meta.len().min(1), []).for_each(drop),
        }
        let parts: [&[u8]; 5] = [head.as_bytes(), self.members, br#""_meta":{"#, &meta, b"}}}\n"];
        parts.concat()
    }
}

/// `initialize`, with which a connection of the revisions before 2026-07-28 begins.
pub(super) fn initialize(id: u64) -> Vec<u8> {
    let [newest, ..] = WITH_INITIALIZE;
    let client = json!({ "name": "llmbasedos-gateway", "version": env!("CARGO_PKG_VERSION") });
    let params: Value = json!({ "protocolVersion": newest, "capabilities": {}, "clientInfo": client });
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": "initialize", "params": params });
    format!("{request}\n").into_bytes()
}

/// What follows the answer to `initialize`.
pub(super) const INITIALIZED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/// A result of an older revision as one of 2026-07-28, where each has a type.
pub(super) fn with_type(result: Bytes) -> Bytes {
    const TYPE: &[u8] = br#"{"resultType":"complete""#;
    let Some(rest) = result.strip_prefix(b"{") else { return result };
    let comma: &[u8] = if rest.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
    [TYPE, comma, rest].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ask: &Ask<'_>, with_progress: bool, era: Era) -> Value {
        serde_json::from_slice(&ask.line(7, with_progress, era)).expect("JSON")
    }

    #[test]
    fn an_older_server_is_not_told_of_the_newest_revision() {
        let ask = Ask { method: "tools/call", members: br#""name":"get","#, meta: br#","x":1"# };
        let expected = json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": { "name": "get", "_meta": { "x": 1, "progressToken": 7 } },
        });
        assert_eq!(line(&ask, true, Era::WithInitialize), expected);
        let newest = line(&ask, false, Era::Stateless);
        assert_eq!(newest["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(newest["params"]["_meta"]["x"], 1);
        let bare = Ask { method: "tools/list", members: b"", meta: b"" };
        assert_eq!(line(&bare, false, Era::WithInitialize)["params"], json!({ "_meta": {} }));
        assert_eq!(line(&bare, true, Era::WithInitialize)["params"], json!({ "_meta": { "progressToken": 7 } }));
    }

    #[test]
    fn a_result_gets_the_type_that_newer_clients_look_for() {
        let table = [
            (r#"{"content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
            ("{ }", r#"{"resultType":"complete" }"#),
            ("7", "7"),
        ];
        for (result, expected) in table {
            assert_eq!(with_type(Bytes::from_static(result.as_bytes())), expected, "{result}");
        }
    }
}
