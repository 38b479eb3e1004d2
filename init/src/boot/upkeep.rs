//! What PID 1 does for the machine while its services run: it feeds the watchdog, keeps the time, and ends the trial of
//! the slot that runs.

use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use super::data::DATA;
use super::slots::Trial;
use super::{keepsakes, say};
use crate::sys::{Millis, Watchdog};

/// The hardware watchdog, where there is one.
const WATCHDOG: &str = "/dev/watchdog";
/// How long PID 1 may make no progress. Above what a turn of its loop can take on a slow disk, and what most of the
/// devices can wait.
const WATCHDOG_SECONDS: u32 = 30;
/// A word of the kernel's command line with which an owner sees whether the watchdog of a machine works: PID 1 hangs
/// after so many seconds.
const HANG: &str = "llmbasedos.hang=";
/// A word of it for a machine whose watchdog is of no use.
const WATCHDOG_OFF: &str = "llmbasedos.watchdog=off";
/// How often the time is kept.
const KEEP_TIME_EVERY: Millis = 10 * 60 * 1000;

/// What [`HANG`] says for the first stage, in place of seconds.
const HANG_IN_FIRST_STAGE: &str = "first-stage";
/// So long the check of a large partition may take, and what is written when the machine ends.
pub(super) const CHECK_MOST: Duration = Duration::from_secs(60 * 60);
const END_MOST: Duration = Duration::from_secs(10 * 60);

/// Starts the watchdog, where there is one. `command_line` is the kernel's.
pub(super) fn start_watchdog(command_line: &str) -> Option<Watchdog> {
    let path = Path::new(WATCHDOG);
    let is_off = command_line.split_ascii_whitespace().any(|word| word == WATCHDOG_OFF);
    let started = (path.exists() && !is_off).then(|| Watchdog::start(path, WATCHDOG_SECONDS))?;
    usable(started)
}

/// Goes on with the watchdog that the first stage has started.
pub(super) fn inherit_watchdog(number: RawFd) -> Option<Watchdog> {
    usable(Watchdog::inherit(number, WATCHDOG_SECONDS))
}

fn usable(watchdog: io::Result<Watchdog>) -> Option<Watchdog> {
    watchdog.map_err(|error| say(&format!("{WATCHDOG}: cannot be used: {error}"))).ok()
}

/// Does what may take `most`, with the watchdog kept quiet so long.
pub(super) fn during<T>(watchdog: Option<&Watchdog>, most: Duration, work: impl FnOnce() -> T) -> T {
    match watchdog {
        Some(watchdog) => watchdog.during(most, work),
        None => work(),
    }
}

/// Hangs in the first stage where the kernel's command line says so.
pub(super) fn hang_in_first_stage(command_line: &str) {
    if hang_word(command_line) == Some(HANG_IN_FIRST_STAGE) {
        hang();
    }
}

fn hang_word(command_line: &str) -> Option<&str> {
    command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(HANG))
}

fn hang() -> ! {
    say("PID 1 hangs from now on, as the kernel's command line says: the watchdog resets the machine");
    loop {
        std::thread::park();
    }
}

/// The machine's upkeep. Only the loop of the supervisor calls it; so if that hangs, the machine is reset.
#[derive(Debug)]
pub(crate) struct Upkeep {
    watchdog: Option<Watchdog>,
    feed_at: Millis,
    keep_time_at: Millis,
    /// Until it has ended well.
    trial: Option<Trial>,
    /// When PID 1 is to hang.
    hang_at: Option<Millis>,
}

impl Upkeep {
    /// Goes on with a watchdog that runs already. `command_line` is the kernel's.
    pub(super) fn new(command_line: &str, watchdog: Option<Watchdog>, trial: Option<Trial>) -> Self {
        let seconds = hang_word(command_line).and_then(|seconds| seconds.parse::<Millis>().ok());
        let hang_at = seconds.map(|seconds| seconds.saturating_mul(1000));
        Self { watchdog, feed_at: 0, keep_time_at: 0, trial, hang_at }
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Millis {
        let others = [self.trial.as_ref().and_then(Trial::deadline), self.hang_at];
        others.into_iter().flatten().fold(self.feed_at.min(self.keep_time_at), Millis::min)
    }

    /// Does what is due; `is_well` says whether the machine does what it is for.
    pub(crate) fn turn(&mut self, is_well: bool, now: Millis) {
        if self.hang_at.is_some_and(|at| now >= at) {
            hang();
        }
        if now >= self.feed_at {
            self.feed_at = match &self.watchdog {
                Some(watchdog) => now.saturating_add(watchdog.pause().as_millis().try_into().unwrap_or(Millis::MAX)),
                None => Millis::MAX,
            };
            if let Some(Err(error)) = self.watchdog.as_ref().map(Watchdog::feed) {
                say(&format!("{WATCHDOG}: cannot be fed: {error}"));
            }
        }
        if now >= self.keep_time_at {
            self.keep_time_at = now.saturating_add(KEEP_TIME_EVERY);
            keepsakes::keep_time(Path::new(DATA));
        }
        self.trial.take_if(|trial| trial.turn(is_well, now));
    }

    /// The machine is going to end.
    pub(crate) fn end(&mut self) {
        self.trial.take().iter().for_each(Trial::end);
    }

    /// Does what ends the machine, which may take minutes on a slow disk.
    pub(super) fn during_the_end(&self, work: impl FnOnce()) {
        during(self.watchdog.as_ref(), END_MOST, work);
    }

    /// How long the watchdog waits, in seconds.
    pub(crate) fn watchdog_seconds(&self) -> Option<u32> {
        self.watchdog.as_ref().map(|watchdog| watchdog.seconds)
    }
}
