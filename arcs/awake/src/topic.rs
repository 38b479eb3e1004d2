//! Topics: whether an answer is one, how good it is, and whether it was there before.

use std::collections::BTreeSet;

/// The bounds of a topic's length in characters.
const LENGTH: std::ops::RangeInclusive<usize> = 12..=110;

/// Words that say nothing of what a topic is about.
const EMPTY: [&str; 34] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "i", "in", "into",
    "is", "it", "my", "of", "on", "or", "should", "that", "the", "their", "this", "to", "what", "why", "with", "you",
    "your",
];

/// Topics that could be anything.
const BLAND: [&str; 11] = [
    "basics",
    "guide",
    "introduction",
    "everything",
    "overview",
    "strategies",
    "tips",
    "understanding",
    "exploring",
    "future",
    "world",
];

/// Words that only our example brings in.
const EXAMPLE: [&str; 6] = ["seedling", "watering", "slug", "lettuce", "garden", "vegetable"];

/// Two topics that share at least this much of the smaller one are the same.
const SAME: f64 = 0.7;

/// What a Sentinel is about, to compare topics by what else is in them.
pub(crate) struct Subject {
    words: BTreeSet<String>,
}

impl Subject {
    /// The subject of a question such as "Give me one topic for a crypto beginner's blog".
    pub(crate) fn new(question: &str) -> Self {
        Self { words: telling(question) }
    }

    /// The topic in an answer, if it is one.
    ///
    /// # Errors
    /// Says what is wrong with it, as the end of a sentence.
    pub(crate) fn read(&self, answer: &str) -> Result<String, &'static str> {
        let line = answer.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = line.trim_matches(['"', '“', '”', '\'', ' ', '.', ':', ',']);
        if line.chars().any(|c| c.is_control() || "<>[]{}`*|\\#\u{fffd}".contains(c)) || line.contains("://") {
            return Err("has markup in it");
        }
        if !LENGTH.contains(&line.chars().count()) || words(line).len() < 3 {
            return Err("is too short or too long");
        }
        let used = telling(line);
        if EXAMPLE.iter().any(|word| used.contains(*word) && !self.words.contains(*word)) {
            return Err("copies the example");
        }
        if used.difference(&self.words).count() < 2 { Err("says nothing specific") } else { Ok(line.to_owned()) }
    }

    /// How good a topic is: specific, a question of a reader, of the subject.
    pub(crate) fn score(&self, topic: &str) -> i64 {
        let used = telling(topic);
        let asks =
            words(topic).first().is_some_and(|word| ["how", "why", "what", "which", "when"].contains(&word.as_str()));
        let bland = BLAND.iter().filter(|word| used.contains(**word)).count();
        let mut score = if (5..=12).contains(&words(topic).len()) { 3 } else { 0 };
        score += if asks { 2 } else { 0 };
        score += if used.iter().any(|word| self.is_of_subject(word)) { 4 } else { 0 };
        score += if topic.chars().count() <= 80 { 1 } else { 0 };
        score - 3 * i64::try_from(bland).unwrap_or(0)
    }

    /// Whether a word is one of the subject or begins like one: `cryptocurrency` of `crypto`.
    fn is_of_subject(&self, word: &str) -> bool {
        self.words.iter().any(|own| own.len() >= 4 && word.starts_with(own.as_str()))
    }

    /// Whether two topics are the same, apart from the words that all topics of the subject have.
    pub(crate) fn same(&self, one: &str, other: &str) -> bool {
        let own = |topic: &str| telling(topic).difference(&self.words).cloned().collect::<BTreeSet<_>>();
        let (one, other) = (own(one), own(other));
        let smaller = one.len().min(other.len());
        if smaller == 0 { one.len() == other.len() } else { share(one.intersection(&other).count(), smaller) >= SAME }
    }
}

/// A topic as part of a key: its words with hyphens, 200 bytes at the most.
pub(crate) fn slug(topic: &str) -> String {
    let mut slug = String::new();
    for word in words(topic) {
        if slug.len() + 1 + word.len() > 200 {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(&word);
    }
    slug
}

fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace(['\'', '’'], "");
    plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The words that say something, without a plural's `s`.
fn telling(text: &str) -> BTreeSet<String> {
    let words = words(text).into_iter().filter(|word| !EMPTY.contains(&word.as_str()));
    words.map(|word| singular(&word).to_owned()).collect()
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s')
        .filter(|stem| stem.len() >= 3 && !stem.ends_with('s') && !BLAND.contains(&word))
        .unwrap_or(word)
}

#[expect(clippy::cast_precision_loss, reason = "counts of words are far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::new("Give me one specific, trending topic for a crypto beginner's blog.")
    }

    #[test]
    fn a_topic_is_one_clean_specific_line() {
        let read = |answer: &str| subject().read(answer);
        assert_eq!(read(" \"How to spot a fake wallet app.\" ").as_deref(), Ok("How to spot a fake wallet app"));
        assert_eq!(read("Crypto for beginners"), Err("says nothing specific"));
        assert_eq!(read("Why watering seedlings at night is better"), Err("copies the example"));
        assert_eq!(read("See [this](https://x.example) wallet topic"), Err("has markup in it"));
        assert_eq!(read("Wallets"), Err("is too short or too long"));
        assert_eq!(read(&"wallet ".repeat(30)), Err("is too short or too long"));
        assert!(Subject::new("A topic for a garden blog").read("What to plant in a small garden bed").is_ok());
    }

    #[test]
    fn the_specific_topic_is_the_better_one() {
        let subject = subject();
        let specific = subject.score("How to spot a fake wallet app before you install it");
        assert!(specific > subject.score("Crypto Basics and Strategies"));
        assert!(specific > subject.score("Understanding the World of Blockchain"));
    }

    #[test]
    fn the_same_topic_in_other_words_is_the_same() {
        let same = |one: &str, other: &str| subject().same(one, other);
        assert!(same("How to spot a fake wallet app", "Spotting? A fake wallet app: what to spot"));
        assert!(same("How crypto beginners choose a wallet", "Choosing: how to choose a crypto wallet"));
        assert!(!same("How crypto beginners choose a wallet", "Why crypto transfers cost a fee"));
        assert!(!same("What is a seed phrase", "How to read a fee table"));
    }

    #[test]
    fn a_key_is_made_of_any_topic() {
        assert_eq!(slug("What's a \"seed phrase\"?"), "whats-a-seed-phrase");
        assert!(slug(&"wallet ".repeat(100)).len() <= 200);
    }
}
