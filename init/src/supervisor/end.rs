//! The end: everything stops in reverse order, and nothing is left behind.

use std::time::Duration;

use spec::Name;

use super::Supervisor;
use crate::command_line::Mode;
use crate::machine::Event;
use crate::sys::{self, Halt, Millis};

/// How long all services together may take to stop before what is left is killed.
const PATIENCE: Millis = 90_000;
/// How long after that init waits for the kernel to bury them.
const LAST_PATIENCE: Millis = 5_000;

/// How far the life of init itself is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not everything that starts at boot is there yet.
    Starting,
    Up,
    Ending {
        /// When what is left is killed.
        kill_at: Millis,
    },
    /// All were killed.
    Killing {
        /// When it is left to the kernel.
        until: Millis,
    },
    Ended,
}

impl Stage {
    pub(super) fn is_ending(self) -> bool {
        !matches!(self, Self::Starting | Self::Up)
    }

    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Self::Ending { kill_at } => Some(kill_at),
            Self::Killing { until } => Some(until),
            _ => None,
        }
    }
}

impl Supervisor {
    /// Begins to stop everything, after which the machine of an appliance is ended as `halt` says.
    pub(super) fn begin_end(&mut self, halt: Halt) {
        if self.stage.is_ending() {
            return;
        }
        self.stage = Stage::Ending { kill_at: self.clock.now().saturating_add(PATIENCE) };
        self.halt = halt;
        if let Some(appliance) = &mut self.appliance {
            appliance.upkeep.end();
        }
        self.announce(match (self.mode, halt) {
            (Mode::Developer, _) => "stopping everything; Ctrl-C kills what does not stop",
            (Mode::Appliance, Halt::PowerOff) => "stopping everything to switch the machine off",
            (Mode::Appliance, Halt::Reboot) => "stopping everything to restart the machine",
        });
        for number in self.numbers(|service| !service.machine.is_alive()) {
            self.feed(number, Event::Stop);
        }
    }

    /// Kills what has not stopped yet.
    pub(super) fn end_now(&mut self) {
        self.stage = Stage::Killing { until: self.clock.now().saturating_add(LAST_PATIENCE) };
        // What the others have said last is still to be written down.
        for number in self.numbers(|service| service.machine.is_alive() && !service.is_log_keeper()) {
            self.feed(number, Event::Kill);
        }
    }

    /// Stops each service once all that come after it are gone, and ends when there is none.
    pub(super) fn go_on_ending(&mut self) {
        if !self.stage.is_ending() {
            return;
        }
        let is_needed = |name: &Name| {
            let alive = self.services.values().filter(|service| service.machine.is_alive());
            alive.into_iter().any(|service| service.candidate.manifest.after.contains(name))
        };
        let alive = self.numbers(|service| service.machine.is_alive());
        let others = self.numbers(|service| service.machine.is_alive() && !service.is_log_keeper());
        let may_stop = |number: &u32| self.services.get(number).is_some_and(|service| !is_needed(service.name()));
        let free: Vec<u32> = others.iter().copied().filter(may_stop).collect();
        // On a circle each one is needed by another; then all stop together. What keeps the log stops after all others.
        let next = match (others.is_empty(), free.is_empty()) {
            (true, _) => alive.clone(),
            (false, true) => others,
            (false, false) => free,
        };
        if next == alive {
            self.note_end();
        }
        next.into_iter().for_each(|number| self.feed(number, Event::Stop));
        let now = self.clock.now();
        match self.stage {
            _ if alive.is_empty() => self.stage = Stage::Ended,
            Stage::Ending { kill_at } if now >= kill_at => self.end_now(),
            Stage::Killing { until } if now >= until => {
                self.say("some processes could not be killed");
                self.stage = Stage::Ended;
            }
            _ => {}
        }
    }

    /// Takes back what init made outside its own memory.
    pub(super) fn clean_up(&mut self) {
        for _ in 0..100 {
            if !sys::kill_children() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            sys::reap_orphans(|_| false);
        }
        self.services.clear();
        self.groups.close();
        self.layout.clear_volatile();
        self.say("stopped");
    }
}
