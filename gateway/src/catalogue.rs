//! The tools of one Arc, as it listed them.

use std::collections::HashSet;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::schema::{Parameter, parameters};

/// The tools of one namespace, in the order in which they were listed.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    tools: Vec<Tool>,
}

/// A tool.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its short name, `get`.
    pub(crate) name: String,
    /// Its full name, `kv.get`.
    pub(crate) full_name: String,
    /// What it does; empty where the Arc does not say.
    pub(crate) description: String,
    /// What may be given to it, in the order of the dialect's positions.
    pub(crate) parameters: Vec<Parameter>,
    /// Its input schema.
    pub(crate) input_schema: Value,
    /// How it stands in `tools/list`, with its full name.
    pub(crate) entry: Box<RawValue>,
    /// The same for peers older than 2026-07-28, which know output schemas of objects alone.
    pub(crate) legacy_entry: Box<RawValue>,
}

/// An entry of `tools/list` that is no tool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidTool {
    #[error("a tool has no name")]
    NoName,
    #[error("the tool's name {0:?} is not of letters, digits, '_', '-' and '.', at most 64")]
    BadName(String),
    #[error("tool {0} is listed twice")]
    Twice(String),
    #[error("tool {0} cannot be written as JSON")]
    Json(String, #[source] serde_json::Error),
}

impl Catalogue {
    /// Makes the catalogue of `namespace` from the entries of `tools/list`.
    pub(crate) fn new(namespace: &str, entries: Vec<Map<String, Value>>) -> Result<Self, InvalidTool> {
        let mut tools: Vec<Tool> = Vec::with_capacity(entries.len());
        let mut names = HashSet::new();
        for entry in entries {
            let tool = Tool::new(namespace, entry)?;
            if !names.insert(tool.name.clone()) {
                return Err(InvalidTool::Twice(tool.full_name));
            }
            tools.push(tool);
        }
        Ok(Self { tools })
    }

    /// All tools, in the Arc's own order.
    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The position of the tool with the short name `name`.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.tools.iter().position(|tool| tool.name == name)
    }
}

impl Tool {
    fn new(namespace: &str, mut entry: Map<String, Value>) -> Result<Self, InvalidTool> {
        let name = entry.get("name").and_then(Value::as_str).ok_or(InvalidTool::NoName)?.to_owned();
        let full_name = format!("{namespace}.{name}");
        if full_name.parse::<spec::ToolName>().is_err() {
            return Err(InvalidTool::BadName(name));
        }
        let description = entry.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        let input_schema = entry.get("inputSchema").cloned().unwrap_or_else(|| serde_json::json!({"type": "object"}));
        let unwritable = |error| InvalidTool::Json(full_name.clone(), error);
        entry.insert("name".to_owned(), Value::String(full_name.clone()));
        entry.insert("inputSchema".to_owned(), input_schema.clone());
        let modern = to_raw_value(&entry).map_err(unwritable)?;
        let is_object = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("object");
        if entry.get("outputSchema").is_some_and(|schema| !is_object(schema)) {
            entry.remove("outputSchema");
        }
        let legacy_entry = to_raw_value(&entry).map_err(unwritable)?;
        let parameters = parameters(&input_schema);
        Ok(Self { name, full_name, description, parameters, input_schema, entry: modern, legacy_entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(json: &str) -> Result<Catalogue, String> {
        let entries = serde_json::from_str(json).expect("entries");
        Catalogue::new("kv", entries).map_err(|error| error.to_string())
    }

    #[test]
    fn tools_are_listed_under_their_full_names_with_all_that_the_arc_says() {
        let found =
            catalogue(r#"[{"name":"get","title":"T","outputSchema":{"type":["string","null"]}}]"#).expect("one");
        let tool = &found.tools()[found.position("get").expect("get")];
        let expected = r#"{"name":"kv.get","title":"T","outputSchema":{"type":["string","null"]},"inputSchema":{"type":"object"}}"#;
        assert_eq!(tool.entry.get(), expected);
        assert_eq!(tool.legacy_entry.get(), r#"{"name":"kv.get","title":"T","inputSchema":{"type":"object"}}"#);
    }

    #[test]
    fn odd_entries_are_errors() {
        assert_eq!(catalogue("[{}]").expect_err("no name"), "a tool has no name");
        assert!(catalogue(r#"[{"name":"a b"}]"#).expect_err("a space").contains("\"a b\""));
        assert_eq!(catalogue(r#"[{"name":"a"},{"name":"a"}]"#).expect_err("twice"), "tool kv.a is listed twice");
    }
}
