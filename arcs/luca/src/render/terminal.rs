//! What the terminal can show: colour, width.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width that is taken where the terminal does not say.
const WIDTH: usize = 80;

/// A note at the right is not farther away than this: on a wide screen the eye would lose the line.
const LINE_MAX: usize = 96;

/// Blanks before a note, at the least.
pub(crate) const NOTE_GAP: usize = 2;

/// How to write to one of the standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Whether it is a terminal at all, rather than a pipe or file.
    pub is_terminal: bool,
    /// Whether colours may be used.
    pub colour: bool,
    /// Columns, where it is a terminal.
    pub width: usize,
}

/// What a piece of output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The key of an object, the head of a table.
    Key,
    /// A string.
    Text,
    /// A number.
    Number,
    /// `true`, `false`, `null`.
    Word,
    /// What matters less.
    Dim,
    /// What failed.
    Error,
    /// A name to be noticed.
    Strong,
}

impl Terminal {
    /// Of a stream of this process. `NO_COLOR` (no-color.org) is obeyed, and `TERM=dumb`.
    pub(crate) fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        let is_terminal = stream.is_terminal();
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let size = rustix::termios::tcgetwinsize(stream).ok();
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        Self { is_terminal, colour: is_terminal && !forbidden, width: if columns == 0 { WIDTH } else { columns } }
    }

    /// A pipe or file: no colour.
    pub(crate) fn plain() -> Self {
        Self { is_terminal: false, colour: false, width: WIDTH }
    }

    /// `text`, which must be harmless, in the colour of its role.
    pub(crate) fn paint(&self, role: Role, text: &str) -> String {
        // SGR parameters of ECMA-48 8.3.117; the eight basic colours, which every theme makes readable.
        let code = match role {
            Role::Key => "34",
            Role::Text => "32",
            Role::Number => "36",
            Role::Word => "35",
            Role::Dim => "2",
            Role::Error => "1;31",
            Role::Strong => "1",
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `shown` with `note` dim at the right edge of its last line; on a line of its own where there is no room.
    pub(crate) fn with_note(&self, shown: &str, note: &str) -> String {
        let used = width_without_colour(shown.lines().last().unwrap_or_default()) + width(note);
        // One column stays free: a full line makes some terminals wrap.
        let room = |edge: usize| (edge - 1).checked_sub(used).filter(|room| *room >= NOTE_GAP);
        let edge = self.width.clamp(1, LINE_MAX);
        let gap = match room(edge).or_else(|| room(self.width.max(1)).map(|_| NOTE_GAP)) {
            Some(gap) => " ".repeat(gap),
            None => format!("\n{}", " ".repeat((edge - 1).saturating_sub(width(note)))),
        };
        format!("{shown}{gap}{}", self.paint(Role::Dim, note))
    }
}

/// The width of text whose only escape sequences are those of [`Terminal::paint`].
fn width_without_colour(text: &str) -> usize {
    let mut parts = text.split("\x1b[");
    let first = parts.next().map_or(0, width);
    first + parts.filter_map(|part| part.split_once('m')).map(|(_, text)| width(text)).sum::<usize>()
}

/// How many columns `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns`, its end given up for `…` where it is longer.
pub(crate) fn clipped(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < columns
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        short.push('…');
    }
    short
}

/// `text` with blanks up to `columns`.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_counted_in_columns() {
        assert_eq!(clipped("日本語", 6), "日本語");
        assert_eq!(clipped("日本語x", 5), "日本…");
        assert_eq!(clipped("hello", 4), "hel…");
        assert_eq!(clipped("hello", 0), "");
        assert_eq!(padded("日", 4), "日  ");
    }

    #[test]
    fn colour_is_for_terminals() {
        let terminal = Terminal { is_terminal: true, colour: true, width: 20 };
        assert_eq!(terminal.paint(Role::Text, "a"), "\x1b[32ma\x1b[0m");
        assert_eq!(Terminal::plain().paint(Role::Text, "a"), "a");
    }

    #[test]
    fn a_note_stands_at_the_right_edge_or_below() {
        let terminal = Terminal { width: 12, ..Terminal::plain() };
        assert_eq!(
            terminal.with_note("long before\n\x1b[2mab\x1b[0m", "3 ms"),
            "long before\n\x1b[2mab\x1b[0m     3 ms"
        );
        assert_eq!(terminal.with_note("abcde", "3 ms"), "abcde  3 ms");
        assert_eq!(terminal.with_note("abcdef", "3 ms"), "abcdef\n       3 ms");
        let wide = Terminal { width: 200, ..Terminal::plain() };
        let long = "x".repeat(150);
        assert_eq!(wide.with_note(&long, "3 ms"), format!("{long}  3 ms"));
    }
}
