//! What a text of a model must be before it may stand on a page.
//!
//! A small model breaks off, repeats itself, answers with lists and markup, copies the example that it was shown, or
//! talks about its task. Sentences that can go without loss are dropped; anything else refuses the whole text, and the
//! model is asked again.

use std::collections::HashSet;

use crate::words::{count, fraction, is_whole, sentences, words};

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("has {found} words where at least {least} are needed")]
    Short { found: usize, least: usize },
    #[error("is longer than {most} characters")]
    Long { most: usize },
    #[error("has characters that are no text")]
    Characters,
    #[error("has markup in it ({0:?})")]
    Markup(String),
    #[error("is a list where prose was asked for")]
    List,
    #[error("has a web address in it")]
    Address,
    #[error("has a placeholder in it")]
    Placeholder,
    #[error("repeats what is already there")]
    Repeats,
    #[error("copies the example that the model was shown ({0:?})")]
    Echo(&'static str),
    #[error("talks about the task")]
    Talk,
    #[error("has {found} usable parts where {wanted} are needed")]
    Few { found: usize, wanted: usize },
}

/// The words by which a text of one of our examples is known.
struct Example {
    /// One of them is enough.
    telling: &'static [&'static str],
    /// Two of them are needed: any of them may stand in a text about something else.
    common: &'static [&'static str],
    /// A topic with one of these, or of the others, may well be written about in the example's words.
    related: &'static [&'static str],
}

const EXAMPLES: [Example; 2] = [
    Example {
        telling: &["slug", "slugs", "lettuce", "lettuces", "seedling", "seedlings", "torchlight", "pellets"],
        common: &["copper", "garden", "gardening", "coffee", "dog", "soil", "beds"],
        related: &["plant", "plants", "vegetable", "vegetables", "flowers", "farming", "dogs", "snails"],
    },
    Example {
        telling: &["sourdough", "fingernail"],
        common: &["dough", "loaf", "loaves", "bread", "flour", "crust", "oven", "bake", "baking"],
        related: &["pizza", "cake", "cakes", "pastry", "cooking", "recipe", "recipes", "kitchen", "food", "baker"],
    },
];

/// What a model says when it talks about its task in place of doing it.
const TALK: [&str; 15] = [
    "as an ai",
    "language model",
    "i cannot",
    "i'm sorry",
    "i am sorry",
    "json",
    "this article",
    "the article",
    "this section",
    "the section",
    "this paragraph",
    "two paragraphs",
    "meta description",
    "lorem ipsum",
    "blog post",
];

/// More than this share of a text's runs of four words may not have been there before on the page.
const MOST_KNOWN: f64 = 0.3;
/// At least this share of a text's runs of four words must be different ones.
const LEAST_OWN: f64 = 0.85;

/// Guards one page: knows its topic and what already stands there.
#[derive(Clone)]
pub(crate) struct Gate {
    /// Examples that have nothing to do with the topic.
    foreign: Vec<&'static Example>,
    sentences: HashSet<Vec<String>>,
    runs: HashSet<Vec<String>>,
}

impl Gate {
    /// A gate for a page about `topic`, which may be about what our examples are about.
    pub(crate) fn new(topic: &str) -> Self {
        let topic = words(topic);
        let is_foreign = |example: &&Example| {
            let mut own = [example.telling, example.common, example.related].into_iter().flatten();
            !own.any(|word| topic.iter().any(|of_topic| of_topic == word))
        };
        let foreign = EXAMPLES.iter().filter(is_foreign).collect();
        Self { foreign, sentences: HashSet::new(), runs: HashSet::new() }
    }

    /// Prose of at least `least` words: whole sentences that are not on the page yet.
    pub(crate) fn prose(&self, text: &str, least: usize) -> Result<String, Fault> {
        if is_list(text) {
            return Err(Fault::List);
        }
        let text = self.plain(text)?;
        let mut kept: Vec<&str> = Vec::new();
        let mut fault = None;
        for sentence in sentences(&text).into_iter().filter(|sentence| is_whole(sentence)) {
            match self.sentence(sentence, &kept) {
                Ok(()) => kept.push(sentence),
                Err(refused) => fault = Some(refused),
            }
        }
        let kept = capitalised(&kept.join(" "));
        let found = count(&kept);
        if found < least {
            return Err(fault.unwrap_or(Fault::Short { found, least }));
        }
        self.runs_are_new(&kept)?;
        Ok(kept)
    }

    /// A title, a heading, a question: one line without a stop, of `least` words and `most` characters.
    pub(crate) fn line(&self, text: &str, least: usize, most: usize) -> Result<String, Fault> {
        let text = self.plain(text)?;
        let bare = without_number(&text).trim_matches(['"', '“', '”', '\'', ' ', '.', ':', ',', ';', '…', '-', '–']);
        if bare.chars().count() > most {
            return Err(Fault::Long { most });
        }
        let found = count(bare);
        if found < least {
            return Err(Fault::Short { found, least });
        }
        if is_talk(bare) {
            return Err(Fault::Talk);
        }
        Ok(capitalised(bare))
    }

