//! A Sentinel: an agent that acts without being asked, in TOML.
//!
//! ```toml
//! name = "quick-money"                   # also the file's name
//! description = "Writes a mini-site"
//! persona = "a patient writer"           # who it is, as the model is told
//! goal = "a site that answers one question an article"
//! think = "Give me one topic for a crypto beginner's blog."
//! tools = ["seo_affiliate.*"]            # all others are refused
//! autonomy = "guarded"                   # "full", "guarded" or, unless stated, "ask"
//!
//! [on]
//! tick = true                            # awake.tick
//! every = "1d"                           # and by itself
//!
//! [[steps]]
//! name = "write"
//! tool = "seo_affiliate.generate_site"
//! retry = 1                              # see `Step`
//! args = { site_id = "crypto", keyword = "{{ topic }}" }
//! ```
//!
//! Strings in `args` are minijinja templates. They know `topic` (the answer to `think`), `today`, `sentinel` and, by
//! their names, the results of earlier `steps`.

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

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
name = "writer"
description = "Writes"
goal = "a site"
think = "Give me a topic."
tools = ["kv.*"]
[[steps]]
name = "keep"
tool = "kv.set"
"#;

    #[test]
    fn what_is_not_written_is_the_careful_choice() {
        let sentinel = Sentinel::parse("writer.toml", SMALL).expect("sound");
        assert_eq!(sentinel.autonomy, Autonomy::Ask);
        assert!(sentinel.triggers.is_empty() && sentinel.persona.is_empty());
    }

    #[test]
    fn it_can_be_woken_in_several_ways() {
        let woken = |on: &str| Sentinel::parse("writer.toml", &format!("{SMALL}[on]\n{on}")).expect("sound").triggers;
        assert_eq!(woken("tick = true"), [Trigger::Tick]);
        assert_eq!(woken("tick = true\nevery = \"1h\""), [Trigger::Tick, Trigger::Every(Duration::from_secs(3600))]);
        assert_eq!(woken("tick = false"), []);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let source = SMALL.replace("think", "thinks").replace("kv.set", "fs.write") + "[on]\nevery = \"often\"\n";
        let problems = Sentinel::parse("writer.toml", &source).expect_err("four problems").to_string();
        let expected = "\
writer.toml:1: think: `think` is missing
writer.toml:5: thinks: unknown key. Close to it: think
writer.toml:6: tools: step keep calls fs.write, which is not listed here
writer.toml:11: on.every: must be a time span such as \"5m\" (ms, s, m, h or d), not \"often\"";
        assert_eq!(problems, expected);
    }
}
