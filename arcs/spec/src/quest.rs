//! A Quest: a plan in TOML, fixed before it runs.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::document::{Document, Section};
use crate::problem::Problems;
use crate::values::{Name, ToolName, ToolPattern};

/// More tries than this hide a fault in place of bridging a moment.
const MOST_RETRIES: u32 = 10;

/// A validated Quest.
#[derive(Debug, Clone, PartialEq)]
pub struct Quest {
    /// Its name.
    pub name: Name,
    /// One line on what it does.
    pub description: String,
    /// What it does, in order.
    pub steps: Vec<Step>,
}

/// One step: one call of one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name, by which later steps refer to its result.
    pub name: Name,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments; strings in them are minijinja templates.
    pub args: toml::Table,
    /// How long it may take; `None`: as long as the tool may.
    pub timeout: Option<Duration>,
    /// How many times it is tried again when it did not come to an end of its own: its Arc ended meanwhile, say. Only
    /// for what does no harm when it is done twice; 0 unless stated, 10 at the most.
    pub retry: u32,
}

impl Quest {
    /// Reads a Quest. `file` names it in messages.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn parse(file: &str, source: &str) -> Result<Self, Problems> {
        Document::read(file, source, |root| {
            let name = root.required("name");
            let description = root.required("description");
            let steps = root.sections("steps", Step::read);
            check_steps(root, &steps, None);
            Some(Self { name: name?, description: description?, steps })
        })
    }
}

impl Step {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let name = section.required("name");
        let tool = section.required("tool");
        let args = section.section("args", |args| Some(args.raw())).unwrap_or_default();
        let timeout = section.optional("timeout");
        let retry = section.or("retry", 0);
        if retry > MOST_RETRIES {
            section.report("retry", format!("must be a whole number from 0 to {MOST_RETRIES}, not {retry}"));
        }
        Some(Self { name: name?, tool: tool?, args, timeout, retry })
    }
}

/// Reports steps that share a name, and tools beyond those that `allowed` names.
pub(crate) fn check_steps(root: &Section<'_>, steps: &[Step], allowed: Option<&[ToolPattern]>) {
    if steps.is_empty() {
        root.report("steps", "needs at least one step: [[steps]] with name and tool");
    }
    let mut seen = BTreeSet::new();
    for step in steps {
        if !seen.insert(&step.name) {
            root.report("steps", format!("two steps are called {}", step.name));
        }
        let permits = |patterns: &[ToolPattern]| patterns.iter().any(|pattern| pattern.matches(step.tool.as_str()));
        if allowed.is_some_and(|patterns| !permits(patterns)) {
            root.report("tools", format!("step {} calls {}, which is not listed here", step.name, step.tool));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"q\"\ndescription = \"d\"\n[[steps]]\nname = \"write\"\ntool = \"kv.set\"\n";

    #[test]
    fn a_step_is_tried_once_unless_it_says_otherwise() {
        let step = |more: &str| Quest::parse("q.toml", &format!("{SMALL}{more}")).expect("sound").steps.remove(0);
        assert_eq!((step("").retry, step("").timeout), (0, None));
        let stated = step("retry = 1\ntimeout = \"5m\"\nargs = { key = \"{{ topic }}\", value = 1 }");
        assert_eq!((stated.retry, stated.timeout), (1, Some(Duration::from_secs(300))));
        assert_eq!(stated.args["key"].as_str(), Some("{{ topic }}"));
    }

    #[test]
    fn steps_have_bounds_and_names_of_their_own() {
        let source = format!("{SMALL}retry = 11\n[[steps]]\nname = \"write\"\ntool = \"kv\"\n");
        let expected = "\
q.toml:6: steps[0].retry: must be a whole number from 0 to 10, not 11
q.toml:9: steps[1].tool: must be a tool's name such as kv.get, not \"kv\"";
        assert_eq!(Quest::parse("q.toml", &source).expect_err("two problems").to_string(), expected);
        let twice = format!("{SMALL}[[steps]]\nname = \"write\"\ntool = \"kv.get\"\n");
        let problems = Quest::parse("q.toml", &twice).expect_err("the same name").to_string();
        assert!(problems.contains("two steps are called write"), "{problems}");
    }
}
