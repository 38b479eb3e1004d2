//! How a call is getting on: the stages that it goes through, one line each.
//!
//! A message of a stage reads `write  section 4 of 4`: the stage's name, then what it does. On a terminal the stage
//! under way is a line that changes, and stays with its time when the next one begins. In a pipe each message is a line.
//! A message without a name (`37 tokens`) is a detail of the stage under way: it comes and goes, in a pipe unseen.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::message::Progress;
use crate::render::safe;
use crate::render::terminal::{Terminal, clipped, padded};
use crate::render::units::whole_seconds;

/// A call that says nothing for this long gets a line that says that it is waited for.
const SILENCE: Duration = Duration::from_secs(2);
/// The columns that a stage's name gets.
const NAME_WIDTH: usize = 8;
/// The cells of a bar.
const BAR: usize = 20;

/// The stages of one call, written to `out` (the standard error).
pub(crate) struct Stages<W: Write> {
    out: W,
    terminal: Terminal,
    /// What is waited for before the first stage.
    what: String,
    began: Instant,
    current: Option<Stage>,
    /// Whether the line under the cursor is one that changes.
    is_live: bool,
    /// The last line that was written in a pipe.
    last_line: String,
    /// How many characters of a model's text came by.
    streamed: usize,
}

struct Stage {
    name: String,
    text: String,
    detail: String,
    done: f64,
    total: Option<f64>,
    began: Instant,
}

impl<W: Write> Stages<W> {
    /// For a call of `what` that begins now.
    pub(crate) fn new(out: W, terminal: Terminal, what: &str, now: Instant) -> Self {
        Self {
            out,
            terminal,
            what: safe::line(what),
            began: now,
            current: None,
            is_live: false,
            last_line: String::new(),
            streamed: 0,
        }
    }

    /// Shows a message of the call.
    pub(crate) fn update(&mut self, progress: &Progress, now: Instant) {
        let (name, text) = match progress.is_stream {
            true => {
                self.streamed += progress.message.chars().count();
                (String::new(), format!("{} characters", self.streamed))
            }
            false => named(&progress.message),
        };
        if name.is_empty()
            && let Some(stage) = self.current.as_mut().filter(|stage| !stage.name.is_empty())
        {
            stage.detail = text;
            self.tick(now);
            return;
        }
        if self.current.as_ref().is_some_and(|stage| stage.name != name) {
            self.finish(now);
        }
        let began = self.current.take().map_or(now, |stage| stage.began);
        self.current =
            Some(Stage { name, text, detail: String::new(), done: progress.done, total: progress.total, began });
        if self.terminal.is_terminal {
            self.show(now);
        } else if !progress.is_stream {
            self.write_line();
        }
    }

