//! The live catalogue: which tools there are and what they take.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::schema::{Argument, Kinds, arguments};

/// A tool as the gateway lists it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    /// Its full name, `kv.get`.
    pub name: String,
    /// What it does, in its author's words.
    pub description: String,
    /// What it takes, in the order of positional parameters.
    pub arguments: Vec<Argument>,
    /// What it answers, where its author says.
    pub answers: Option<Kinds>,
    /// Whether it changes nothing; `None` where that is not said.
    pub reads_only: Option<bool>,
    /// What the gateway says about it: the Arc, the label on what it returns.
    pub arc: Option<String>,
    /// The label on what it returns.
    pub label: Option<String>,
}

impl Tool {
    /// The Arc that offers it, or else what its name begins with.
    pub(crate) fn group(&self) -> &str {
        self.arc.as_deref().unwrap_or_else(|| self.name.split('.').next().unwrap_or_default())
    }

    /// The first sentence of the description, on one line.
    pub(crate) fn summary(&self) -> String {
        let text = self.description.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = text.find(". ").unwrap_or(text.len());
        text.get(..end).unwrap_or_default().trim_end_matches('.').to_owned()
    }

    /// The argument of that name.
    pub(crate) fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.name == name)
    }
}

/// All tools by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Catalogue {
    tools: BTreeMap<String, Tool>,
}

impl Catalogue {
    /// Adds tools.
    pub(crate) fn extend(&mut self, tools: Vec<Tool>) {
        self.tools.extend(tools.into_iter().map(|tool| (tool.name.clone(), tool)));
    }

    /// The tool of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// All tools, by name.
    pub(crate) fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values()
    }
}

/// One page of `tools/list`.
pub(crate) struct Page {
    /// Its tools.
    pub tools: Vec<Tool>,
    /// Where the next page begins.
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTool {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    input_schema: Value,
    output_schema: Option<Value>,
    #[serde(default)]
    annotations: Value,
    #[serde(default, rename = "_meta")]
    meta: Value,
}

impl Page {
    /// Reads the result of `tools/list`. A tool that cannot be read, or whose name cannot be written on a command
    /// line, is left out: the others are still of use.
    pub(crate) fn parse(mut result: Value) -> Self {
        let next = result.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
        let listed = match result.get_mut("tools").map(Value::take) {
            Some(Value::Array(listed)) => listed,
            _ => Vec::new(),
        };
        let tools = listed.into_iter().filter_map(|tool| serde_json::from_value::<WireTool>(tool).ok());
        let can_be_written = |tool: &WireTool| tool.name.chars().all(|c| c.is_ascii_graphic());
        Self { tools: tools.filter(can_be_written).map(Tool::from).collect(), next }
    }
}

impl From<WireTool> for Tool {
    fn from(wire: WireTool) -> Self {
        let told = |key: &str| wire.meta.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            arguments: arguments(&wire.input_schema),
            answers: wire.output_schema.as_ref().map(|schema| Kinds::of(schema, schema)),
            reads_only: wire.annotations.get("readOnlyHint").and_then(Value::as_bool),
            arc: told("llmbasedos/arc"),
            label: told("llmbasedos/label"),
            name: wire.name,
            description: wire.description,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A catalogue to try things on.
    pub(crate) fn sample() -> Catalogue {
        let text = json!({"type": "string"});
        let page = Page::parse(json!({"tools": [
            {"name": "kv.get", "description": "The value stored under key, null when there is none. More.",
             "inputSchema": {"properties": {"key": {"type": "string", "examples": ["hello"]}}, "required": ["key"]},
             "outputSchema": {}, "annotations": {"readOnlyHint": true},
             "_meta": {"llmbasedos/arc": "kv", "llmbasedos/label": "private"}},
            {"name": "kv.set", "inputSchema": {"properties": {"key": text, "value": {},
             "ttl_s": {"type": ["integer", "null"]}}, "required": ["key", "value"]}},
            {"name": "seo_affiliate.generate_site", "inputSchema": {"properties": {"site_id": text,
             "keyword": {"type": "string", "examples": ["self custody"]}, "n_articles": {"type": "integer"},
             "dry": {"type": "boolean"}, "lang": {"enum": ["en", "fr"]}}, "required": ["site_id", "keyword"]}},
            {"name": "llm.chat", "inputSchema": {"properties": {"messages": {"type": "array"},
             "options": {"type": "object"}}, "required": ["messages"]}},
            {"name": 3}, {"name": "kv.\u{1b}[2J"},
        ]}));
        let mut catalogue = Catalogue::default();
        catalogue.extend(page.tools);
        catalogue
    }

    #[test]
    fn a_tool_that_cannot_be_read_hides_no_other() {
        assert_eq!(sample().tools().count(), 4);
    }

    #[test]
    fn what_is_known_of_a_tool_is_kept() {
        let catalogue = sample();
        let tool = catalogue.get("kv.get").expect("listed");
        assert_eq!(tool.summary(), "The value stored under key, null when there is none");
        assert_eq!((tool.group(), tool.label.as_deref(), tool.reads_only), ("kv", Some("private"), Some(true)));
        assert_eq!(catalogue.get("llm.chat").expect("listed").group(), "llm");
    }

    #[test]
    fn a_page_of_anything_else_is_empty() {
        assert!(Page::parse(json!(null)).tools.is_empty() && Page::parse(json!({"tools": 3})).tools.is_empty());
    }
}
