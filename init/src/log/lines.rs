//! Bytes that a service wrote, made into lines that are safe to show.

/// The longest line; the rest of a longer one is a line of its own.
const LONGEST: usize = 8 * 1024;

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Adds what was read and answers the lines that are complete now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            for part in piece.chunks(LONGEST) {
                self.begun.extend_from_slice(part);
                if self.begun.ends_with(b"\n") || self.begun.len() >= LONGEST {
                    complete.extend(self.take());
                }
            }
        }
        complete
    }

    /// The line that was begun, as it stands: whoever wrote it is gone.
    pub(crate) fn take(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.begun);
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        let end = end.strip_suffix(b"\r").unwrap_or(end);
        (!line.is_empty()).then(|| shown(end))
    }
}

/// Text without what would steer a terminal: control characters but for the tab are replaced.
fn shown(line: &[u8]) -> String {
    let harmless = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(line).chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\r\n\nthree"), ["two", ""]);
        assert_eq!(lines.take().as_deref(), Some("three"));
        assert_eq!(lines.take(), None);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut lines = Lines::default();
        let cut = lines.push(&[b'x'; 3 * LONGEST + 5]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [LONGEST; 3]);
        assert_eq!(lines.take().map(|rest| rest.len()), Some(5));
    }

    #[test]
    fn a_line_cannot_steer_a_terminal() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"\x1b[2Jgone\tok \xff\n"), ["\u{fffd}[2Jgone\tok \u{fffd}"]);
    }
}
