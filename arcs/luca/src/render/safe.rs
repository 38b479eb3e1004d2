//! Text of tools and models made harmless for a terminal.
//!
//! A terminal obeys what it is sent: escape sequences move the cursor, change the title, read the clipboard or answer
//! with input of their own; marks for writing direction make text read otherwise than it stands. None of that comes
//! through: such characters are shown as their number.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Text of several lines: line feeds and tabs stay, the carriage return before a line feed goes.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    let is_kept = |c: char| c == '\n' || c == '\t' || !is_hostile(c);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\r' if characters.peek() == Some(&'\n') => {}
            c if is_kept(c) => safe.push(c),
            c => safe.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(safe)
}

/// Text on one line: breaks and tabs become blanks.
pub(crate) fn line(line: &str) -> String {
    let blank = |c: char| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
    text(&line.chars().map(blank).collect::<String>()).into_owned()
}

/// JSON text whose strings hold no such character: they are written `\u001b`, which is the same JSON. serde writes
/// what is below U+0020 in this way, and leaves the rest.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// C0 and C1 controls, marks and overrides of writing direction (Unicode UAX 9), line and paragraph separators, and
/// the tag characters, which nobody sees.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Title, clipboard, colour, C1 control sequence, direction override, backspace, a hidden tag.
    const HOSTILE: &str = "a\x1b]0;owned\x07\x1b]52;c;eA==\x07\x1b[31m\u{9b}2J\u{202e}txt\x08\u{e0041}\x7f";

    fn is_harmless(text: &str) -> bool {
        !text.chars().any(|c| c != '\n' && c != '\t' && is_hostile(c))
    }

    #[test]
    fn nothing_that_a_terminal_obeys_comes_through() {
        assert!(is_harmless(&text(HOSTILE)) && is_harmless(&line(HOSTILE)) && is_harmless(&json(HOSTILE)));
        assert!(text(HOSTILE).starts_with("a\\u{1b}]0;owned\\u{7}"), "{}", text(HOSTILE));
    }

    #[test]
    fn honest_text_stays_as_it_is() {
        for honest in ["naïve café — “quoted”\n\tnext", "日本語 👩‍💻 עברית"] {
            assert_eq!(text(honest), honest);
        }
        assert_eq!(text("a\r\nb"), "a\nb");
        assert_eq!(text("50%\r100%"), "50%\\u{d}100%");
        assert_eq!(line("a\nb\tc"), "a b c");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::Value::String(HOSTILE.to_owned());
        let written = value.to_string();
        let safe = json(&written);
        assert!(is_harmless(&safe));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).expect("JSON"), value);
    }
}
