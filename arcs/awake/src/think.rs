//! Thinking: one new topic, chosen among several that the model offers.

use kit::{Error, Result, Sentinel, code};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::topic::Subject;
use crate::world::{World, ask};

/// How many topics are asked for, to choose the best one.
const CANDIDATES: usize = 4;
/// How often is asked at the most until there is one.
const TRIES: usize = 10;

/// Ways to look at a subject. A small model that is only told to be specific gives the same topic again and again.
const ANGLES: [&str; 10] = [
    "a first step",
    "a common mistake",
    "what something costs",
    "how to stay safe",
    "choosing between two things",
    "a word that nobody explains",
    "a tool and how to use it",
    "what to check before",
    "what to do when it goes wrong",
    "a question that people do not dare to ask",
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
pub(crate) async fn think(world: &impl World, sentinel: &Sentinel, covered: &[String], seed: u32) -> Result<Thought> {
    let subject = Subject::new(&sentinel.think);
    let mut best: Option<(i64, String)> = None;
    let (mut usable, mut old, mut failed) = (0, 0, None);
    for attempt in 0..TRIES {
        if attempt >= CANDIDATES && best.is_some() {
            break;
        }
        let answer = match propose(world, sentinel, covered.len() + attempt, seed.wrapping_add(attempt_seed(attempt))).await {
            Ok(answer) => answer,
            Err(error) if error.code() != code::MODEL && error.code() != code::INTERNAL => return Err(error),
            // A model that is gone for a moment is asked again; one that stays away is an error.
            Err(error) if attempt + 1 < CANDIDATES => {
                failed = Some(error);
                continue;
            }
            Err(error) if best.is_none() && usable + old == 0 => return Err(error),
            Err(_) => break,
        };
        match subject.read(&answer) {
            Err(why) => tracing::info!(answer, "the answer {why}"),
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
    match (best, failed) {
        (Some((_, topic)), _) => Ok(Thought::Topic { topic, reason: chosen(usable, covered.len()) }),
        (None, Some(error)) if old == 0 => Err(error),
        (None, _) if old > 0 => Ok(Thought::Nothing(format!(
            "{}: every topic that the model named in {TRIES} tries is covered already ({} so far)",
            sentinel.name,
            covered.len()
        ))),
        (None, _) => Err(no_topic(sentinel)),
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

fn attempt_seed(attempt: usize) -> u32 {
    u32::try_from(attempt).unwrap_or(u32::MAX)
}

async fn propose(world: &impl World, sentinel: &Sentinel, turn: usize, seed: u32) -> Result<String> {
    let angle = ANGLES.get(turn % ANGLES.len()).copied().unwrap_or_default();
    let completion: Completion = ask(world, "llm.chat", &question(sentinel, angle, seed)).await?;
    match completion.choices.into_iter().next() {
        Some(choice) => Ok(choice.message.parsed.topic),
        None => Err(Error::new("llm.chat answered without a choice").with_code(code::MODEL)),
    }
}

/// One example in the same form, in another subject, turns bland topics into specific ones.
fn question(sentinel: &Sentinel, angle: &str, seed: u32) -> Value {
    let Sentinel { persona, goal, think, .. } = sentinel;
    let who = if persona.is_empty() { String::new() } else { format!("You are {persona}. ") };
    json!({
        "messages": [
            {"role": "system", "content": format!("{who}You work for this goal: {goal}. Answer in JSON.")},
            {"role": "user", "content": "Give me one specific topic for a vegetable garden blog. The angle: a common mistake."},
            {"role": "assistant", "content": "{\"topic\": \"Why watering seedlings at noon does them no good\"}"},
            {"role": "user", "content": format!("{think} The angle: {angle}.")},
        ],
        "options": {
            "purpose": "rank",
            "temperature": 0.9,
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