    /// Adds a text to what stands on the page.
    pub(crate) fn remember(&mut self, text: &str) {
        self.sentences.extend(sentences(text).into_iter().map(words));
        self.runs.extend(runs(text));
    }

    /// The text on one line, if it has nothing in it but text.
    fn plain(&self, text: &str) -> Result<String, Fault> {
        if text.chars().any(|c| !is_text(c)) {
            return Err(Fault::Characters);
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        has_no_markup(&text)?;
        let lower = text.to_lowercase();
        if ["://", "www.", ".com", ".org", ".net", "http:", "https:"].iter().any(|mark| lower.contains(mark)) {
            return Err(Fault::Address);
        }
        let used = words(&text);
        match self.foreign.iter().find_map(|example| example.echo(&used)) {
            Some(echo) => Err(Fault::Echo(echo)),
            None => Ok(text),
        }
    }

    fn sentence(&self, sentence: &str, before: &[&str]) -> Result<(), Fault> {
        let own = words(sentence);
        if self.sentences.contains(&own) || before.iter().any(|earlier| words(earlier) == own) {
            return Err(Fault::Repeats);
        }
        if is_talk(sentence) { Err(Fault::Talk) } else { Ok(()) }
    }

    fn runs_are_new(&self, text: &str) -> Result<(), Fault> {
        let all: Vec<Vec<String>> = runs(text).collect();
        let own: HashSet<&Vec<String>> = all.iter().collect();
        let known = all.iter().filter(|run| self.runs.contains(*run)).count();
        let all = all.len().max(1);
        let repeats = fraction(known, all) > MOST_KNOWN || (own.len() < all && fraction(own.len(), all) < LEAST_OWN);
        if repeats { Err(Fault::Repeats) } else { Ok(()) }
    }
}

impl Example {
    /// The word by which `used` are words of this example.
    fn echo(&self, used: &[String]) -> Option<&'static str> {
        let found =
            |words: &'static [&'static str]| words.iter().filter(|word| used.iter().any(|own| own == *word)).copied();
        found(self.telling).next().or_else(|| found(self.common).nth(1))
    }
}

fn runs(text: &str) -> impl Iterator<Item = Vec<String>> {
    words(text).windows(4).map(<[String]>::to_vec).collect::<Vec<_>>().into_iter()
}

/// Whether a character may stand in a text: no controls, nothing that XML forbids, nothing that turns the direction of
/// what follows.
fn is_text(c: char) -> bool {
    let hidden = matches!(c, '\u{200b}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}');
    matches!(c, '\n' | '\r' | '\t') || !(c.is_control() || hidden)
}

fn has_no_markup(text: &str) -> Result<(), Fault> {
    if let Some(mark) =
        ["**", "__", "`", "##", "|", "*", "\\", "&lt;", "&gt;", "&amp;", "&#"].iter().find(|mark| text.contains(**mark))
    {
        return Err(Fault::Markup((*mark).to_owned()));
    }
    if text.contains(['[', ']', '{', '}']) {
        return Err(Fault::Placeholder);
    }
    let opens = |(at, _): (usize, &str)| {
        let next = text.get(at + 1..).and_then(|rest| rest.chars().next());
        next.is_some_and(|c| c.is_alphabetic() || matches!(c, '/' | '!' | '?'))
    };
    if text.match_indices('<').any(opens) { Err(Fault::Markup("<".to_owned())) } else { Ok(()) }
}

/// Whether the text is a list: lines that begin with bullets or numbers, or the numbers 1 and 2 within a line.
fn is_list(text: &str) -> bool {
    let begins = |line: &str| {
        let line = line.trim_start();
        let bullet =
            line.strip_prefix(['-', '*', '•', '–', '+']).is_some_and(|rest| rest.starts_with(char::is_whitespace));
        bullet || line.starts_with('#') || without_number(line).len() < line.len()
    };
    let numbered = |one: &str, two: &str| text.contains(one) && text.contains(two);
    text.lines().any(begins)
        || numbered("1. ", " 2. ")
        || numbered("1) ", " 2) ")
        || text.contains('•')
        || text.matches(" - ").count() > 2
}

/// The line without `1. `, `1) `, `Step 1: ` or `Section 1: ` before it.
fn without_number(line: &str) -> &str {
    let unnamed = ["Step ", "Section "].iter().find_map(|name| line.strip_prefix(name)).unwrap_or(line);
    let rest = unnamed.trim_start_matches(|c: char| c.is_ascii_digit());
    let marks: &[&str] = if unnamed.len() < line.len() { &[": ", ". ", " - "] } else { &[". ", ") "] };
    let stripped =
        (rest.len() < unnamed.len()).then(|| marks.iter().find_map(|mark| rest.strip_prefix(mark))).flatten();
    stripped.unwrap_or(line)
}

