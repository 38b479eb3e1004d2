//! A Sentinel: an agent that acts without being asked, in TOML.

use std::time::Duration;

use crate::document::{Document, Section};
use crate::problem::Problems;
use crate::quest::{Step, check_steps};
use crate::values::{Name, ToolPattern, choice};

/// A validated Sentinel.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentinel {
    /// Its name; also the key under which it remembers.
    pub name: Name,
    /// One line on what it does.
    pub description: String,
    /// Who it is, as the model is told.
    pub persona: String,
    /// What it is after, as the model is told.
    pub goal: String,
    /// The tools that it may use; all others are refused.
    pub tools: Vec<ToolPattern>,
    /// What wakes it.
    pub triggers: Vec<Trigger>,
    /// How much it may do without a person's approval.
    pub autonomy: Autonomy,
    /// The question that is put to the model when it wakes.
    pub think: String,
    /// What it does with the answer, step by step.
    pub steps: Vec<Step>,
}

/// What wakes a Sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// `awake.tick`.
    Tick,
    /// Again and again, this long after the last time.
    Every(Duration),
}

/// How much a Sentinel may do without a person's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autonomy {
    /// Everything that its tools allow.
    Full,
    /// What can be undone; the rest asks.
    Guarded,
    /// Nothing: each step asks.
    Ask,
}

choice!(Autonomy, "full" => Autonomy::Full, "guarded" => Autonomy::Guarded, "ask" => Autonomy::Ask);

impl Sentinel {
    /// Reads a Sentinel. `file` names it in messages.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn parse(file: &str, source: &str) -> Result<Self, Problems> {
        Document::read(file, source, Self::read)
    }

    fn read(root: &Section<'_>) -> Option<Self> {
        let name = root.required("name");
        let description = root.required("description");
        let goal = root.required("goal");
        let tools: Vec<ToolPattern> = root.or("tools", Vec::new());
        let think = root.required("think");
        let steps = root.sections("steps", Step::read);
        check_steps(root, &steps, Some(&tools));
        Some(Self {
            description: description.unwrap_or_default(),
            persona: root.or("persona", String::new()),
            goal: goal.unwrap_or_default(),
            triggers: triggers(root),
            autonomy: root.or("autonomy", Autonomy::Ask),
            think: think.unwrap_or_default(),
            name: name?,
            tools,
            steps,
        })
    }
}

fn triggers(root: &Section<'_>) -> Vec<Trigger> {
    let read = |section: &Section<'_>| {
        let tick = section.or("tick", false).then_some(Trigger::Tick);
        let every = section.optional("every").map(Trigger::Every);
        Some(tick.into_iter().chain(every).collect::<Vec<_>>())
    };
    root.section("on", read).unwrap_or_default()
}
