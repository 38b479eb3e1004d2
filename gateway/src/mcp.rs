//! Standard MCP: the revisions, and the results of its own methods.
//!
//! Sources: the specification of 2026-07-28 (basic/versioning, server/tools) and of 2025-11-25 (basic/lifecycle).

use serde::Deserialize;
use serde_json::{Value, json};
use spec::caller::code;
use tokio_util::bytes::Bytes;

use crate::gateway::Visible;
use crate::message::Fault;
use crate::outcome::Outcome;

/// The revision without `initialize`, whose version is in each request.
pub(crate) const STATELESS: &str = "2026-07-28";

/// The revisions that `initialize` agrees on, newest first.
pub(crate) const WITH_INITIALIZE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// `UnsupportedProtocolVersion` of 2026-07-28.
const UNSUPPORTED_VERSION: i32 = -32022;

/// How long a client may keep the list of tools, in milliseconds: about as long as it takes to notice a new one.
const LIST_TTL_MS: u32 = 1000;

/// What a client may ask for here.
pub(crate) const METHODS: [&str; 5] = ["initialize", "ping", "server/discover", "tools/call", "tools/list"];

/// How results are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// As of 2026-07-28: any JSON is structured content, and results have a type.
    Stateless,
    /// As before.
    WithInitialize,
}

/// The era of a request that names `requested` in a session that agreed on `negotiated`. A request that names none, in
/// a session that agreed on none, is answered as of the newest.
pub(crate) fn era(requested: Option<&str>, negotiated: Option<&str>) -> Result<Era, Fault> {
    match requested.or(negotiated) {
        None | Some(STATELESS) => Ok(Era::Stateless),
        Some(version) if WITH_INITIALIZE.contains(&version) => Ok(Era::WithInitialize),
        Some(version) => {
            let shown: String = version.chars().take(40).collect();
            let message = format!("protocol version {shown:?} is not spoken here; {STATELESS} is");
            let data = json!({ "supported": supported(), "requested": version });
            Err(Fault::new(UNSUPPORTED_VERSION, message).with_data(&data))
        }
    }
}

fn supported() -> Vec<&'static str> {
    std::iter::once(STATELESS).chain(WITH_INITIALIZE).collect()
}

/// The revision that `initialize` with `params` leads to: the one asked for, or the newest that there is.
pub(crate) fn negotiated(params: Option<&Bytes>) -> &'static str {
    #[derive(Deserialize)]
    struct Wanted {
        #[serde(rename = "protocolVersion")]
        version: String,
    }
    let wanted = params.and_then(|params| serde_json::from_slice::<Wanted>(params).ok());
    let [newest, ..] = WITH_INITIALIZE;
    wanted.and_then(|wanted| WITH_INITIALIZE.into_iter().find(|known| *known == wanted.version)).unwrap_or(newest)
}

fn server_info() -> Value {
    json!({ "name": "llmbasedos", "title": "llmbasedos gateway", "version": env!("CARGO_PKG_VERSION") })
}

/// The result of `initialize`.
pub(crate) fn initialize_result(revision: &str) -> Value {
    json!({
        "protocolVersion": revision,
        "capabilities": { "tools": { "listChanged": true } },
        "serverInfo": server_info(),
    })
}

/// The result of `server/discover`.
pub(crate) fn discover_result() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": supported(),
        "capabilities": { "tools": {} },
        "ttlMs": LIST_TTL_MS,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
    })
}

/// The result of `tools/list`. The list is filtered for the caller, hence private.
pub(crate) fn tools_list(catalogues: &[Visible], era: Era) -> Vec<u8> {
    let mut result = match era {
        Era::Stateless => {
            format!("{{\"resultType\":\"complete\",\"ttlMs\":{LIST_TTL_MS},\"cacheScope\":\"private\",\"tools\":[")
        }
        Era::WithInitialize => "{\"tools\":[".to_owned(),
    };
    let tools = catalogues.iter().flat_map(Visible::tools);
    for (index, tool) in tools.enumerate() {
        if index > 0 {
            result.push(',');
        }
        let entry = if era == Era::Stateless { &tool.entry } else { &tool.legacy_entry };
        result.push_str(entry.get());
    }
    result.push_str("]}");
    result.into_bytes()
}

/// A tool's result as a client of `era` may see it.
pub(crate) fn call_result(result: Bytes, era: Era) -> Bytes {
    if era == Era::Stateless {
        return result;
    }
    let legacy = Outcome::read(&result).ok().and_then(|outcome| outcome.for_legacy_peer());
    legacy.map_or(result, Bytes::from)
}

/// There is no such method.
pub(crate) fn unknown_method(method: &str) -> Fault {
    let shown: String = method.chars().take(100).collect();
    let mut hint = spec::close_to(&shown, METHODS);
    if hint.is_empty() && shown.contains('.') {
        hint = format!(": tools are called by tools/call, or in the dialect as mcp.{shown}");
    }
    Fault::new(code::METHOD_NOT_FOUND, format!("there is no method {shown}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_request_goes_before_that_of_the_session() {
        assert_eq!(era(None, None).ok(), Some(Era::Stateless));
        assert_eq!(era(None, Some("2025-06-18")).ok(), Some(Era::WithInitialize));
        assert_eq!(era(Some("2026-07-28"), Some("2025-06-18")).ok(), Some(Era::Stateless));
        let fault = era(Some("2030-01-01"), None).expect_err("not known");
        assert_eq!(fault.code, UNSUPPORTED_VERSION);
        let data: Value = serde_json::from_str(fault.data.expect("data").get()).expect("JSON");
        assert_eq!((&data["requested"], &data["supported"][0]), (&json!("2030-01-01"), &json!("2026-07-28")));
    }

    #[test]
    fn initialize_agrees_on_what_is_asked_for_or_the_newest() {
        let negotiated = |version: &str| negotiated(Some(&json!({ "protocolVersion": version }).to_string().into()));
        for version in WITH_INITIALIZE {
            assert_eq!(negotiated(version), version);
        }
        assert_eq!(negotiated("2026-07-28"), "2025-11-25");
        assert_eq!(negotiated("1999-01-01"), "2025-11-25");
        assert_eq!(super::negotiated(None), "2025-11-25");
    }

    #[test]
    fn unknown_methods_are_helped() {
        assert_eq!(
            unknown_method("tool/list").message,
            "there is no method tool/list. Close to it: tools/list, tools/call"
        );
        assert!(unknown_method("kv.get").message.contains("mcp.kv.get"));
    }
}
