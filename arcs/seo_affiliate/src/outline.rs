//! What an article will be about: its title, description, headings and questions, chosen among what the model offers.

use std::collections::BTreeSet;

use kit::Result;
use serde::Deserialize;

use crate::gate::{Fault, Gate};
use crate::model::{Author, Model};
use crate::prompt::{DESCRIPTION, HEADING_MOST, Prompts, QUESTION_MOST, QUESTIONS, SECTIONS, TITLE_MOST};
use crate::slug::slug;
use crate::words::{count, overlap, subject};

/// How many titles are asked for, to choose the best one.
const TITLES: u32 = 3;

/// Two lines that share more than this much of their subjects say the same.
const SAME: f64 = 0.8;

/// What stands in titles that could stand over anything.
const BLAND: [&str; 14] = [
    "ultimate",
    "everything you need",
    "comprehensive",
    "introduction",
    "basics",
    "guide",
    "unlock",
    "world of",
    "journey",
    "tips and tricks",
    "overview",
    "mastering",
    "understanding",
    "exploring",
];

/// Headings of parts that the page has anyway, or that say nothing.
const EMPTY_HEADINGS: [&str; 7] =
    ["introduction", "conclusion", "summary", "faq", "frequently asked questions", "overview", "final thoughts"];

/// An article before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) headings: Vec<String>,
    pub(crate) questions: Vec<String>,
}

/// A title with its description.
#[derive(Debug, Deserialize)]
struct Titled {
    title: String,
    description: String,
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<String>,
}

#[derive(Deserialize)]
struct Headings {
    headings: Vec<String>,
}

#[derive(Deserialize)]
struct Questions {
    questions: Vec<String>,
}

/// The topics of `wanted` articles about `keyword`: one is about the keyword itself, more are about parts of it.
///
/// # Errors
/// The model names no `wanted` different topics.
pub(crate) async fn topics<M: Model>(
    author: &mut Author<'_, M>,
    prompts: &Prompts,
    keyword: &str,
    wanted: u8,
) -> Result<Vec<String>> {
    if wanted == 1 {
        return Ok(vec![keyword.to_owned()]);
    }
    let gate = Gate::new(keyword);
    let question = prompts.topics(wanted);
    let mut taken = Vec::new();
    author
        .ask(&question, |answer: Topics| {
            different(&mut taken, answer.topics, &[], wanted.into(), |topic| gate.line(&topic, 2, 90))
        })
        .await
}

/// The outline of an article about `topic`, whose title is none of `taken`.
///
/// # Errors
/// The model gives nothing that can be used.
pub(crate) async fn outline<M: Model>(
    author: &mut Author<'_, M>,
    prompts: &Prompts,
    topic: &str,
    taken: &[String],
) -> Result<Outline> {
    let gate = Gate::new(&format!("{} {topic}", prompts.keyword()));
    let offered =
        author.candidates(&prompts.title(topic), TITLES, |answer: Titled| titled(&answer, &gate, taken)).await?;
    let best = offered.into_iter().max_by_key(|titled| score(titled, topic));
    let Titled { title, description } =
        best.unwrap_or_else(|| Titled { title: String::new(), description: String::new() });
    let (mut headings, mut questions) = (Vec::new(), Vec::new());
    let headings = author
        .ask(&prompts.headings(&title), |answer: Headings| {
            different(&mut headings, answer.headings, &[&title], SECTIONS, |line| heading(&line, &gate))
        })
        .await?;
    let questions = author
        .ask(&prompts.questions(&title), |answer: Questions| {
            different(&mut questions, answer.questions, &[], QUESTIONS, |line| question(&line, &gate))
        })
        .await?;
    Ok(Outline { title, description, headings, questions })
}

fn titled(answer: &Titled, gate: &Gate, taken: &[String]) -> Result<Titled, Fault> {
    let title = gate.line(&answer.title, 3, TITLE_MOST)?;
    if taken.iter().any(|other| slug(other) == slug(&title)) {
        return Err(Fault::Repeats);
    }
    let description = gate.prose(&answer.description, 6)?;
    let (least, most) = DESCRIPTION;
    match description.chars().count() {
        length if length > most => Err(Fault::Long { most }),
        length if length < least => Err(Fault::Short { found: count(&description), least: 8 }),
        _ => Ok(Titled { title, description }),
    }
}

