//! JSON for people (indented, coloured) and for programs (one line).

use serde_json::Value;

use crate::render::safe;
use crate::render::terminal::{Role, Terminal, width};

/// An array or object that takes no more columns than this stands on one line.
const LINE_MAX: usize = 72;

/// One line, no colour: what a program reads.
pub(crate) fn compact(value: &Value) -> String {
    safe::json(&value.to_string()).into_owned()
}

/// What a person reads. Small values stand on one line, others are indented by two blanks a level.
pub(crate) fn pretty(value: &Value, terminal: &Terminal) -> String {
    let mut out = String::new();
    write(value, terminal, 0, &mut out);
    out
}

fn write(value: &Value, terminal: &Terminal, depth: usize, out: &mut String) {
    let (open, close, count) = match value {
        Value::Array(items) => ('[', ']', items.len()),
        Value::Object(members) => ('{', '}', members.len()),
        scalar => return out.push_str(&painted(scalar, terminal)),
    };
    let is_short = one_line_width(value, LINE_MAX.saturating_sub(depth * 2)).is_some();
    let (gap, last_gap) = match (count, is_short) {
        (0, _) => (String::new(), String::new()),
        (_, true) if open == '[' => (" ".to_owned(), String::new()),
        (_, true) => (" ".to_owned(), " ".to_owned()),
        (_, false) => (format!("\n{}", "  ".repeat(depth + 1)), format!("\n{}", "  ".repeat(depth))),
    };
    out.push(open);
    let mut is_first = true;
    let mut separate = |out: &mut String| {
        if !is_first {
            out.push(',');
        }
        // A short array hugs its items; everything else keeps the gap before the first one as well.
        if !(is_first && is_short && open == '[') {
            out.push_str(&gap);
        }
        is_first = false;
    };
    match value {
        Value::Array(items) => items.iter().for_each(|item| {
            separate(out);
            write(item, terminal, depth + 1, out);
        }),
        Value::Object(members) => members.iter().for_each(|(key, member)| {
            separate(out);
            out.push_str(&terminal.paint(Role::Key, &quoted(key)));
            out.push_str(": ");
            write(member, terminal, depth + 1, out);
        }),
        _ => {}
    }
    out.push_str(&last_gap);
    out.push(close);
}

fn painted(scalar: &Value, terminal: &Terminal) -> String {
    match scalar {
        Value::String(text) => terminal.paint(Role::Text, &quoted(text)),
        Value::Number(number) => terminal.paint(Role::Number, &number.to_string()),
        other => terminal.paint(Role::Word, &other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    compact(&Value::String(text.to_owned()))
}

/// The width of `value` on one line, where it is not above `room`.
fn one_line_width(value: &Value, room: usize) -> Option<usize> {
    let total = match value {
        Value::Array(items) => items.iter().try_fold(2, |sum: usize, item| {
            let left = room.checked_sub(sum)?;
            Some(sum + one_line_width(item, left)? + 2)
        })?,
        Value::Object(members) => members.iter().try_fold(4, |sum: usize, (key, member)| {
            let sum = sum + width(&quoted(key)) + 2;
            let left = room.checked_sub(sum)?;
            Some(sum + one_line_width(member, left)? + 2)
        })?,
        // A long text is not worth measuring.
        Value::String(text) if text.len() > room * 4 => return None,
        scalar => width(&compact(scalar)),
    };
    (total <= room).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(value: &Value) -> String {
        pretty(value, &Terminal::plain())
    }

    #[test]
    fn what_is_small_stands_on_one_line() {
        assert_eq!(plain(&json!({"status": "ok"})), r#"{ "status": "ok" }"#);
        assert_eq!(plain(&json!([1, [], {}, null])), "[1, [], {}, null]");
        assert_eq!(plain(&json!("world")), "\"world\"");
    }

    #[test]
    fn what_is_large_is_indented() {
        let long = "x".repeat(60);
        let shown = plain(&json!({"title": long, "tags": ["a", "b"], "more": {"text": long}}));
        let expected = format!(
            "{{\n  \"title\": \"{long}\",\n  \"tags\": [\"a\", \"b\"],\n  \"more\": {{\n    \"text\": \"{long}\"\n  }}\n}}"
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn whatever_is_shown_is_still_json() {
        let value = json!({"a\u{1b}": ["\u{202e}", {"b": 1.5, "c": [[[{}]]]}, "x".repeat(90)]});
        assert_eq!(serde_json::from_str::<Value>(&plain(&value)).expect("JSON"), value);
        assert!(!plain(&value).contains(['\u{1b}', '\u{202e}']));
    }

    #[test]
    fn colours_are_ours_alone() {
        let terminal = Terminal { is_terminal: true, colour: true, width: 80 };
        let shown = pretty(&json!({"k": "\u{1b}[31m"}), &terminal);
        assert_eq!(shown, "{ \x1b[34m\"k\"\x1b[0m: \x1b[32m\"\\u001b[31m\"\x1b[0m }");
    }
}
