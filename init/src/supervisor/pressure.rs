//! What the governor of memory decides, carried out and said.

use spec::control::ServiceState;
use spec::{Layer, Name};

use super::Supervisor;
use super::service::Service;
use crate::cage::{Abilities, is_essential, size};
use crate::governor::{Deed, Governor, LONGEST_FROZEN, Subject};
use crate::machine::Event;
use crate::sys::{self, Millis, Pressure, Ready};

/// The governor, and how it hears of pressure.
pub(super) struct Relief {
    governor: Governor,
    /// Or why there is none.
    pressure: Result<Pressure, String>,
}

impl Relief {
    pub(super) fn prepare(abilities: &Abilities) -> Self {
        let pressure = match abilities.has(Layer::Memory) {
            true => {
                Pressure::watch().map_err(|error| format!("the kernel does not tell when memory is short: {error}"))
            }
            false => Err("no controller counts what each service uses".to_owned()),
        };
        Self { governor: Governor::default(), pressure }
    }

    pub(super) fn pressure(&self) -> Option<&Pressure> {
        self.pressure.as_ref().ok()
    }

    /// That there is none, and why.
    pub(super) fn missing(&self) -> Option<String> {
        self.pressure.as_ref().err().map(|why| format!("freezing the greediest when memory is short ({why})"))
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.governor.deadline()
    }
}

impl Supervisor {
    /// Memory is short.
    pub(super) fn hear_pressure(&mut self, ready: Ready) {
        if ready.hung_up {
            // The kernel has nothing more to say; it would say so without end.
            if let Ok(pressure) = &self.relief.pressure {
                self.poll.remove(pressure);
            }
            self.relief.pressure = Err("the kernel tells no more when memory is short".to_owned());
            return;
        }
        let Ok(memory) = sys::memory() else { return };
        let subjects: Vec<Subject> =
            self.services.iter().filter_map(|(number, service)| subject(*number, service)).collect();
        let deed = self.relief.governor.pressed(self.clock.now(), memory, &subjects);
        deed.into_iter().for_each(|deed| self.govern(deed));
    }

    /// Thaws what has been frozen for long enough.
    pub(super) fn relieve(&mut self, now: Millis) {
        let deed = self.relief.governor.tick(now);
        deed.into_iter().for_each(|deed| self.govern(deed));
    }

    fn govern(&mut self, deed: Deed) {
        match deed {
            Deed::Freeze(number) => self.freeze(number),
            Deed::Thaw(number) => {
                let thawed = self.thaw(number);
                thawed.into_iter().for_each(|name| self.say(&format!("{name}: thawed: memory is no longer short")));
            }
            Deed::Stop(number) => {
                let Some(service) = self.services.get(&number) else { return };
                let used = size(service.group.memory().unwrap_or_default());
                let reason = format!("stopped: memory is short, and it used the most of all, {used}");
                self.feed(number, Event::Condemned(reason));
            }
        }
    }

    fn freeze(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        let name = service.name().clone();
        if let Err(error) = service.group.freeze(true) {
            self.relief.governor.release(number);
            return self.say(&format!("{name}: cannot be frozen, and memory is short: {error}"));
        }
        let used = size(service.group.memory().unwrap_or_default());
        let seconds = LONGEST_FROZEN / 1000;
        let reason = format!("frozen for up to {seconds} s: memory is short, and it uses the most of all, {used}");
        let line = format!("{name}: {reason}");
        service.frozen = Some(reason);
        self.feed(number, Event::Frozen);
        self.say(&line);
    }

    /// Lets a service go on that is frozen: it is to stop, or has been killed.
    pub(super) fn release(&mut self, number: u32) {
        self.relief.governor.release(number);
        self.thaw(number);
    }

    fn thaw(&mut self, number: u32) -> Option<Name> {
        let service = self.services.get_mut(&number)?;
        service.frozen.take()?;
        let name = service.name().clone();
        if let Err(error) = service.group.freeze(false) {
            self.say(&format!("{name}: cannot be thawed: {error}"));
        }
        self.feed(number, Event::Thawed);
        Some(name)
    }
}

/// A service that may be frozen: whatever is needed to reach and to steer the machine may not.
fn subject(number: u32, service: &Service) -> Option<Subject> {
    let manifest = &service.candidate.manifest;
    let is_up = matches!(service.state(), ServiceState::Starting | ServiceState::Running);
    let is_there = is_up && service.living().is_some() && !service.machine.is_frozen();
    let used = service.group.memory().filter(|_| is_there && !is_essential(manifest))?;
    Some(Subject { service: number, used })
}
