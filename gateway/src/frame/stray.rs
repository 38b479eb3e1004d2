//! Finding the id of a message that cannot be read as a whole: an error with its id ends the caller's wait.

use serde_json::value::RawValue;

/// The id of the message that `text` is, or only begins to be.
pub(crate) fn id(text: &[u8]) -> Option<&[u8]> {
    let mut at = skip_space(text, 0);
    let mut depth = 0_usize;
    let mut key_is_id = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = end_of_string(text, at)?;
                let colon = skip_space(text, end);
                key_is_id = depth == 1 && text.get(at..end) == Some(b"\"id\"") && text.get(colon) == Some(&b':');
                at = end;
                continue;
            }
            b':' if key_is_id => return value_at(text, skip_space(text, at + 1)),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The id of the message of which `tail` is the end, where it is the last member.
pub(crate) fn id_at_end(tail: &[u8]) -> Option<&[u8]> {
    let body = tail.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let before = |start: usize| {
        let before = body.get(..start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
        let before = before.strip_suffix(b"\"id\"")?.trim_ascii_end();
        before.ends_with(b",").then_some(())
    };
    (0..body.len()).rev().find_map(|start| {
        before(start)?;
        sound_id(body.get(start..)?.trim_ascii_start())
    })
}

fn value_at(text: &[u8], start: usize) -> Option<&[u8]> {
    let end = match text.get(start)? {
        b'"' => end_of_string(text, start)?,
        _ => {
            let rest = text.get(start..)?;
            start + rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))?
        }
    };
    sound_id(text.get(start..end)?)
}

/// `text` if it is a JSON string or number.
fn sound_id(text: &[u8]) -> Option<&[u8]> {
    let starts_well = text.first().is_some_and(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'));
    (starts_well && serde_json::from_slice::<&RawValue>(text).is_ok()).then_some(text)
}

/// Where the string that begins at `start` has ended.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut escaped = false;
    let inside = text.get(start + 1..)?.iter();
    let length = inside.take_while(|&&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        !ends
    });
    let end = start + 1 + length.count();
    (end < text.len()).then_some(end + 1)
}

fn skip_space(text: &[u8], from: usize) -> usize {
    from + text.iter().skip(from).take_while(|byte| byte.is_ascii_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        id(text.as_bytes()).map(|id| std::str::from_utf8(id).expect("cut at ASCII"))
    }

    #[test]
    fn an_id_is_found_in_what_is_not_whole() {
        assert_eq!(found(r#"{"jsonrpc":"2.0","id":"a\"b","method":"#), Some(r#""a\"b""#));
        assert_eq!(found(r#" { "id" : 17 , ]]]"#), Some("17"));
        assert_eq!(found(r#"{"params":{"id":1},"id":2,"#), Some("2"), "the message's own, not one within");
        assert_eq!(found(r#"{"method":"id","params":[{"id":1}]"#), None);
        assert_eq!(found(r#"{"id":12"#), None, "more digits may follow");
        assert_eq!(found(r#"{"id":{"a":1}}"#), None);
        assert_eq!(found("[1, 2]"), None);
    }

    #[test]
    fn an_id_is_found_at_the_end() {
        let end = |text: &'static str| id_at_end(text.as_bytes()).and_then(|id| std::str::from_utf8(id).ok());
        assert_eq!(end(r#"xxxxx"], "id": "bridge-call-7"} "#), Some(r#""bridge-call-7""#));
        assert_eq!(end(r#"xx},"id":0.5}"#), Some("0.5"));
        assert_eq!(end(r#"xx,"id":5}}"#), None, "one within");
        assert_eq!(end("xx"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (id(&bytes), id_at_end(&bytes));
        }
    }
}