    /// Time goes by.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.terminal.is_terminal && (self.current.is_some() || now.duration_since(self.began) >= SILENCE) {
            self.show(now);
        }
    }

    /// Ends the stage under way, whose line stays, or wipes the line that said that the call is waited for.
    pub(crate) fn finish(&mut self, now: Instant) {
        if self.is_live {
            self.wipe();
            if let Some(stage) = self.current.take() {
                let line = format!("  {} {}", padded(&stage.name, NAME_WIDTH), stage.text);
                let line = self.line(&line, now.duration_since(stage.began));
                self.write(&format!("{line}\n"));
            }
        }
        self.current = None;
    }

    fn show(&mut self, now: Instant) {
        let (text, began) = match &self.current {
            Some(stage) => {
                let detail = if stage.detail.is_empty() { String::new() } else { format!(" · {}", stage.detail) };
                (format!("  {} {}{}{detail}", padded(&stage.name, NAME_WIDTH), stage.bar(), stage.text), stage.began)
            }
            None => (format!("  waiting for {}", self.what), self.began),
        };
        self.wipe();
        let line = self.line(&text, now.duration_since(began));
        self.write(&line);
        self.is_live = true;
    }

    /// `text` and the time, on one line of the terminal.
    fn line(&self, text: &str, time: Duration) -> String {
        let time = whole_seconds(time);
        // One column stays free: a full line makes some terminals wrap.
        let room = self.terminal.width.saturating_sub(time.len() + 3);
        self.terminal.with_note(&clipped(text, room), &time)
    }

    fn write_line(&mut self) {
        let Some(stage) = &self.current else { return };
        let count = stage.total.map(|total| format!(" ({}/{total})", stage.done)).unwrap_or_default();
        let line = format!("{} {}{count}", padded(&stage.name, NAME_WIDTH), stage.text);
        let line = line.trim().to_owned();
        if line != self.last_line {
            self.write(&format!("{line}\n"));
            self.last_line = line;
        }
    }

    fn wipe(&mut self) {
        if self.is_live {
            // ECMA-48 8.3.41 (EL): to the line's start, then erase all of it.
            self.write("\r\x1b[2K");
            self.is_live = false;
        }
    }

    fn write(&mut self, text: &str) {
        // Progress that cannot be shown is no reason to end the call.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Stage {
    fn bar(&self) -> String {
        let Some(total) = self.total.filter(|total| *total > 0.0) else { return String::new() };
        let share = (self.done / total).clamp(0.0, 1.0);
        let full = (1..=BAR).filter(|&cell| fraction(cell) <= share + f64::EPSILON).count();
        format!("{}{}  ", "█".repeat(full), "░".repeat(BAR - full))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bar has few cells")]
fn fraction(cell: usize) -> f64 {
    cell as f64 / BAR as f64
}

/// The stage's name and the rest of a message; without a name where the first word is none.
fn named(message: &str) -> (String, String) {
    let message = safe::line(message.trim());
    let is_name = |word: &str| word.len() <= 12 && word.chars().all(|c| c.is_ascii_lowercase());
    match message.split_once(' ') {
        Some((word, rest)) if is_name(word) => (word.to_owned(), rest.trim_start().to_owned()),
        None if is_name(&message) => (message, String::new()),
        _ => (String::new(), message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Terminal = Terminal { is_terminal: true, colour: false, width: 40 };

    fn stage(message: &str, done: f64, total: Option<f64>) -> Progress {
        Progress { done, total, message: message.to_owned(), is_stream: false }
    }

    /// What is left on the screen, and what was on the changing line meanwhile.
    fn shown(terminal: Terminal, play: impl FnOnce(&mut Stages<&mut Vec<u8>>, Instant)) -> String {
        let mut out = Vec::new();
        let now = Instant::now();
        play(&mut Stages::new(&mut out, terminal, "awake.tick", now), now);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_finished_stage_stays_with_its_time() {
        let text = shown(SCREEN, |stages, now| {
            stages.update(&stage("think  \"How to\"", 1.0, None), now);
            stages.update(&stage("write  section 1 of 2", 1.0, Some(2.0)), now + Duration::from_secs(6));
            stages.finish(now + Duration::from_secs(70));
        });
        let lines: Vec<&str> = text.split("\r\x1b[2K").collect();
        assert_eq!(lines[0], "  think    \"How to\"                 0 s");
        assert_eq!(lines[1], "  think    \"How to\"                 6 s\n  write    ██████████░░░░░░░░░░  …  0 s");
        assert_eq!(lines[2], "  write    section 1 of 2     1 min 4 s\n");
    }

    #[test]
    fn a_pipe_gets_each_message_once_and_no_control_codes() {
        let text = shown(Terminal::plain(), |stages, now| {
            for _ in 0..2 {
                stages.update(&stage("write  section 1", 1.0, Some(2.0)), now);
            }
            stages.tick(now + Duration::from_secs(9));
            stages.update(&stage("check  \x1b[2J", 0.0, None), now);
            stages.finish(now);
        });
        assert_eq!(text, "write    section 1 (1/2)\ncheck    \\u{1b}[2J\n");
        let unnamed = shown(Terminal::plain(), |stages, now| stages.update(&stage("Downloading", 0.0, None), now));
        assert_eq!(unnamed, "Downloading\n");
    }

    #[test]
    fn silence_is_broken_after_two_seconds_and_leaves_nothing_behind() {
        let text = shown(SCREEN, |stages, now| {
            stages.tick(now + Duration::from_secs(1));
            stages.tick(now + Duration::from_secs(2));
            stages.finish(now + Duration::from_secs(3));
        });
        assert_eq!(text, "  waiting for awake.tick            2 s\r\x1b[2K");
    }

    #[test]
    fn a_models_text_is_counted_where_it_is_not_shown() {
        let piece = |text: &str| Progress { message: text.to_owned(), is_stream: true, ..Progress::default() };
        let play = |stages: &mut Stages<&mut Vec<u8>>, now| {
            stages.update(&piece("hello"), now);
            stages.update(&piece(" world"), now);
        };
        assert!(shown(SCREEN, play).contains("11 characters"));
        assert_eq!(shown(Terminal::plain(), play), "");
    }

    #[test]
    fn a_message_without_a_name_is_a_detail_of_the_stage() {
        let play = |stages: &mut Stages<&mut Vec<u8>>, now| {
            stages.update(&stage("outline  x", 0.0, None), now);
            stages.update(&stage("37 tokens", 0.0, None), now);
            stages.finish(now);
        };
        let text = shown(SCREEN, play);
        assert!(text.contains("  outline  x · 37 tokens  "), "{text}");
        assert!(text.ends_with("  outline  x                        0 s\n"), "{text}");
        assert_eq!(shown(Terminal::plain(), play), "outline  x\n");
    }

    #[test]
    fn a_bar_is_full_at_the_end_and_never_beyond() {
        let bar = |done, total| {
            Stage {
                name: String::new(),
                text: String::new(),
                detail: String::new(),
                done,
                total,
                began: Instant::now(),
            }
            .bar()
        };
        assert_eq!(bar(9.0, Some(3.0)).matches('█').count(), BAR);
        assert_eq!(bar(0.0, Some(3.0)).matches('█').count(), 0);
        assert_eq!(bar(1.0, Some(0.0)), "");
    }
}
