//! Cutting a byte stream into messages.
//!
//! The UNIX sockets of the gateway take two framings side by side: a message ends with `\0` (the dialect of older
//! shells) or with a newline (standard MCP). A message may itself be pretty-printed, so a newline ends it only where
//! what came so far is complete JSON, or can no longer become JSON. Every byte is looked at twice at the most.

pub(crate) mod scan;
pub(crate) mod stray;

use tokio_util::bytes::{Buf, Bytes, BytesMut};

use scan::{Scanner, Verdict};

/// What ended a message, and so what ends its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// `\0`.
    Nul,
    /// `\n`.
    Newline,
}

impl End {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Nul => 0,
            Self::Newline => b'\n',
        }
    }
}

/// What a [`Decoder`] cuts off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A message without its terminator. Not empty; not checked to be JSON or UTF-8.
    Frame {
        /// The bytes.
        text: Bytes,
        /// What ended it.
        end: End,
    },
    /// A message above the limit; its bytes are gone.
    TooLong {
        /// Its id as JSON, where it could be made out.
        id: Option<Bytes>,
        /// What ended it.
        end: End,
    },
}

/// When a newline ends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newline {
    /// Always: strict lines, as Arcs and init write them. `\0` means nothing then.
    Always,
    /// Where the message is complete JSON or cannot become JSON; `\0` ends it in any case.
    WhenComplete,
}

/// How much of the end of a message above the limit is kept, to look for its id: the dialect writes the id last.
const TAIL: usize = 512;

/// A message of so many times the limit is taken to have no end.
const ENDLESS: usize = 8;

/// Cuts what is read from one connection into messages.
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// How much of the buffer was looked at.
    scanned: usize,
    /// Where the line begins in which `scanned` stands, if it is not the first line of the message.
    line: Option<usize>,
    scanner: Scanner,
    newline: Newline,
    limit: usize,
    discarding: Option<Discarding>,
}

/// A message above the limit on its way to nowhere.
struct Discarding {
    id: Option<Bytes>,
    tail: Vec<u8>,
    /// How much of it came so far.
    length: usize,
}

impl Decoder {
    /// `limit` is in bytes a message.
    pub(crate) fn new(newline: Newline, limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            line: None,
            scanner: Scanner::default(),
            newline,
            limit,
            discarding: None,
        }
    }

    /// Takes in what was read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is wholly there.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        while let Some((length, end)) = self.find_end() {
            if let Some(piece) = self.cut(length, end) {
                return Some(piece);
            }
        }
        if self.scanned > self.limit || self.discarding.is_some() {
            self.discard(self.scanned);
        }
        None
    }

    /// Whether what comes is a message without an end, for which nobody need wait.
    pub(crate) fn is_endless(&self) -> bool {
        self.discarding.as_ref().is_some_and(|message| message.length > self.limit.saturating_mul(ENDLESS))
    }

    /// What is left when the connection ends: a last message without a terminator.
    pub(crate) fn finish(&mut self) -> Option<Piece> {
        let length = self.buffer.len();
        self.buffer.extend_from_slice(b"\n");
        self.cut(length, End::Newline)
    }

    /// The length of the next message and what ends it.
    fn find_end(&mut self) -> Option<(usize, End)> {
        match self.newline {
            Newline::Always => self.find_newline(),
            Newline::WhenComplete => self.find_complete(),
        }
    }

    fn find_newline(&mut self) -> Option<(usize, End)> {
        let mut rest = self.buffer.iter().skip(self.scanned);
        let found = rest.position(|&byte| byte == b'\n').map(|length| self.scanned + length);
        self.scanned = found.unwrap_or(self.buffer.len());
        Some((found?, End::Newline))
    }

    /// A message that is followed by another without a terminator of its own, because it is broken, ends with the line
    /// before.
    fn find_complete(&mut self) -> Option<(usize, End)> {
        while let Some(&byte) = self.buffer.get(self.scanned) {
            let at = self.scanned;
            self.scanned += 1;
            if byte == 0 {
                return Some((at, End::Nul));
            }
            self.scanner.feed(byte);
            match (self.scanner.verdict(), byte) {
                (Verdict::Partial, b'\n') => self.line = Some(self.scanned),
                (_, b'\n') => return Some((at, End::Newline)),
                (Verdict::Broken, _) if let Some(line) = self.line.take() => return Some((line - 1, End::Newline)),
                _ => {}
            }
            self.skip_plain_text();
        }
        None
    }

    /// Steps over the inside of a string, where nothing can happen.
    fn skip_plain_text(&mut self) {
        if self.scanner.in_string() {
            let rest = self.buffer.get(self.scanned..).unwrap_or_default();
            self.scanned += rest.iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\').count();
        }
    }

    /// Takes the message of `length` and its terminator off the buffer; `None` where it is blank.
    fn cut(&mut self, length: usize, end: End) -> Option<Piece> {
        let text = self.buffer.split_to(length).freeze();
        self.buffer.advance(1);
        self.scanned = 0;
        self.line = None;
        self.scanner = Scanner::default();
        if let Some(mut discarding) = self.discarding.take() {
            discarding.keep_tail(&text);
            return Some(Piece::TooLong { id: discarding.id(), end });
        }
        if text.len() > self.limit {
            return Some(Piece::TooLong { id: stray::id(&text).map(Bytes::copy_from_slice), end });
        }
        (!text.trim_ascii().is_empty()).then_some(Piece::Frame { text, end })
    }

    fn discard(&mut self, length: usize) {
        let discarding = self.discarding.get_or_insert_with(|| Discarding {
            id: stray::id(&self.buffer).map(Bytes::copy_from_slice),
            tail: Vec::new(),
            length: 0,
        });
        discarding.keep_tail(&self.buffer.split_to(length));
        self.scanned = 0;
        self.line = None;
    }
}

