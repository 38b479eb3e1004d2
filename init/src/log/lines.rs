//! Bytes that a service wrote, made into lines that are safe to show.

/// The longest line; the rest of a longer one is a line of its own.
pub(crate) const LONGEST: usize = 8 * 1024;

/// Ends a line that was begun, and is nothing where none was: init writes it when a service is gone.
pub(crate) const CUT: u8 = 0;

/// A line, and where it ends in the bytes that it was found in, its end included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) end: usize,
}

/// The lines that bytes begin with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) lines: Vec<Line>,
    /// Where a line begins whose end has not come yet, shorter than [`LONGEST`].
    pub(crate) rest: usize,
}

impl Split {
    /// The same with what was begun as a line of its own: whoever wrote it is gone.
    pub(crate) fn with_rest(mut self, bytes: &[u8]) -> Self {
        let begun = bytes.get(self.rest..).unwrap_or_default();
        if !begun.is_empty() {
            self.lines.push(Line { text: shown(begun), end: bytes.len() });
        }
        self.rest = bytes.len();
        self
    }

    /// The last line that is not blank.
    pub(crate) fn last_words(&self) -> Option<&Line> {
        self.lines.iter().rev().find(|line| !line.text.trim().is_empty())
    }
}

/// Splits bytes into lines. The same bytes give the same lines however they are cut into calls, if each call begins at
/// the `rest` of the one before.
pub(crate) fn split(bytes: &[u8]) -> Split {
    let mut split = Split::default();
    loop {
        let rest = bytes.get(split.rest..).unwrap_or_default();
        let within = rest.get(..LONGEST).unwrap_or(rest);
        let (text, length) = match within.iter().position(|&byte| matches!(byte, b'\n' | CUT)) {
            Some(at) => (within.get(..at).unwrap_or_default(), at + 1),
            None if within.len() == LONGEST => (within, LONGEST),
            None => return split,
        };
        let is_line = !text.is_empty() || within.get(text.len()) == Some(&b'\n');
        split.rest += length;
        if is_line {
            split.lines.push(Line { text: shown(text), end: split.rest });
        }
    }
}

/// Text without what would steer a terminal: control characters but for the tab are replaced.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let harmless = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(line).chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(split: &Split) -> Vec<&str> {
        split.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_line_that_has_no_end_yet_waits_for_it() {
        let bytes = b"one\ntwo\r\n\nthree";
        let found = split(bytes);
        assert_eq!((texts(&found), found.rest), (vec!["one", "two", ""], 10));
        assert_eq!(found.last_words(), Some(&Line { text: "two".to_owned(), end: 9 }));
        assert_eq!(texts(&found.with_rest(bytes)), ["one", "two", "", "three"]);
        assert_eq!(split(b"three").lines, []);
    }

    #[test]
    fn a_cut_ends_what_was_begun_and_nothing_else() {
        let found = split(b"begun\0\0one\n\0\0two\n");
        assert_eq!((texts(&found), found.rest), (vec!["begun", "one", "two"], 17));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let bytes = [b'x'; 3 * LONGEST + 5];
        let found = split(&bytes);
        let lengths: Vec<usize> = found.lines.iter().map(|line| line.text.len()).collect();
        assert_eq!((lengths, found.rest), (vec![LONGEST; 3], 3 * LONGEST));
    }

    #[test]
    fn a_line_cannot_steer_a_terminal() {
        assert_eq!(texts(&split(b"\x1b[2Jgone\tok \xff\n")), ["\u{fffd}[2Jgone\tok \u{fffd}"]);
    }

    proptest::proptest! {
        #[test]
        fn it_does_not_matter_how_bytes_were_cut(bytes: Vec<u8>, cut: usize) {
            let (first, _) = bytes.split_at(cut % (bytes.len() + 1));
            let before = split(first);
            let after = split(&bytes[before.rest..]);
            let lines: Vec<String> = before.lines.into_iter().chain(after.lines).map(|line| line.text).collect();
            let whole: Vec<String> = split(&bytes).lines.into_iter().map(|line| line.text).collect();
            proptest::prop_assert_eq!(lines, whole);
        }
    }
}
