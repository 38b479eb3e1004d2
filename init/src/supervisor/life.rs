//! Events into the state machines, and what follows: processes that end, turns that come.

use std::collections::BTreeMap;

use spec::Name;
use spec::control::{self, ServiceState};

use super::Supervisor;
use super::service::{Ends, Service};
use super::sight;
use crate::catalogue;
use crate::machine::{Action, At, Event, step};
use crate::plan::program;
use crate::rpc;
use crate::sys::{self, Exit, Interest, Source};

impl Supervisor {
    /// Tells a service's machine what happened and does what it asks for. A spawn is answered at once.
    pub(super) fn feed(&mut self, number: u32, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let at = At { now: self.clock.now(), jitter_percent: self.clock.jitter_percent() };
            let Some(service) = self.services.get_mut(&number) else { return };
            let before = service.state();
            let (machine, action) = step(service.machine.clone(), event, at, &service.rules);
            service.machine = machine;
            if service.state() != before {
                self.state_changed(number);
            }
            next = action.and_then(|action| self.perform(number, action));
        }
    }

    fn perform(&mut self, number: u32, action: Action) -> Option<Event> {
        if action == Action::Spawn {
            return Some(self.start(number));
        }
        // One that does nothing does not hear that it is asked to stop.
        let thawed = (action == Action::Terminate).then(|| self.release(number));
        let service = self.services.get(&number)?;
        let process = service.process.as_ref()?;
        match (action, service.living()) {
            (Action::Terminate, Some(living)) => living.child.terminate(),
            (Action::Kill, living) => {
                living.inspect(|living| living.child.kill());
                service.group.kill(process.pid);
            }
            _ => {}
        }
        if thawed.is_none() {
            self.release(number);
        }
        None
    }

    pub(super) fn state_changed(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        service.since_ms = sys::unix_millis();
        let info = service.info();
        let reason = info.reason.as_deref().unwrap_or_default();
        match info.state {
            ServiceState::Backoff => self.say(&format!("{}: {reason}; it is started again", info.name)),
            ServiceState::Listening if !reason.is_empty() => {
                self.say(&format!("{}: {reason}; it is started again at the next call", info.name));
            }
            ServiceState::Failed => self.announce(&format!("{}: {reason}", info.name)),
            _ => {}
        }
        self.listen_for(number);
        self.tell_gateways(&rpc::notification(control::SERVICE_STATE, &info));
    }

    /// Waits for connections to a service's sockets exactly while it is in the state that they end.
    pub(super) fn listen_for(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        let wanted = service.state() == ServiceState::Listening;
        if wanted {
            service.mend(&self.layout);
        }
        let Ok(ends) = &service.ends else { return };
        let is_listened_for = std::mem::replace(&mut service.is_listened_for, wanted);
        if wanted == is_listened_for {
            return;
        }
        let names = &service.candidate.manifest.listen;
        let mut troubles = Vec::new();
        if let Some(listener) = &ends.arc {
            troubles.extend(self.poll.switch(listener, Source::Demand(number), wanted).err());
        }
        for listener in names.iter().filter_map(|name| self.listeners.get(name)) {
            troubles.extend(self.poll.switch(listener, Source::Demand(number), wanted).err());
        }
        let name = service.name().clone();
        troubles.iter().for_each(|error| self.say(&format!("{name}: cannot wait for connections: {error}")));
    }

    /// The process that init started for a service has ended; what it started itself may not have.
    pub(super) fn main_ended(&mut self, number: u32) {
        // What it said last is heard before its end.
        self.hear_notify(number);
        let Some(service) = self.services.get_mut(&number) else { return };
        if let Some(process) = service.process.as_mut().filter(|process| process.ended.is_none())
            && let Some(exit) = process.child.try_wait()
        {
            self.poll.remove(&process.child);
            process.ended = Some(exit);
            service.group.kill(process.pid);
        }
        self.reap_orphans();
    }

    /// Lets those services' processes go of which nothing is left, and kills what is left of the others.
    pub(super) fn sweep(&mut self) {
        for number in self.numbers(|service| service.process.is_some() && service.living().is_none()) {
            let Some(service) = self.services.get(&number) else { continue };
            let Some(pid) = service.process.as_ref().map(|process| process.pid) else { continue };
            if service.group.is_empty(pid) {
                self.bury(number);
            } else {
                service.group.kill(pid);
            }
        }
    }

    /// The end of a service's process, with its last words.
    fn bury(&mut self, number: u32) {
        let last_line = self.end_output(number);
        self.close_channel(number);
        self.release(number);
        let Some(service) = self.services.get_mut(&number) else { return };
        let Some(exit) = service.process.take().and_then(|process| process.ended) else { return };
        let last_words = service.status.take().or(last_line);
        let mut reason = reason(exit, last_words.as_deref());
        if let Some(hint) = (!exit.is_clean()).then(|| self.hint(number, &reason)).flatten() {
            reason.push_str(&format!(" ({hint})"));
        }
        self.end_refusals(number);
        self.feed(number, Event::Ended { clean: exit.is_clean(), reason });
        // Its client hears of its end after the gateway has heard why.
        self.end_conversation(number);
    }

    /// What a service that failed may lack.
    fn hint(&self, number: u32, words: &str) -> Option<String> {
        let service = self.services.get(&number)?;
        let program = program(&service.candidate.manifest, &self.programs);
        sight::hint(&self.plan(service, &program), service.refused.keys().copied(), words)
    }

    /// Lets go of the connection that was the standard input and output of a service.
    pub(super) fn end_conversation(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        if let Some(conversation) = service.conversation.take() {
            self.poll.remove(&conversation);
        }
    }

    /// Starts those whose turn has come. One whose sockets could not be made tries again here: a person may have made
    /// room for them.
    pub(super) fn start_waiting(&mut self) {
        if self.stage.is_ending() {
            return;
        }
        loop {
            let after = self.order();
            let mut events = Vec::new();
            for number in self.numbers(|service| service.state() == ServiceState::Waiting) {
                events.extend(self.turn(number, &after));
            }
            if events.is_empty() {
                return;
            }
            events.into_iter().for_each(|(number, event)| self.feed(number, event));
        }
    }

    fn order(&self) -> BTreeMap<Name, Vec<Name>> {
        let order = |service: &Service| (service.name().clone(), service.candidate.manifest.after.clone());
        self.services.values().map(order).collect()
    }

    /// What is to happen to a service that waits, if it has not to wait on.
    fn turn(&mut self, number: u32, after: &BTreeMap<Name, Vec<Name>>) -> Vec<(u32, Event)> {
        let Some(service) = self.services.get_mut(&number) else { return Vec::new() };
        if service.ends.is_err() {
            service.ends = Ends::make(&service.candidate, &self.layout);
            self.register_ends(number);
            self.introduce_arc(number);
        }
        let Some(service) = self.services.get(&number) else { return Vec::new() };
        let impossible = catalogue::impossible_order(service.name(), after);
        if let Some(reason) = impossible.clone().or(service.ends.as_ref().err().cloned()) {
            if let Some(service) = self.services.get_mut(&number) {
                service.is_misordered = impossible.is_some();
            }
            return vec![(number, Event::Unstartable(reason))];
        }
        let before = &service.candidate.manifest.after;
        let before: Vec<u32> = before.iter().filter_map(|name| self.number_of(name)).collect();
        let state = |number: &u32| self.services.get(number).map(Service::state);
        let is_asleep = |number: &u32| state(number) == Some(ServiceState::Listening);
        let asleep: Vec<u32> = before.iter().copied().filter(is_asleep).collect();
        if !asleep.is_empty() {
            return asleep.into_iter().map(|number| (number, Event::Demand)).collect();
        }
        // One that has failed or was stopped holds nobody up: `after` is an order, not a condition.
        let settled = [ServiceState::Running, ServiceState::Failed, ServiceState::Stopped];
        let is_settled = |number: &u32| state(number).is_none_or(|state| settled.contains(&state));
        if before.iter().all(is_settled) { vec![(number, Event::DependenciesReady)] } else { Vec::new() }
    }

    /// Waits for what a new service's ends have to say.
    pub(super) fn register_ends(&mut self, number: u32) {
        let Some(Ok(ends)) = self.services.get(&number).map(|service| &service.ends) else { return };
        let notify = self.poll.add(&ends.notify, Source::Notify(number), Interest::READ);
        let output = match self.is_last_resort() {
            true => self.poll.add(&ends.stream.reader, Source::Output(number), Interest::READ),
            false => Ok(()),
        };
        if let Err(error) = notify.and(output) {
            self.say(&format!("cannot wait for what a service says: {error}"));
        }
        self.introduce_stream(number);
    }
}

/// `exited with code 1: no such table`, with what the service itself said last.
fn reason(exit: Exit, last_words: Option<&str>) -> String {
    /// Enough for a sentence; the whole line stands in the log.
    const WORDS: usize = 200;
    match last_words.map(str::trim).filter(|words| !words.is_empty()) {
        Some(words) => format!("{exit}: {}", words.chars().take(WORDS).collect::<String>()),
        None => exit.to_string(),
    }
}
