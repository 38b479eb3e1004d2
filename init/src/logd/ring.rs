//! The last lines of all services, in memory.

use std::collections::VecDeque;

use spec::control::{LogLine, LogQuery, NextLines};

/// How many bytes of lines are kept for all services together.
const KEPT: usize = 256 * 1024;
/// What a line costs in memory beside its text.
const LINE_COST: usize = 96;

/// The last lines.
#[derive(Default)]
pub(super) struct Ring {
    lines: VecDeque<LogLine>,
    size: usize,
}

impl Ring {
    /// Adds lines that have just been written.
    pub(super) fn extend(&mut self, lines: Vec<LogLine>) {
        for line in lines {
            self.size += cost(&line);
            self.lines.push_back(line);
        }
        self.shrink();
    }

    /// Adds lines of the past, among those of their time.
    pub(super) fn merge(&mut self, lines: Vec<LogLine>) {
        self.size += lines.iter().map(cost).sum::<usize>();
        self.lines.extend(lines);
        self.lines.make_contiguous().sort_by_key(|line| line.time_ms);
        self.shrink();
        self.lines.shrink_to_fit();
    }

    fn shrink(&mut self) {
        while self.size > KEPT {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.size -= cost(&oldest);
        }
    }

    /// The last lines that `query` asks for, oldest first.
    pub(super) fn last(&self, query: &LogQuery) -> Vec<LogLine> {
        let wanted = usize::try_from(query.lines.unwrap_or(LogQuery::DEFAULT_LINES)).unwrap_or(usize::MAX);
        let is_asked_for = |line: &&LogLine| query.name.as_ref().is_none_or(|name| *name == line.service);
        let mut lines: Vec<LogLine> = self.lines.iter().rev().filter(is_asked_for).take(wanted).cloned().collect();
        lines.reverse();
        lines
    }

    /// The lines that somebody does not know who knows all before `next`.
    pub(super) fn since(&self, next: &NextLines) -> impl Iterator<Item = &LogLine> {
        self.lines.iter().filter(|line| line.number >= next.get(&line.service).copied().unwrap_or(0))
    }
}

fn cost(line: &LogLine) -> usize {
    line.text.len() + LINE_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, number: i64, text: &str) -> LogLine {
        LogLine {
            service: service.parse().expect("a name"),
            time_ms: number.unsigned_abs(),
            text: text.to_owned(),
            number,
        }
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let mut ring = Ring::default();
        let text = "x".repeat(1000);
        (0..2000).for_each(|number| ring.extend(vec![line("kv", number, &text)]));
        assert!(ring.size <= KEPT, "{}", ring.size);
        let all = ring.last(&LogQuery { lines: Some(u32::MAX), ..LogQuery::default() });
        assert!((200..250).contains(&all.len()), "{}", all.len());
        assert_eq!(all.last().map(|line| line.number), Some(1999));
    }

    #[test]
    fn a_query_picks_a_service_and_the_last_lines() {
        let mut ring = Ring::default();
        ring.merge(vec![line("kv", 1, "a"), line("kv", 3, "b"), line("kv", 5, "c")]);
        ring.merge(vec![line("files", 2, "A"), line("files", 4, "B"), line("files", 6, "C")]);
        let query = LogQuery { name: Some("kv".parse().expect("a name")), lines: Some(2), follow: false };
        assert_eq!(texts(&ring.last(&query)), ["b", "c"]);
        assert_eq!(texts(&ring.last(&LogQuery::default())), ["a", "A", "b", "B", "c", "C"], "by time");
    }

    #[test]
    fn who_knows_some_is_told_the_others_of_this_run() {
        let mut ring = Ring::default();
        ring.extend(vec![line("kv", 7, "a"), line("kv", 8, "b"), line("new", -1, "old"), line("new", 0, "c")]);
        let next = NextLines::from([("kv".parse().expect("a name"), 8)]);
        assert_eq!(ring.since(&next).map(|line| line.text.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }
}
