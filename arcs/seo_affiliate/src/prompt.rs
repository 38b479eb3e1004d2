//! The questions that are put to the model. Each shows one example in another subject, because a small model then keeps
//! to the form and is specific; the [gate](crate::gate) sees to it that the example does not come back.

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

/// Example and question of one exchange.
struct Exchange<'a> {
    example: &'a str,
    shown: Value,
    asked: String,
}

/// What all questions about one site have in common.
pub(crate) struct Prompts {
    system: String,
}

impl Prompts {
    /// Questions for a site about `keyword` in `language` (its English name or its code).
    pub(crate) fn new(keyword: &str, language: &str) -> Self {
        let system = format!(
            "You write for a website about this subject: {keyword}. You write in {language}, in plain and friendly \
             words, for readers who are new to the subject. You are specific: you name things, steps, reasons and \
             examples. You write no lists, no links and no markup. You answer in JSON."
        );
        Self { system }
    }

    /// Titles for `count` articles about `keyword`.
    pub(crate) fn topics(&self, keyword: &str, count: u8) -> Question {
        self.question(
            "topics".to_owned(),
            Exchange {
                example: "Name 3 specific topics for articles about: vegetable gardening. Each is a different one.",
                shown: json!({"topics": [
                    "How to keep slugs off young lettuce",
                    "Which vegetables grow in the shade of a wall",
                    "When to water seedlings in a hot week",
                ]}),
                asked: format!("Name {count} specific topics for articles about: {keyword}. Each is a different one."),
            },
            object("topics", texts(count.into(), usize::from(count) + 2, 15, 80)),
            100 + 30 * u32::from(count),
        )
    }

    /// Title and meta description of an article about `topic`.
    pub(crate) fn title(&self, topic: &str) -> Question {
        let ask = |topic: &str| {
            format!(
                "Article about: {topic}. Give a title of 6 to 10 words that says exactly what the reader learns, and a \
                 description of one or two sentences that makes one want to read it."
            )
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
        self.question(
            "title".to_owned(),
            Exchange {
                example: &ask("keeping slugs away from lettuce"),
                shown: json!({
                    "title": "How to Keep Slugs off Your Lettuce without Poison",
                    "description": "Slugs eat young lettuce overnight. Learn which barriers work, when to water, and \
                                    how a board and a torch save the bed.",
                }),
                asked: ask(topic),
            },
            schema,
            140,
        )
    }

    /// The headings of the article `title` about `topic`.
    pub(crate) fn headings(&self, topic: &str, title: &str) -> Question {
        let ask = |topic: &str, title: &str| {
            format!(
                "Article: \"{title}\" (about {topic}). Give {SECTIONS} section headings in the order in which a reader \
                 needs them. Each is about another point and says what it is."
            )
        };
        self.question(
            "headings".to_owned(),
            Exchange {
                example: &ask("slugs and lettuce", "How to Keep Slugs off Your Lettuce without Poison"),
                shown: json!({"headings": [
                    "Why slugs come out after evening watering",
                    "Build a copper ring around each seedling",
                    "What to plant beside lettuce",
                    "Check the bed by torchlight twice a week",
                ]}),
                asked: ask(topic, title),
            },
            object("headings", texts(SECTIONS, SECTIONS + 1, 12, HEADING_MOST)),
            160,
        )
    }

    /// The questions that readers of `title` have.
    pub(crate) fn questions(&self, topic: &str, title: &str) -> Question {
        let ask = |topic: &str, title: &str| {
            format!(
                "Article: \"{title}\" (about {topic}). Which {QUESTIONS} questions does a reader still have? Each is one \
                 short sentence that ends with a question mark."
            )
        };
        self.question(
            "questions".to_owned(),
            Exchange {
                example: &ask("slugs and lettuce", "How to Keep Slugs off Your Lettuce without Poison"),
                shown: json!({"questions": [
                    "Does coffee really keep slugs away?",
                    "How often should I check the bed?",
                    "Are slug pellets dangerous for a dog?",
                ]}),
                asked: ask(topic, title),
            },
            object("questions", texts(QUESTIONS, QUESTIONS + 1, 15, QUESTION_MOST)),
            160,
        )
    }

    /// The text under `heading`; `others` are the headings of the other sections.
    pub(crate) fn section(&self, title: &str, heading: &str, others: &[&str]) -> Question {
        let ask = |title: &str, heading: &str, others: &str| {
            format!(
                "Article: \"{title}\". Write the section \"{heading}\" in two paragraphs of three or four sentences. \
                 Explain why, say what to do, and give an example. Other sections are about: {others}."
            )
        };
        let example = ask(
            "How to Keep Slugs off Your Lettuce without Poison",
            "Why slugs come out after evening watering",
            "copper rings; plants beside lettuce; checking by torchlight",
        );
        self.question(
            format!("section {heading:?}"),
            Exchange {
                example: &example,
                shown: json!({"paragraphs": [
                    "Slugs breathe through their skin and dry out within an hour of sun. They wait under stones until \
                     the ground is wet. A bed that was watered at eight in the evening stays damp all night, and that \
                     is all they need to reach your lettuce.",
                    "Water in the morning instead. By dusk the top of the soil is dry, while the roots still find \
                     enough. If you can only water late, pour it at the foot of each plant and leave the paths \
                     between the rows dry.",
                ]}),
                asked: ask(title, heading, &others.join("; ")),
            },
            object("paragraphs", texts(2, 2, 180, 520)),
            420,
        )
    }

    /// The answer to `asked` on the page `title`.
    pub(crate) fn answer(&self, title: &str, asked: &str) -> Question {
        let ask = |title: &str, asked: &str| {
            format!(
                "Article: \"{title}\". A reader asks: \"{asked}\" Answer in two or three sentences. Say yes or no where \
                 that is asked, and then why."
            )
        };
        self.question(
            format!("answer to {asked:?}"),
            Exchange {
                example: &ask(
                    "How to Keep Slugs off Your Lettuce without Poison",
                    "Does coffee really keep slugs away?",
                ),
                shown: json!({"answer":
                    "Only a little. Strong coffee keeps slugs from a leaf for a day, but the first rain washes it off. \
                     A ring of copper lasts for years."
                }),
                asked: ask(title, asked),
            },
            object("answer", text(80, 360)),
            160,
        )
    }

    fn question(&self, wanted: String, exchange: Exchange<'_>, schema: Value, max_tokens: u32) -> Question {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        let messages = vec![
            message("system", &self.system),
            message("user", exchange.example),
            message("assistant", &exchange.shown.to_string()),
            message("user", &exchange.asked),
        ];
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
