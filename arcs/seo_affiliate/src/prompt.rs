//! The questions that are put to the model.
//!
//! Each shows two examples in other subjects: with none a small model is bland, with one it copies it. The
//! [gate](crate::gate) sees to it that no example comes back.

use serde_json::{Value, json};

use crate::model::{Message, Question};

/// How many sections an article has.
pub(crate) const SECTIONS: usize = 4;
/// How many questions an article answers.
pub(crate) const QUESTIONS: usize = 3;

/// The most characters of a title; search engines show about so many.
pub(crate) const TITLE_MOST: usize = 75;
/// The most characters of a heading.
pub(crate) const HEADING_MOST: usize = 70;
/// The most characters of a question.
pub(crate) const QUESTION_MOST: usize = 110;
/// The bounds of a meta description's length in characters.
pub(crate) const DESCRIPTION: (usize, usize) = (50, 170);

const GARDEN: &str = "How to Keep Slugs off Your Lettuce without Poison";
const BREAD: &str = "Why Your Loaf Stays Flat and How to Mend It";
const SLUGS: &str = "Article: \"How to Keep Slugs off Your Lettuce without Poison\". \
                     Section: \"Why slugs come out after evening watering\".";
const DOUGH: &str = "Article: \"Why Your Loaf Stays Flat and How to Mend It\". \
                     Section: \"Press the dough with a finger before baking\".";
const COFFEE: &str = "Article: \"How to Keep Slugs off Your Lettuce without Poison\". \
                      A reader asks: \"Does coffee really keep slugs away?\"";
const CRUST: &str = "Article: \"Why Your Loaf Stays Flat and How to Mend It\". \
                     A reader asks: \"Why is the crust pale?\"";

/// What all questions about one site have in common.
pub(crate) struct Prompts {
    system: String,
    keyword: String,
}

