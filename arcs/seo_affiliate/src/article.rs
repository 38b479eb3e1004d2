//! An article: what is kept of it, and how it is written.

use kit::Result;
use serde::{Deserialize, Serialize};

use crate::gate::{Fault, Gate};
use crate::model::{Author, Model};
use crate::outline::Outline;
use crate::prompt::Prompts;
use crate::words::count;

/// The fewest words of a section's paragraph.
const PARAGRAPH: usize = 22;
/// The fewest words of an answer.
const ANSWER: usize = 12;

/// A finished article, as it is kept beside the site. Everything that the model wrote is plain text here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Article {
    /// The name of its page, `how-to-move-coins`.
    pub(crate) slug: String,
    pub(crate) title: String,
    /// One or two sentences on what a reader learns.
    pub(crate) description: String,
    /// What it was asked for.
    pub(crate) keyword: String,
    /// The language tag, `en`.
    pub(crate) lang: String,
    /// The model that wrote it.
    pub(crate) model: String,
    /// Seconds since 1970.
    pub(crate) published: i64,
    /// Seconds since 1970; later than `published` where the text was written anew.
    pub(crate) modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) affiliate_link: Option<String>,
    pub(crate) sections: Vec<Section>,
    pub(crate) questions: Vec<Answered>,
}

/// A heading with its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) paragraphs: Vec<String>,
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answered {
    pub(crate) question: String,
    pub(crate) answer: String,
}

impl Article {
    /// Every text of it, from the title to the last answer.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let sections =
            self.sections.iter().flat_map(|section| std::iter::once(&section.heading).chain(&section.paragraphs));
        let questions = self.questions.iter().flat_map(|answered| [&answered.question, &answered.answer]);
        [&self.title, &self.description].into_iter().chain(sections).chain(questions).map(String::as_str)
    }

    /// How many words it has.
    pub(crate) fn words(&self) -> usize {
        self.texts().map(count).sum()
    }
}

/// What a model writes: the sections and the answers of an article.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) sections: Vec<Section>,
    pub(crate) questions: Vec<Answered>,
}

#[derive(Deserialize)]
struct Paragraphs {
    paragraphs: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    answer: String,
}

/// Where in the whole work an article stands: number (from 1) and count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) number: u8,
    pub(crate) of: u8,
}

/// Writes what `outline` promises, one part after the other.
///
/// # Errors
/// The model gives no usable text for one of the parts.
pub(crate) async fn write<M: Model>(
    author: &mut Author<'_, M>,
    prompts: &Prompts,
    topic: &str,
    outline: &Outline,
    turn: Turn,
) -> Result<Body> {
    let mut gate = Gate::new(&format!("{} {topic}", prompts.keyword()));
    gate.remember(&outline.description);
    let mut body = Body { sections: Vec::new(), questions: Vec::new() };
    let mut words = 0;
    for (index, heading) in outline.headings.iter().enumerate() {
        report(author, outline, turn, index, words).await;
        let question = prompts.section(&outline.title, heading);
        let paragraphs = author.ask(&question, |answer: Paragraphs| prose(&gate, answer.paragraphs)).await?;
        paragraphs.iter().for_each(|paragraph| gate.remember(paragraph));
        words += paragraphs.iter().map(|paragraph| count(paragraph)).sum::<usize>();
        body.sections.push(Section { heading: heading.clone(), paragraphs });
    }
    for (index, asked) in outline.questions.iter().enumerate() {
        report(author, outline, turn, outline.headings.len() + index, words).await;
        let question = prompts.answer(&outline.title, asked);
        let answer = author.ask(&question, |answer: Answer| gate.prose(&answer.answer, ANSWER)).await?;
        gate.remember(&answer);
        words += count(&answer);
        body.questions.push(Answered { question: asked.clone(), answer });
    }
    Ok(body)
}

/// Each paragraph by itself; one that says again what those before said is left out.
fn prose(gate: &Gate, paragraphs: Vec<String>) -> Result<Vec<String>, Fault> {
    let mut gate = gate.clone();
    let mut taken: Vec<String> = Vec::new();
    for paragraph in paragraphs {
        match gate.prose(&paragraph, PARAGRAPH) {
            Ok(paragraph) => {
                gate.remember(&paragraph);
                taken.push(paragraph);
            }
            Err(Fault::Repeats) if !taken.is_empty() => {}
            Err(fault) => return Err(fault),
        }
    }
    if taken.is_empty() { Err(Fault::Few { found: 0, wanted: 2 }) } else { Ok(taken) }
}

/// `write section 2 of 4 · 212 words`, with the number of its article where there are several.
async fn report<M: Model>(author: &Author<'_, M>, outline: &Outline, turn: Turn, done: usize, words: usize) {
    let (sections, questions) = (outline.headings.len(), outline.questions.len());
    let part = match done.checked_sub(sections) {
        None => format!("section {} of {sections}", done + 1),
        Some(answers) => format!("answer {} of {questions}", answers + 1),
    };
    let article = if turn.of > 1 { format!("article {} of {}, ", turn.number, turn.of) } else { String::new() };
    let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let all = whole(sections + questions);
    let before = all.saturating_mul(u32::from(turn.number).saturating_sub(1));
    let part_done = (before.saturating_add(whole(done)), all.saturating_mul(turn.of.into()));
    author.progress(format!("write {article}{part} · {words} words"), Some(part_done)).await;
}
