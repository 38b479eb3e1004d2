//! Following JSON byte by byte, to know where a message is complete.

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing but white space.
    Blank,
    /// The beginning of JSON.
    Partial,
    /// A whole JSON text.
    Complete,
    /// Not JSON, whatever may follow.
    Broken,
}

/// How deep a text is followed. Far above what is accepted (`message::DEPTH`); a deeper text counts as broken here,
/// which only means that its next newline ends it.
const DEPTH: usize = 4096;

/// A push-down automaton of RFC 8259. It is strict about structure and loose about the inside of numbers.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    state: State,
    /// The open containers, outermost first.
    open: Vec<Container>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Before the text.
    #[default]
    Blank,
    /// A value must come.
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `{`.
    KeyOrEnd,
    /// After `,` in an object.
    Key,
    /// After a key.
    Colon,
    /// After a value.
    After,
    /// In a string; whether it is a key.
    Text {
        key: bool,
    },
    /// After a backslash in a string.
    Escape {
        key: bool,
    },
    /// In a number.
    Number,
    /// In `true`, `false` or `null`: what is still to come of it.
    Word(&'static [u8]),
    Broken,
}

impl Scanner {
    /// Whether the next bytes are the inside of a string.
    pub(crate) const fn in_string(&self) -> bool {
        matches!(self.state, State::Text { .. })
    }

    /// What the bytes so far are.
    pub(crate) const fn verdict(&self) -> Verdict {
        match self.state {
            State::Blank => Verdict::Blank,
            State::Broken => Verdict::Broken,
            State::After | State::Number if self.open.is_empty() => Verdict::Complete,
            _ => Verdict::Partial,
        }
    }

    /// Takes the next byte.
    pub(crate) fn feed(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Text { key }, b'"') => {
                if key {
                    State::Colon
                } else {
                    State::After
                }
            }
            (State::Text { key }, b'\\') => State::Escape { key },
            (State::Text { .. } | State::Escape { .. }, 0..b' ') => State::Broken,
            (State::Text { key } | State::Escape { key }, _) => State::Text { key },
            (State::Word(rest), _) => word(rest, byte),
            (State::Number, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') => State::Number,
            (State::Number, _) => self.after_value(byte),
            (state, b' ' | b'\t' | b'\r' | b'\n') => state,
            (State::Blank | State::Value, _) => self.begin_value(byte),
            (State::ValueOrEnd, b']') => self.close(Container::Array),
            (State::ValueOrEnd, _) => self.begin_value(byte),
            (State::KeyOrEnd, b'}') => self.close(Container::Object),
            (State::KeyOrEnd | State::Key, b'"') => State::Text { key: true },
            (State::Colon, b':') => State::Value,
            (State::After, _) => self.after_value(byte),
            _ => State::Broken,
        };
    }

    fn begin_value(&mut self, byte: u8) -> State {
        match byte {
            b'{' => self.open(Container::Object, State::KeyOrEnd),
            b'[' => self.open(Container::Array, State::ValueOrEnd),
            b'"' => State::Text { key: false },
            b'-' | b'0'..=b'9' => State::Number,
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => State::Broken,
        }
    }

    fn after_value(&mut self, byte: u8) -> State {
        match (byte, self.open.last()) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => State::After,
            (b',', Some(Container::Array)) => State::Value,
            (b',', Some(Container::Object)) => State::Key,
            (b']', _) => self.close(Container::Array),
            (b'}', _) => self.close(Container::Object),
            _ => State::Broken,
        }
    }

    fn open(&mut self, container: Container, then: State) -> State {
        self.open.push(container);
        if self.open.len() > DEPTH { State::Broken } else { then }
    }

    fn close(&mut self, container: Container) -> State {
        if self.open.pop() == Some(container) { State::After } else { State::Broken }
    }
}

fn word(rest: &'static [u8], byte: u8) -> State {
    match rest {
        [expected] if *expected == byte => State::After,
        [expected, rest @ ..] if *expected == byte => State::Word(rest),
        _ => State::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        let mut scanner = Scanner::default();
        text.bytes().for_each(|byte| scanner.feed(byte));
        scanner.verdict()
    }

    #[test]
    fn every_beginning_of_json_is_told_from_what_is_none() {
        for text in ["{}", "[]", " [1, -2.5e3, true, null, \"\\\"]\"] ", "{\"a\":{\"b\":[]}}", "7", "\"x\"", "null"] {
            assert_eq!(verdict(text), Verdict::Complete, "{text}");
        }
        for text in ["{", "[1,", "{\"a\"", "{\"a\":", "{\"a\":1", "[\"\\", "tru", "[[]"] {
            assert_eq!(verdict(text), Verdict::Partial, "{text}");
        }
        for text in ["}", "[}", "{]", "{1", "{\"a\" 1", "[1 2", "{\"a\":1,}", "nul]", "{} x", "[\"\n", "hello"] {
            assert_eq!(verdict(text), Verdict::Broken, "{text}");
        }
        assert_eq!(verdict(" \r\n"), Verdict::Blank);
    }

    proptest::proptest! {
        #[test]
        fn what_serde_reads_is_complete(text in "[\\[\\]{}\":,a0\\\\ tn-]{0,16}|\\PC{0,10}") {
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                proptest::prop_assert_eq!(verdict(&text), Verdict::Complete);
            }
        }
    }
}
