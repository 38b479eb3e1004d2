//! A call as a person at the shell sees it: its stages, and a model's text as it comes.

use std::io::Write;
use std::time::Instant;

use crate::call::Watcher;
use crate::message::Progress;
use crate::render::progress::Stages;
use crate::render::safe;
use crate::render::terminal::Terminal;

/// Shows one call.
pub(super) struct Watch {
    stages: Stages<std::io::Stderr>,
    shows_text: bool,
    streamed: String,
}

impl Watch {
    /// For a call of `what`; a model's text is shown where `shows_text`, else counted.
    pub(super) fn new(what: &str, shows_text: bool) -> Self {
        let terminal = Terminal::of(&std::io::stderr());
        let stages = Stages::new(std::io::stderr(), terminal, what, Instant::now());
        Self { stages, shows_text, streamed: String::new() }
    }

    /// Ends the line under way and returns the text that was shown.
    pub(super) fn finish(mut self) -> String {
        self.stages.finish(Instant::now());
        if !self.streamed.is_empty() && !self.streamed.ends_with('\n') {
            write("\n");
        }
        self.streamed
    }
}

impl Watcher for Watch {
    fn progress(&mut self, progress: &Progress) {
        if progress.is_stream && self.shows_text {
            self.stages.finish(Instant::now());
            write(&safe::text(&progress.message));
            self.streamed.push_str(&progress.message);
        } else {
            self.stages.update(progress, Instant::now());
        }
    }

    fn tick(&mut self) {
        // A line about waiting would stand in the middle of the text.
        if self.streamed.is_empty() {
            self.stages.tick(Instant::now());
        }
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout();
    // The whole answer comes at the end as well.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
