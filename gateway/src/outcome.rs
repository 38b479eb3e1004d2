//! The result of a tool, read as far as the gateway needs: did it fail, and where is what.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use spec::caller::{FAILURE_KEY, Failure};

use crate::message::present;

/// The members of a `tools/call` result.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome<'r> {
    /// Structured content, which may be any JSON.
    #[serde(borrow, default, rename = "structuredContent", deserialize_with = "present")]
    pub(crate) structured: Option<&'r RawValue>,
    /// The content blocks.
    #[serde(borrow, default)]
    pub(crate) content: Option<&'r RawValue>,
    /// Whether the tool failed.
    #[serde(default, rename = "isError")]
    pub(crate) is_error: bool,
    #[serde(borrow, default, rename = "resultType")]
    result_type: Option<&'r RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'r RawValue>,
}

impl<'r> Outcome<'r> {
    /// Reads a result.
    pub(crate) fn read(result: &'r [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(result)
    }

    /// The text blocks, each on its own line; `None` where there are none.
    pub(crate) fn text(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Block<'b> {
            #[serde(borrow, default)]
            text: Option<Cow<'b, str>>,
        }
        let blocks: Vec<Block<'_>> = serde_json::from_str(self.content?.get()).ok()?;
        let texts: Vec<Cow<'_, str>> = blocks.into_iter().filter_map(|block| block.text).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// What the Arc says of the failure for programs.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let meta: serde_json::Map<String, serde_json::Value> = serde_json::from_str(self.meta?.get()).ok()?;
        serde_json::from_value(meta.get(FAILURE_KEY)?.clone()).ok()
    }

    /// The result for a peer older than 2026-07-28, `None` where it may have it as it is: structured content is an
    /// object or absent (the text says the same), and there is no result type.
    pub(crate) fn for_legacy_peer(&self) -> Option<Vec<u8>> {
        let is_object = |value: &&RawValue| value.get().starts_with('{');
        let dropped = self.structured.filter(|value| !is_object(value));
        if self.result_type.is_none() && dropped.is_none() {
            return None;
        }
        let spelled_out = dropped.filter(|_| self.text().is_none()).map(|value| {
            let block = serde_json::json!([{"type": "text", "text": value.get()}]);
            block.to_string()
        });
        let content = spelled_out.as_deref().or(self.content.map(RawValue::get)).unwrap_or("[]");
        let mut result = format!("{{\"content\":{content}");
        let members = [("structuredContent", self.structured.filter(is_object)), ("_meta", self.meta)];
        for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            result.push_str(&format!(",\"{name}\":{}", value.get()));
        }
        result.push_str(if self.is_error { ",\"isError\":true}" } else { "}" });
        Some(result.into_bytes())
    }
}

/// Whether `result` is that of a tool that failed.
pub(crate) fn is_failure(result: &[u8]) -> bool {
    Outcome::read(result).is_ok_and(|outcome| outcome.is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(result: &str) -> Option<String> {
        let outcome = Outcome::read(result.as_bytes()).expect("a result");
        outcome.for_legacy_peer().map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    #[test]
    fn older_peers_see_objects_alone() {
        assert_eq!(legacy(r#"{"content":[],"structuredContent":{"a":1}}"#), None);
        let table = [
            (
                r#"{"resultType":"complete","content":[{"type":"text","text":"1"}],"structuredContent":1}"#,
                r#"{"content":[{"type":"text","text":"1"}]}"#,
            ),
            (
                r#"{"content":[],"structuredContent":["a"],"isError":true,"_meta":{"x":1}}"#,
                r#"{"content":[{"type":"text","text":"[\"a\"]"}],"_meta":{"x":1},"isError":true}"#,
            ),
            (
                r#"{"resultType":"complete","content":[],"structuredContent":{"a":1}}"#,
                r#"{"content":[],"structuredContent":{"a":1}}"#,
            ),
        ];
        for (result, expected) in table {
            assert_eq!(legacy(result).as_deref(), Some(expected), "{result}");
        }
    }
}