/// How well a title fits: specific, of a good length, about the topic.
fn score(titled: &Titled, topic: &str) -> i64 {
    let Titled { title, description } = titled;
    let lower = title.to_lowercase();
    let bland = BLAND.iter().filter(|phrase| lower.contains(**phrase)).count();
    let covered = overlap(&subject(title), &subject(topic));
    let words = count(title);
    let mut score = if covered >= 0.5 { 4 } else { 0 };
    score += if (6..=11).contains(&words) { 3 } else { 0 };
    score += if (30..=65).contains(&title.chars().count()) { 2 } else { 0 };
    score += if description.chars().count() >= 80 { 1 } else { 0 };
    score += if overlap(&subject(title), &subject(description)) < 0.9 { 1 } else { 0 };
    score += if title.contains('!') { -2 } else { 0 };
    score - 3 * i64::try_from(bland).unwrap_or(0)
}

fn heading(line: &str, gate: &Gate) -> Result<String, Fault> {
    let heading = gate.line(line, 2, HEADING_MOST)?;
    let empty = EMPTY_HEADINGS.contains(&heading.to_lowercase().as_str());
    if empty { Err(Fault::Short { found: 1, least: 2 }) } else { Ok(heading) }
}

fn question(line: &str, gate: &Gate) -> Result<String, Fault> {
    let line = gate.line(line.trim_end_matches(['?', '？', ' ', '"', '”']), 3, QUESTION_MOST - 1)?;
    Ok(format!("{line}?"))
}

/// The first `wanted` of the lines that `check` takes and that say something else than each other and `others`. What an
/// earlier answer gave is in `taken` and counts.
fn different(
    taken: &mut Vec<String>,
    lines: Vec<String>,
    others: &[&str],
    wanted: usize,
    check: impl Fn(String) -> Result<String, Fault>,
) -> Result<Vec<String>, Fault> {
    let mut fault = None;
    for line in lines {
        match check(line) {
            Err(refused) => fault = Some(refused),
            Ok(line) => {
                let mut before = taken.iter().map(String::as_str).chain(others.iter().copied());
                if before.any(|other| is_same(&subject(&line), &subject(other))) {
                    fault = Some(Fault::Repeats);
                } else {
                    taken.push(line);
                }
            }
        }
    }
    match taken.get(..wanted) {
        Some(lines) => Ok(lines.to_vec()),
        None => Err(fault.unwrap_or(Fault::Few { found: taken.len(), wanted })),
    }
}

/// Whether two lines are about the same. A single word in common, the keyword as a rule, says nothing.
fn is_same(one: &BTreeSet<String>, other: &BTreeSet<String>) -> bool {
    if one.len().min(other.len()) < 2 { one == other } else { overlap(one, other) > SAME }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(titles: &[&str], topic: &str) -> String {
        let titled = |title: &&str| Titled { title: (*title).to_owned(), description: "x".to_owned() };
        let best = titles.iter().map(titled).max_by_key(|titled| score(titled, topic));
        best.expect("one of them").title
    }

    #[test]
    fn the_specific_title_wins() {
        let titles = [
            "The Ultimate Guide to Crypto Wallets!",
            "How to Move Coins from an Exchange to Your Wallet",
            "Understanding the Basics",
        ];
        assert_eq!(chosen(&titles, "How to move coins from an exchange to your own wallet"), titles[1]);
    }

    #[test]
    fn headings_that_say_the_same_count_once() {
        let gate = Gate::new("wallets");
        let lines = ["What a key is", "1. What a Key Is", "Introduction", "Where to keep a key on paper"];
        let mut taken = Vec::new();
        let mut headings = |wanted| {
            different(&mut taken, lines.map(str::to_owned).to_vec(), &[], wanted, |line| heading(&line, &gate))
        };
        assert_eq!(headings(2), Ok(vec!["What a key is".to_owned(), "Where to keep a key on paper".to_owned()]));
        assert!(headings(3).is_err());
        let more =
            different(&mut taken, vec!["Why an exchange is no bank".to_owned()], &[], 3, |line| heading(&line, &gate));
        assert_eq!(more.map(|lines| lines.len()), Ok(3), "an earlier answer counts");
    }

    #[test]
    fn a_question_ends_with_one_mark() {
        let gate = Gate::new("wallets");
        for line in ["How do I get a key", "How do I get a key?", "\"How do I get a key?\"", "1. How do I get a key?"] {
            assert_eq!(question(line, &gate).as_deref(), Ok("How do I get a key?"), "{line}");
        }
    }

    #[test]
    fn a_title_that_the_site_has_is_refused() {
        let answer = Titled {
            title: "How to Keep a Key".to_owned(),
            description: "A key is worth what it opens. Learn where to keep yours, on paper and off the net."
                .to_owned(),
        };
        let gate = Gate::new("keys");
        assert!(titled(&answer, &gate, &[]).is_ok());
        assert_eq!(titled(&answer, &gate, &["How to keep a key".to_owned()]).err(), Some(Fault::Repeats));
    }
}