fn is_talk(text: &str) -> bool {
    let lower = text.to_lowercase().replace('’', "'");
    TALK.iter().any(|phrase| lower.contains(phrase))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "A wallet holds the keys to your coins, not the coins themselves. Whoever has the keys can \
                        spend them. Write the recovery words on paper and keep them away from every camera.";

    fn gate() -> Gate {
        Gate::new("How to move coins to your own wallet")
    }

    #[test]
    fn good_prose_passes_as_it_is() {
        assert_eq!(gate().prose(GOOD, 20).as_deref(), Ok(GOOD));
        assert_eq!(gate().prose("keep  your\nkeys safe.", 3).as_deref(), Ok("Keep your keys safe."));
    }

    #[test]
    fn what_breaks_off_is_cut_back_to_the_last_whole_sentence() {
        assert_eq!(gate().prose(&format!("{GOOD} And then you shou"), 20).as_deref(), Ok(GOOD));
        let fault = gate().prose("A wallet holds the keys to your coins and never the", 5);
        assert_eq!(fault, Err(Fault::Short { found: 0, least: 5 }));
    }

    #[test]
    fn markup_lists_addresses_placeholders_and_odd_characters_are_refused() {
        let refused = |text: &str| gate().prose(&format!("{text} {GOOD}"), 5).expect_err(text);
        for text in ["**Note:** mind this.", "Use `seed`.", "<b>Note.</b>", "A &lt;b&gt; here.", "Look\\nhere."] {
            assert!(matches!(refused(text), Fault::Markup(_)), "{text}");
        }
        for text in ["- keys\n- coins\n", "1. Open it. 2. Close it.", "Step 1: open it.\n", "* one\n"] {
            assert_eq!(refused(text), Fault::List, "{text}");
        }
        for text in ["See https://evil.example now.", "Go to www.evil.example now.", "Visit evil.com now."] {
            assert_eq!(refused(text), Fault::Address, "{text}");
        }
        assert_eq!(refused("Dear [name], hello."), Fault::Placeholder);
        for text in ["Bell \u{7} here.", "Turned \u{202e} round.", "Broken \u{fffd} bytes."] {
            assert_eq!(refused(text), Fault::Characters, "{text}");
        }
    }

    #[test]
    fn the_example_does_not_leak_unless_it_is_the_topic() {
        let text = "Slugs eat young lettuce overnight, so water the beds in the morning and not in the evening.";
        assert_eq!(gate().prose(text, 5), Err(Fault::Echo("slugs")));
        assert!(Gate::new("Gardening for beginners").prose(text, 5).is_ok());
        let dough = "Press the dough with a finger before you put it into the oven.";
        assert_eq!(gate().prose(dough, 5), Err(Fault::Echo("oven")));
        assert!(Gate::new("Pizza at home").prose(dough, 5).is_ok());
        assert!(gate().prose("Buy your coins like a cup of coffee: small, and not every day.", 5).is_ok());
    }

    #[test]
    fn talk_about_the_task_is_dropped_where_enough_is_left() {
        assert_eq!(gate().prose(&format!("In this section we look at keys. {GOOD}"), 20).as_deref(), Ok(GOOD));
        assert_eq!(gate().prose("As an AI I do not know of any wallet at all.", 5), Err(Fault::Talk));
    }

    #[test]
    fn nothing_is_said_twice_on_a_page() {
        let mut gate = gate();
        let twice = "Keep the keys. Keep the keys. Keep the keys. Keep the keys.";
        assert_eq!(gate.prose(twice, 5), Err(Fault::Repeats));
        gate.remember(GOOD);
        assert_eq!(gate.prose(GOOD, 20), Err(Fault::Repeats));
        let again = "Remember that a wallet holds the keys to your coins, not the coins themselves, and so on.";
        assert_eq!(gate.prose(again, 10), Err(Fault::Repeats));
        let circling = "You can use the wallet to send coins and you can use the wallet to get coins and you can use \
                        the wallet to see coins.";
        assert_eq!(gate.prose(circling, 10), Err(Fault::Repeats));
    }

    #[test]
    fn a_line_is_freed_of_numbers_quotes_and_stops() {
        let line = |text: &str| gate().line(text, 2, 60);
        assert_eq!(line("1. \"what a key is.\"").as_deref(), Ok("What a key is"));
        assert_eq!(line("Section 2: Where keys live").as_deref(), Ok("Where keys live"));
        assert_eq!(line("2 keys are better").as_deref(), Ok("2 keys are better"));
        assert_eq!(line("Keys"), Err(Fault::Short { found: 1, least: 2 }));
        assert_eq!(line(&"key ".repeat(30)), Err(Fault::Long { most: 60 }));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_out_is_whole_clean_prose(text in "\\PC{0,400}") {
            if let Ok(prose) = gate().prose(&text, 1) {
                proptest::prop_assert!(is_whole(&prose) && prose.chars().all(is_text) && !prose.contains('\n'));
                proptest::prop_assert!(has_no_markup(&prose).is_ok());
            }
            let _ = gate().line(&text, 1, 100);
        }
    }
}
