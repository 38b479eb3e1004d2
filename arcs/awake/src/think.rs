//! Thinking: one new topic, chosen among several that the model offers.

use kit::{Error, Result, Sentinel, code};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::topic::Subject;
use crate::world::{Tools, ask};

/// How many topics are asked for, to choose the best one.
const CANDIDATES: usize = 4;
/// How often is asked at the most until there is one.
const TRIES: usize = 10;
/// How often the model may fail to answer at all.
const FAILURES: usize = 3;

/// How a topic may begin. A small model that may begin as it likes names the same few subjects again and again.
const BEGINNINGS: [&str; 8] = [
    "How to",
    "What to check before",
    "Why",
    "Is it safe to",
    "When to",
    "What happens when",
    "Which",
    "The mistake of",
];

/// The outcome of thinking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Thought {
    /// A topic, and why this one.
    Topic {
        /// The topic.
        topic: String,
        /// Why it was chosen.
        reason: String,
    },
    /// No topic, and why.
    Nothing(String),
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    parsed: Answer,
}

#[derive(Deserialize)]
struct Answer {
    topic: String,
}

/// Thinks of a topic that is none of `covered`. Another `seed` gives other topics.
///
/// # Errors
/// The model cannot be asked.
pub(crate) async fn think(tools: &impl Tools, sentinel: &Sentinel, covered: &[String], seed: u32) -> Result<Thought> {
    let subject = Subject::new(&sentinel.think);
    let mut best: Option<(i64, String)> = None;
    let (mut usable, mut old) = (0, 0);
    let mut failures = Vec::new();
    for (attempt, seed) in (0..TRIES).zip(seed..) {
        if (attempt >= CANDIDATES && best.is_some()) || failures.len() >= FAILURES {
            break;
        }
        let topic = match propose(tools, sentinel, covered.len() + attempt, seed).await {
            Ok(answer) => subject.read(&answer).map_err(|why| tracing::debug!(answer, "the answer {why}")),
            // A model that is gone for a moment is asked again.
            Err(error) if matches!(error.code(), code::MODEL | code::INTERNAL) => {
                failures.push(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        match topic {
            Err(()) => {}
            Ok(topic) if covered.iter().any(|other| subject.same(&topic, other)) => old += 1,
            Ok(topic) => {
                usable += 1;
                let score = subject.score(&topic);
                if best.as_ref().is_none_or(|(before, _)| score > *before) {
                    best = Some((score, topic));
                }
            }
        }
    }
    match (best, failures.pop()) {
        (Some((_, topic)), _) => Ok(Thought::Topic { topic, reason: chosen(usable, covered.len()) }),
        (None, Some(error)) => Err(error),
        (None, None) if old > 0 => Ok(Thought::Nothing(format!(
            "{}: every topic that the model named in {TRIES} tries is covered already ({} so far)",
            sentinel.name,
            covered.len()
        ))),
        (None, None) => Err(no_topic(sentinel)),
    }
}

fn chosen(usable: usize, covered: usize) -> String {
    let among = if usable == 1 { "the only usable topic".to_owned() } else { format!("the best of {usable} topics") };
    match covered {
        0 => format!("{among}; none was covered before"),
        covered => format!("{among}, and none of the {covered} that are covered already"),
    }
}

fn no_topic(sentinel: &Sentinel) -> Error {
    let message = format!(
        "the model named no usable topic for {} in {TRIES} tries. Try again, or name a better model for the purpose \
         \"rank\" in [arcs.llm_router.purposes]",
        sentinel.name
    );
    Error::new(message).with_code(code::MODEL)
}

async fn propose(tools: &impl Tools, sentinel: &Sentinel, turn: usize, seed: u32) -> Result<String> {
    let beginning = BEGINNINGS.get(turn % BEGINNINGS.len()).copied().unwrap_or_default();
    let completion: Completion = ask(tools, "llm.chat", &question(sentinel, beginning, seed)).await?;
    match completion.choices.into_iter().next() {
        Some(choice) => Ok(choice.message.parsed.topic),
        None => Err(Error::new("llm.chat answered without a choice").with_code(code::MODEL)),
    }
}

/// Examples in the same form, in another subject, turn bland topics into specific ones; a single one is copied.
fn question(sentinel: &Sentinel, beginning: &str, seed: u32) -> Value {
    let Sentinel { persona, goal, think, .. } = sentinel;
    let who = if persona.is_empty() { String::new() } else { format!("You are {persona}. ") };
    let garden = "Give me one specific topic for a vegetable garden blog.";
    json!({
        "messages": [
            {"role": "system", "content": format!("{who}You work for this goal: {goal}. You answer in JSON.")},
            {"role": "user", "content": format!("{garden} It begins with: Why")},
            {"role": "assistant", "content": "{\"topic\": \"Why watering seedlings at noon does them no good\"}"},
            {"role": "user", "content": format!("{garden} It begins with: How to")},
            {"role": "assistant", "content": "{\"topic\": \"How to keep slugs off lettuce with a copper ring\"}"},
            {"role": "user", "content": format!("{think} It begins with: {beginning}")},
        ],
        "options": {
            "purpose": "rank",
            "temperature": 0.7,
            "max_tokens": 60,
            // Backends read the seed as a signed 32-bit number.
            "seed": seed >> 1,
            "schema": {
                "type": "object",
                "properties": {"topic": {"type": "string", "minLength": 15, "maxLength": 100}},
                "required": ["topic"],
                "additionalProperties": false,
            },
        },
    })
}