/// A kind of question: how it is asked, and two examples of subject and answer.
struct Kind {
    ask: fn(&str) -> String,
    examples: [(&'static str, Value); 2],
}

impl Prompts {
    /// Questions for a site about `keyword` in `language` (its English name or its code).
    pub(crate) fn new(keyword: &str, language: &str) -> Self {
        let system = format!(
            "You write articles for a website, in {language}, in plain and friendly words, for readers who are new to \
             the subject. You are specific: you name things, steps, reasons and examples. You write no lists, no links \
             and no markup. You answer in JSON."
        );
        Self { system, keyword: keyword.to_owned() }
    }

    /// What the site is about.
    pub(crate) fn keyword(&self) -> &str {
        &self.keyword
    }

    /// Titles for `count` articles about `keyword`.
    pub(crate) fn topics(&self, count: u8) -> Question {
        let kind = Kind {
            ask: |subject| format!("Name specific topics for articles about: {subject}. Each is a different one."),
            examples: [
                (
                    "vegetable gardening",
                    json!({"topics": [
                        "How to keep slugs off young lettuce",
                        "Which vegetables grow in the shade of a wall",
                        "When to water seedlings in a hot week",
                    ]}),
                ),
                (
                    "baking bread",
                    json!({"topics": [
                        "Why a loaf stays flat in the oven",
                        "How to keep a sourdough alive for years",
                        "What to bake with old flour",
                    ]}),
                ),
            ],
        };
        let schema = object("topics", texts(count.into(), usize::from(count) + 2, 15, 80));
        self.question("topics".to_owned(), &kind, &self.keyword, schema, 100 + 30 * u32::from(count))
    }

    /// Title and meta description of an article about `topic`.
    pub(crate) fn title(&self, topic: &str) -> Question {
        let kind = Kind {
            ask: |subject| {
                format!(
                    "Article about: {subject}. Give a title of 6 to 10 words that says exactly what the reader learns, \
                     and a description of one or two sentences that makes one want to read it."
                )
            },
            examples: [
                (
                    "keeping slugs away from lettuce",
                    json!({
                        "title": "How to Keep Slugs off Your Lettuce without Poison",
                        "description": "Slugs eat young lettuce overnight. Learn which barriers work, when to water, and \
                                        how a board and a torch save the bed.",
                    }),
                ),
                (
                    "flat bread loaves",
                    json!({
                        "title": "Why Your Loaf Stays Flat and How to Mend It",
                        "description": "A flat loaf has one of three causes. Find yours with a finger, a clock and a \
                                        thermometer, and bake it right tomorrow.",
                    }),
                ),
            ],
        };
        let schema = json!({
            "type": "object",
            "properties": {
                "title": text(20, TITLE_MOST),
                "description": text(DESCRIPTION.0 + 20, DESCRIPTION.1),
            },
            "required": ["title", "description"],
            "additionalProperties": false,
        });
        self.question("title".to_owned(), &kind, topic, schema, 140)
    }

    /// The headings of the article `title`.
    pub(crate) fn headings(&self, title: &str) -> Question {
        let kind = Kind {
            ask: |title| {
                format!(
                    "Article: \"{title}\". Give {SECTIONS} section headings in the order in which a reader needs them. \
                     Each is about another point and says what it is."
                )
            },
            examples: [
                (
                    GARDEN,
                    json!({"headings": [
                        "Why slugs come out after evening watering",
                        "Build a copper ring around each seedling",
                        "What to plant beside lettuce",
                        "Check the bed by torchlight twice a week",
                    ]}),
                ),
                (
                    BREAD,
                    json!({"headings": [
                        "Press the dough with a finger before baking",
                        "Let it rise by the window, not by the clock",
                        "Too much flour makes a tired loaf",
                        "Heat the oven longer than you think",
                    ]}),
                ),
            ],
        };
        self.question(
            "headings".to_owned(),
            &kind,
            title,
            object("headings", texts(SECTIONS, SECTIONS + 1, 12, HEADING_MOST)),
            160,
        )
    }

    /// The questions that readers of `title` have.
    pub(crate) fn questions(&self, title: &str) -> Question {
        let kind = Kind {
            ask: |title| {
                format!(
                    "Article: \"{title}\". Which {QUESTIONS} questions does a reader still have? Each is one short \
                     sentence that ends with a question mark."
                )
            },
            examples: [
                (
                    GARDEN,
                    json!({"questions": [
                        "Does coffee really keep slugs away?",
                        "How often should I check the bed?",
                        "Are slug pellets dangerous for a dog?",
                    ]}),
                ),
                (
                    BREAD,
                    json!({"questions": [
                        "Can I save a dough that rose too long?",
                        "Which flour rises best?",
                        "Why is the crust pale?",
                    ]}),
                ),
            ],
        };
        self.question(
            "questions".to_owned(),
            &kind,
            title,
            object("questions", texts(QUESTIONS, QUESTIONS + 1, 15, QUESTION_MOST)),
            160,
        )
    }

    /// The text under `heading` in the article `title`.
    pub(crate) fn section(&self, title: &str, heading: &str) -> Question {
        let kind = Kind {
            ask: |section| {
                format!(
                    "{section} Write this section in two paragraphs of three or four sentences. Explain why, say what to \
                     do, and give an example."
                )
            },
            examples: [
                (
                    SLUGS,
                    json!({"paragraphs": [
                        "Slugs breathe through their skin and dry out within an hour of sun. They wait under stones until \
                         the ground is wet. A bed that was watered at eight in the evening stays damp all night, and that \
                         is all they need to reach your lettuce.",
                        "Water in the morning instead. By dusk the top of the soil is dry, while the roots still find \
                         enough. If you can only water late, pour it at the foot of each plant and leave the paths \
                         between the rows dry.",
                    ]}),
                ),
                (
                    DOUGH,
                    json!({"paragraphs": [
                        "A dough that is pushed into the oven too early has no strength to rise, and one that waited too \
                         long has none left. The clock does not tell you which, because a warm kitchen is twice as fast as \
                         a cold one. Your finger does.",
                        "Press the dough as deep as a fingernail. If the dent jumps back at once, wait half an hour. If it \
                         comes back slowly and not wholly, bake now. If it stays, fold the dough once, and be quick.",
                    ]}),
                ),
            ],
        };
        let asked = format!("Article: \"{title}\". Section: \"{heading}\".");
        self.question(format!("section {heading:?}"), &kind, &asked, object("paragraphs", texts(2, 2, 180, 520)), 420)
    }

    /// The answer to `asked` on the page `title`.
    pub(crate) fn answer(&self, title: &str, asked: &str) -> Question {
        let kind = Kind {
            ask: |question| format!("{question} Answer in two or three sentences: first the answer, then why."),
            examples: [
                (
                    COFFEE,
                    json!({"answer":
                        "Only a little. Strong coffee keeps slugs from a leaf for a day, but the first rain washes it off. \
                         A ring of copper lasts for years."
                    }),
                ),
                (
                    CRUST,
                    json!({"answer":
                        "The oven was too cold, or the loaf came out too early. Heat it for forty minutes before you bake, \
                         and leave the loaf in until its bottom sounds hollow."
                    }),
                ),
            ],
        };
        let question = format!("Article: \"{title}\". A reader asks: \"{asked}\"");
        self.question(format!("answer to {asked:?}"), &kind, &question, object("answer", text(80, 360)), 160)
    }

    fn question(&self, wanted: String, kind: &Kind, subject: &str, schema: Value, max_tokens: u32) -> Question {
        let message = |role, content: String| Message { role, content };
        let mut messages = vec![message("system", self.system.clone())];
        for (example, shown) in &kind.examples {
            messages.push(message("user", (kind.ask)(example)));
            messages.push(message("assistant", shown.to_string()));
        }
        messages.push(message("user", (kind.ask)(subject)));
        Question { wanted, messages, schema, max_tokens }
    }
}

fn text(least: usize, most: usize) -> Value {
    json!({"type": "string", "minLength": least, "maxLength": most})
}

fn texts(least: usize, most: usize, shortest: usize, longest: usize) -> Value {
    json!({"type": "array", "minItems": least, "maxItems": most, "items": text(shortest, longest)})
}

fn object(key: &str, value: Value) -> Value {
    json!({"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": false})
}
