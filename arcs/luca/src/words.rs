//! A command line as people write it: a method, then one JSON value or plain words.

use serde_json::Value;

use crate::failure::Error;

/// A word, with what is known of its quoting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// The word without its quotes.
    pub text: String,
    /// How many bytes of the text stand before the first quote or backslash.
    bare: usize,
    /// Whether any of it was quoted.
    quoted: bool,
}

impl Word {
    /// A word whose quotes, if any, were taken off by somebody else: a shell's argument.
    pub(crate) fn plain(text: String) -> Self {
        Self { bare: text.len(), text, quoted: false }
    }

    fn new(text: String, bare: Option<usize>) -> Self {
        Self { quoted: bare.is_some(), bare: bare.unwrap_or(text.len()), text }
    }

    /// Whether a part was quoted.
    pub(crate) fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Name and value of `name=value`, where the name is an identifier that stands outside quotes.
    pub(crate) fn assignment(&self) -> Option<(&str, Self)> {
        let (name, value) = self.text.split_once('=')?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let after = name.len() + 1;
        let bare = self.bare.checked_sub(after)?;
        is_name.then(|| (name, Self { text: value.to_owned(), bare, quoted: self.quoted }))
    }
}

/// What follows the method.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// Nothing.
    Nothing,
    /// One JSON array or object.
    Json(Value),
    /// Words, of which some may be `name=value`.
    Words(Vec<Word>),
}

impl Given {
    /// Reads what follows the method on a line of the shell.
    ///
    /// # Errors
    /// JSON that is none, a quote that is not closed.
    pub(crate) fn parse(rest: &str) -> Result<Self, Error> {
        let rest = rest.trim();
        if looks_like_json(rest) {
            return json(rest).map(Self::Json);
        }
        let words = split(rest)?;
        match words.as_slice() {
            [] => Ok(Self::Nothing),
            [only] if only.bare == 0 && looks_like_json(&only.text) => json(&only.text).map(Self::Json),
            _ => Ok(Self::Words(words)),
        }
    }

    /// Reads the arguments of `luca-run`, from which a shell took the quotes.
    ///
    /// # Errors
    /// JSON that is none.
    pub(crate) fn from_arguments(arguments: Vec<String>) -> Result<Self, Error> {
        match arguments.as_slice() {
            [] => Ok(Self::Nothing),
            [only] if looks_like_json(only) => json(only).map(Self::Json),
            _ => Ok(Self::Words(arguments.into_iter().map(Word::plain).collect())),
        }
    }
}

/// Reads JSON that must be an array or an object.
///
/// # Errors
/// It is not; says where.
pub(crate) fn json(text: &str) -> Result<Value, Error> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::Usage(format!("the arguments are not valid JSON: {error}")))?;
    if value.is_array() || value.is_object() {
        return Ok(value);
    }
    Err(Error::Usage(
        "the arguments must be a JSON array or object, such as [\"hello\"] or {\"key\": \"hello\"}".into(),
    ))
}

fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{'])
}

/// Splits at blanks outside quotes. `'…'` keeps all as it is; in `"…"` and outside, `\` takes the next character
/// as it is. A JSON array or object, alone or after `name=`, is one word as it stands.
///
/// # Errors
/// A quote that is not closed.
pub(crate) fn split(line: &str) -> Result<Vec<Word>, Error> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = next_word(rest)?;
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// The first word of `line` and what follows it.
fn next_word(line: &str) -> Result<(Word, &str), Error> {
    let mut text = String::new();
    let mut bare = None;
    let mut open: Option<char> = None;
    let mut rest = line.chars();
    loop {
        if open.is_none()
            && bare.is_none()
            && (text.is_empty() || text.ends_with('='))
            && let Some((value, after)) = json_word(rest.as_str())
        {
            text.push_str(value);
            return Ok((Word::plain(text), after));
        }
        let before = rest.as_str();
        match (open, rest.next()) {
            (Some(quote), None) => return Err(Error::Usage(format!("a quote ({quote}) is not closed"))),
            (None, None) => return Ok((Word::new(text, bare), "")),
            (None, Some(c)) if c.is_whitespace() => return Ok((Word::new(text, bare), before)),
            (Some(quote), Some(c)) if c == quote => open = None,
            (None, Some(c @ ('\'' | '"'))) => {
                bare.get_or_insert(text.len());
                open = Some(c);
            }
            (None | Some('"'), Some('\\')) => {
                bare.get_or_insert(text.len());
                text.extend(rest.next());
            }
            (_, Some(c)) => text.push(c),
        }
    }
}

