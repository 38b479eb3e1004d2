//! Asking the person at the terminal.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::input;
use crate::failure::{Failure, plain};
use crate::signals::Signals;

/// An answer is no longer than a terminal's line.
const LINE_MAX: usize = 4096;

/// Somebody at a terminal who can be asked.
#[derive(Debug)]
pub(super) struct Person<'a> {
    terminal: File,
    signals: &'a Signals,
}

impl<'a> Person<'a> {
    /// Whoever is there; nobody where the input or what is shown goes elsewhere.
    pub(super) fn find(signals: &'a Signals) -> Option<Self> {
        let input = io::stdin();
        let is_there = input.is_terminal() && io::stderr().is_terminal();
        // Not by `std::io::stdin`, whose buffer would keep what was typed, and which no signal ends.
        let terminal = input.as_fd().try_clone_to_owned().ok().filter(|_| is_there)?;
        Some(Self { terminal: terminal.into(), signals })
    }

    /// The answer, without blanks around it; `None` after Ctrl-D.
    ///
    /// # Errors
    /// Ctrl-C, or the terminal is gone.
    pub(super) fn ask(&self, question: &str) -> Result<Option<String>, Failure> {
        let _ = write!(io::stderr(), "{question} ");
        Ok(self.line()?.map(|line| line.trim().to_owned()))
    }

    /// The same for what is not to be seen on the screen; nothing is taken off it.
    ///
    /// # Errors
    /// Ctrl-C, or the terminal is gone.
    pub(super) fn ask_secretly(&self, question: &str) -> Result<Option<String>, Failure> {
        let silence = Silence::begin(&self.terminal);
        let _ = write!(io::stderr(), "{question} ");
        let line = self.line()?;
        drop(silence);
        Ok(line.map(|line| line.trim_end_matches(['\n', '\r']).to_owned()))
    }

    fn line(&self) -> Result<Option<String>, Failure> {
        input::wait(&self.terminal, self.signals).inspect_err(|_| drop(writeln!(io::stderr())))?;
        let mut line = vec![0; LINE_MAX];
        let count = (&self.terminal)
            .read(&mut line)
            .map_err(|error| Failure::new("cannot read from the terminal", plain(&error), "run this again"))?;
        line.truncate(count);
        Ok((count > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
    }
}

/// A terminal that does not show what is typed until this is dropped. Ctrl-C works: it is noticed, and ends nothing at once.
struct Silence<'t> {
    terminal: &'t File,
    before: Option<Termios>,
}

impl<'t> Silence<'t> {
    fn begin(terminal: &'t File) -> Self {
        let before = tcgetattr(terminal).ok();
        if let Some(mut silent) = before.clone() {
            silent.local_modes -= LocalModes::ECHO;
            let _ = tcsetattr(terminal, OptionalActions::Flush, &silent);
        }
        Self { terminal, before }
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(self.terminal, OptionalActions::Flush, before);
        }
        let _ = writeln!(io::stderr());
    }
}
