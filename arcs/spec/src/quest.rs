//! A Quest: a plan in TOML, fixed before it runs.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::document::{Document, Section};
use crate::problem::Problems;
use crate::values::{Name, ToolName, ToolPattern};

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
        Some(Self { name: name?, tool: tool?, args, timeout })
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