/// The JSON array or object that `rest` begins with, if a blank or the end follows it.
fn json_word(rest: &str) -> Option<(&str, &str)> {
    if !rest.starts_with(['[', '{']) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    values.next()?.ok()?;
    let (value, after) = rest.split_at_checked(values.byte_offset())?;
    (after.is_empty() || after.starts_with(char::is_whitespace)).then_some((value, after))
}

/// Takes ` --json` off the end of a line. Returns the rest and whether it stood there.
pub(crate) fn without_json_flag(line: &str) -> (&str, bool) {
    match line.trim_end().strip_suffix("--json") {
        Some(rest) if rest.ends_with(char::is_whitespace) => (rest.trim_end(), true),
        _ => (line.trim_end(), false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).expect("closed quotes").into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn blanks_separate_and_quotes_hold_together() {
        assert_eq!(texts("  a  b\tc "), ["a", "b", "c"]);
        assert_eq!(texts(r#"'a b' "c \"d\"" e\ f g'h'"i" '' "#), ["a b", "c \"d\"", "e f", "ghi", ""]);
        assert_eq!(texts(r"'\n'"), [r"\n"]);
        assert_eq!(texts(r#"n {"a": "b c"} o=[1, 2] [x]"#), ["n", r#"{"a": "b c"}"#, "o=[1, 2]", "[x]"]);
        assert!(texts("").is_empty());
        assert!(split("it's").is_err() && split("\"a").is_err());
    }

    #[test]
    fn a_name_before_an_equals_sign_is_an_assignment_unless_it_is_quoted() {
        let assigned = |line: &str| {
            let word = split(line).expect("closed").remove(0);
            word.assignment().map(|(name, value)| (name.to_owned(), value.text.clone(), value.is_quoted()))
        };
        let some = |name: &str, value: &str, quoted| Some((name.to_owned(), value.to_owned(), quoted));
        assert_eq!(assigned("keyword=\"self custody\""), some("keyword", "self custody", true));
        assert_eq!(assigned("n=3"), some("n", "3", false));
        assert_eq!(assigned("n="), some("n", "", false));
        assert_eq!(assigned("'a=b'"), None);
        assert_eq!(assigned("a'='b"), None);
        assert_eq!(assigned("http://x/?a=b"), None);
        assert_eq!(assigned("=b"), None);
    }

    #[test]
    fn json_may_stand_in_quotes_or_alone() {
        let expected = Given::Json(json!(["hello", "world"]));
        assert_eq!(Given::parse(r#"'["hello", "world"]'"#).expect("JSON"), expected);
        assert_eq!(Given::parse(r#" ["hello", "world"] "#).expect("JSON"), expected);
        assert_eq!(Given::parse(r#"{"a": 1}"#).expect("JSON"), Given::Json(json!({"a": 1})));
        assert_eq!(Given::parse("  ").expect("nothing"), Given::Nothing);
        assert!(matches!(Given::parse("hello [1]"), Ok(Given::Words(words)) if words.len() == 2));
        assert!(Given::parse("[1,").is_err());
    }

    #[test]
    fn arguments_of_a_program_are_json_only_when_there_is_one() {
        assert_eq!(Given::from_arguments(vec!["[1]".into()]).expect("JSON"), Given::Json(json!([1])));
        assert!(matches!(Given::from_arguments(vec!["[1]".into(), "x".into()]), Ok(Given::Words(_))));
    }

    #[test]
    fn bottomless_json_is_an_error() {
        let message = json(&"[".repeat(100_000)).expect_err("too deep").to_string();
        assert!(message.contains("recursion limit"), "{message}");
    }

    #[test]
    fn the_flag_is_the_last_word_of_a_line() {
        assert_eq!(without_json_flag("kv.get hello --json "), ("kv.get hello", true));
        assert_eq!(without_json_flag("kv.get --json hello"), ("kv.get --json hello", false));
        assert_eq!(without_json_flag("kv.get a--json"), ("kv.get a--json", false));
    }
}
