//! What the user sees while work goes on: one line per stage on standard error, moving on a terminal, plain in a pipe.
//!
//! Standard output is for results alone. The header is written before the first stage, so that a start with nothing to
//! do has room for one line that says it all.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;

/// The columns: two blanks, the stage's name, what it is about, how it is doing.
const NAME_WIDTH: usize = 14;
const WHAT_WIDTH: usize = 32;

/// Standard error, as a place for stages.
#[derive(Debug)]
pub(crate) struct Terminal {
    moving: bool,
    header: String,
    header_written: Cell<bool>,
}

/// One stage of work. Its line stands until it is finished.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    what: String,
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// The terminal, with the header that goes before the first stage.
    pub(crate) fn new(header: String) -> Self {
        let moving = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { moving, header, header_written: Cell::new(false) }
    }

    /// Writes the header with `rest` on the same line: nothing had to be done.
    pub(crate) fn summary(&self, rest: &str) {
        self.header_written.set(true);
        say(format_args!("{} · {rest}", self.header));
    }

    /// Whether any stage had something to do.
    pub(crate) fn has_stages(&self) -> bool {
        self.header_written.get()
    }

    /// Begins a stage that is now `doing` something.
    pub(crate) fn stage(&self, name: &'static str, what: &str, doing: &str) -> Stage {
        self.write_header();
        let stage = Stage { name, what: what.to_owned(), bar: self.moving.then(line) };
        stage.doing(doing);
        stage
    }

    /// Writes a stage that is over at once.
    pub(crate) fn note(&self, name: &str, text: &str) {
        self.write_header();
        say(format_args!("  {name:NAME_WIDTH$} {text}"));
    }

    fn write_header(&self) {
        if !self.header_written.replace(true) {
            say(format_args!("{}", self.header));
        }
    }
}

fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

impl Stage {
    /// What the stage does now: a line of its own in a pipe.
    pub(crate) fn doing(&self, doing: &str) {
        match &self.bar {
            Some(_) => self.progress(doing),
            None => say(self.text(doing)),
        }
    }

    /// How far it is: shown on a terminal only.
    pub(crate) fn progress(&self, how_far: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.text(how_far).to_string());
            bar.tick();
        }
    }

    /// The stage is over.
    pub(crate) fn finish(self, how: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        say(self.text(how));
    }

    fn text(&self, state: &str) -> impl fmt::Display {
        let Self { name, what, .. } = self;
        fmt::from_fn(move |f| write!(f, "  {name:NAME_WIDTH$} {what:WHAT_WIDTH$} {state}"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to standard error; where nobody reads it any more, work goes on.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line of the result to standard output.
pub(crate) fn result(line: impl fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// How a fault in a file is shown on standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// A line for each.
    Lines,
    /// With the file's lines quoted, in colour or not.
    Picture { colour: bool },
}

/// A picture for a person at a terminal; colour as <https://no-color.org> has it.
pub(crate) fn form() -> Form {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if io::stderr().is_terminal() { Form::Picture { colour: !is_set("NO_COLOR") && !is_dumb } } else { Form::Lines }
}

/// Writes why the command did not end well, and what to do.
pub(crate) fn print_failure(failure: &Failure) {
    match failure {
        Failure::Error { what, why, advice, .. } => {
            say(format_args!("error: {what}"));
            for (name, text) in [("why", why), ("do", &advice.to_string())] {
                for (index, line) in text.lines().enumerate() {
                    say(format_args!("  {:5} {line}", if index == 0 { name } else { "" }));
                }
            }
        }
        Failure::Interrupted { kept, .. } if kept.is_empty() => say("stopped"),
        Failure::Interrupted { kept, .. } => say(format_args!("stopped: {kept}")),
    }
}
