//! Words and sentences, as far as counting and comparing needs them.

use std::collections::BTreeSet;

/// What may end a sentence, in the scripts that a model is likely to write.
const STOPS: [char; 9] = ['.', '!', '?', '…', '。', '！', '？', '؟', '।'];

/// What may stand between a sentence's stop and the space after it.
const CLOSERS: [char; 6] = ['"', '\'', '”', '’', ')', '»'];

/// Words that say nothing of what a text is about.
const EMPTY: [&str; 46] = [
    "a", "about", "an", "and", "are", "as", "at", "be", "by", "can", "de", "der", "die", "do", "does", "el", "for",
    "from", "how", "i", "in", "into", "is", "it", "la", "le", "les", "my", "of", "on", "or", "our", "should", "that",
    "the", "their", "this", "to", "und", "what", "when", "which", "why", "with", "you", "your",
];

/// The words in lower case, without punctuation. A character of a script that puts no spaces between words counts as
/// a word.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        let inside = c.is_alphanumeric() || (matches!(c, '\'' | '’' | '-') && !word.is_empty());
        if inside && !is_ideograph(c) {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_ideograph(c) {
            words.push(c.to_string());
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// How many words a text has.
pub(crate) fn count(text: &str) -> usize {
    words(text).len()
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{0e00}'..='\u{0e7f}')
}

/// The words that say what a text is about: without the empty ones, without a plural's `s`.
pub(crate) fn subject(text: &str) -> BTreeSet<String> {
    let telling = words(text).into_iter().filter(|word| !EMPTY.contains(&word.as_str()));
    telling.map(|word| singular(&word)).collect()
}

fn singular(word: &str) -> String {
    let stem = word.strip_suffix('s').filter(|stem| stem.chars().count() >= 3 && !stem.ends_with('s'));
    stem.unwrap_or(word).to_owned()
}

/// How much of the smaller subject the other one covers, 0 to 1.
pub(crate) fn overlap(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let smaller = a.len().min(b.len());
    if smaller == 0 { 0.0 } else { fraction(a.intersection(b).count(), smaller) }
}

/// `part / whole` for counts.
#[expect(clippy::cast_precision_loss, reason = "counts of words are far below 2^52")]
pub(crate) fn fraction(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// The sentences with their stops. A text that breaks off ends with a piece that [`is_whole`] refuses.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut ended = false;
    for (at, c) in text.char_indices() {
        let closes = STOPS.contains(&c) || (ended && CLOSERS.contains(&c));
        if ended && !closes && (c.is_whitespace() || is_ideograph(c)) {
            sentences.extend(text.get(start..at));
            start = at;
        }
        ended = closes;
    }
    sentences.extend(text.get(start..));
    sentences.into_iter().map(str::trim).filter(|sentence| !sentence.is_empty()).collect()
}

/// Whether a sentence ends with a stop.
pub(crate) fn is_whole(sentence: &str) -> bool {
    sentence.trim_end_matches(CLOSERS).ends_with(STOPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_without_punctuation_and_in_scripts_without_spaces() {
        assert_eq!(words("Don't panic: 2 keys, two-factor!"), ["don't", "panic", "2", "keys", "two-factor"]);
        assert_eq!(count("暗号資産 wallet"), 5);
        assert_eq!(count(" — … "), 0);
    }

    #[test]
    fn a_sentence_ends_with_its_stop_and_its_quotation_marks() {
        let text = "It costs 2.5 coins. \"Why?\" asks Ann. And so";
        assert_eq!(sentences(text), ["It costs 2.5 coins.", "\"Why?\"", "asks Ann.", "And so"]);
        assert_eq!(sentences("鍵は秘密です。残高は公開です。"), ["鍵は秘密です。", "残高は公開です。"]);
        assert!(is_whole("He said \"no.\"") && is_whole("Wait…") && !is_whole("And so") && !is_whole("Step one:"));
    }

    #[test]
    fn subjects_are_compared_without_empty_words_and_plurals() {
        let wallets = subject("How to choose your wallets");
        assert_eq!(wallets, subject("Choose a wallet"));
        assert!((overlap(&wallets, &subject("The wallet")) - 1.0).abs() < f64::EPSILON);
        assert!(overlap(&wallets, &subject("the of")).abs() < f64::EPSILON);
    }
}