impl Discarding {
    fn keep_tail(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        self.tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    fn id(self) -> Option<Bytes> {
        self.id.or_else(|| stray::id_at_end(&self.tail).map(Bytes::copy_from_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(decoder: &mut Decoder, bytes: &[u8]) -> Vec<(String, End)> {
        decoder.feed(bytes);
        std::iter::from_fn(|| decoder.next())
            .map(|piece| match piece {
                Piece::Frame { text, end } => (String::from_utf8_lossy(&text).into_owned(), end),
                Piece::TooLong { id, end } => {
                    (format!("too long: {}", String::from_utf8_lossy(id.as_deref().unwrap_or(b"?"))), end)
                }
            })
            .collect()
    }

    fn cut(bytes: &str) -> Vec<(String, End)> {
        pieces(&mut Decoder::new(Newline::WhenComplete, 1000), bytes.as_bytes())
    }

    fn nul(text: &str) -> (String, End) {
        (text.to_owned(), End::Nul)
    }

    fn line(text: &str) -> (String, End) {
        (text.to_owned(), End::Newline)
    }

    #[test]
    fn each_message_is_ended_by_its_own_terminator() {
        assert_eq!(cut("{\"a\":1}\0{\"b\":2}\n{\"c\":3}\0"), [nul("{\"a\":1}"), line("{\"b\":2}"), nul("{\"c\":3}")]);
    }

    #[test]
    fn a_pretty_printed_message_is_one() {
        let text = "{\n  \"a\": [\n    1,\n    true\n  ]\n}";
        assert_eq!(cut(&format!("{text}\0")), [nul(text)]);
        assert_eq!(cut(&format!("{text}\n")), [line(text)]);
    }

    #[test]
    fn a_newline_ends_what_cannot_become_json() {
        assert_eq!(cut("hello\n{}\n"), [line("hello"), line("{}")]);
        assert_eq!(cut("{\"a\n{}\n"), [line("{\"a"), line("{}")], "a raw newline is in no JSON string");
        assert_eq!(cut("{]\n{}\n"), [line("{]"), line("{}")]);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        assert_eq!(cut("{\"a\":1,\n{\"b\":2}\n"), [line("{\"a\":1,"), line("{\"b\":2}")]);
        assert_eq!(cut("{\n{}\n"), [line("{"), line("{}")]);
    }

    #[test]
    fn blank_messages_are_passed_over() {
        assert_eq!(cut("\n \r\n\0{}\r\n"), [line("{}\r")]);
    }

    #[test]
    fn a_message_above_the_limit_is_dropped_and_the_next_is_read() {
        let long = "x".repeat(3000);
        for text in [format!("{{\"id\":7,\"p\":\"{long}\"}}"), format!("{{\"p\":\"{long}\", \"id\" : 7 }}")] {
            for step in [1, 100, 10_000] {
                let mut decoder = Decoder::new(Newline::WhenComplete, 1000);
                let stream = format!("{text}\0{{}}\n");
                let found: Vec<_> =
                    stream.as_bytes().chunks(step).flat_map(|chunk| pieces(&mut decoder, chunk)).collect();
                assert_eq!(found, [nul("too long: 7"), line("{}")]);
                assert!(decoder.buffer.len() < 1000);
            }
        }
    }

    #[test]
    fn a_message_that_does_not_end_is_told_from_a_long_one() {
        let mut decoder = Decoder::new(Newline::Always, 1000);
        assert!(pieces(&mut decoder, &[b'x'; 8000]).is_empty() && !decoder.is_endless());
        assert!(pieces(&mut decoder, b"xxx").is_empty() && decoder.is_endless());
        assert_eq!(pieces(&mut decoder, b"\n{}\n").len(), 2, "once it has ended, the next is read");
        assert!(!decoder.is_endless());
    }

    #[test]
    fn the_last_message_needs_no_terminator() {
        let mut decoder = Decoder::new(Newline::WhenComplete, 1000);
        assert!(pieces(&mut decoder, b"{\"a\":1}").is_empty());
        assert_eq!(decoder.finish(), Some(Piece::Frame { text: Bytes::from_static(b"{\"a\":1}"), end: End::Newline }));
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn strict_lines_are_lines_whatever_is_in_them() {
        let mut decoder = Decoder::new(Newline::Always, 1000);
        assert_eq!(pieces(&mut decoder, b"{\n[\0]\n"), [line("{"), line("[\0]")]);
    }

    #[test]
    fn many_open_lines_take_linear_time() {
        let mut decoder = Decoder::new(Newline::WhenComplete, 8 << 20);
        let started = std::time::Instant::now();
        assert_eq!(
            pieces(&mut decoder, "[\n".repeat(1 << 20).as_bytes()).len(),
            (1 << 20) / 4097,
            "each is cut where it is too deep"
        );
        assert!(started.elapsed().as_secs() < 5);
    }

    proptest::proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            parts in proptest::collection::vec(("\\PC{0,12}|[\\[\\]{}\",:0-9tn\n\0 ]{0,12}", 1_usize..7), 0..12),
        ) {
            let whole: String = parts.iter().map(|(text, _)| text.as_str()).collect();
            let at_once = cut(&whole);
            let mut decoder = Decoder::new(Newline::WhenComplete, 1000);
            let mut rest = whole.as_bytes();
            let mut by_parts = Vec::new();
            for size in parts.iter().map(|(_, size)| *size).cycle() {
                if rest.is_empty() { break; }
                let (chunk, left) = rest.split_at(size.min(rest.len()));
                by_parts.extend(pieces(&mut decoder, chunk));
                rest = left;
            }
            proptest::prop_assert_eq!(at_once, by_parts);
        }

        #[test]
        fn json_in_either_frame_comes_out_as_it_went_in(
            texts in proptest::collection::vec("\\PC{0,20}", 1..8), nuls in proptest::bits::u8::ANY, pretty: bool,
        ) {
            let mut stream = String::new();
            let mut expected = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                let value = serde_json::json!({"id": index, "text": [text, {"deep": text}]});
                let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
                let json = json.expect("a value");
                let end = if nuls & (1 << index) == 0 { End::Newline } else { End::Nul };
                stream.push_str(&json);
                stream.push(char::from(end.byte()));
                expected.push((json, end));
            }
            proptest::prop_assert_eq!(cut(&stream), expected);
        }
    }
}
