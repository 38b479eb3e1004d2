//! Manifests that appear, change and go while everything runs.

use spec::control::{self, ByName, ServiceState};
use spec::{Name, paths};

use super::Supervisor;
use super::service::Service;
use crate::machine::{Event, Machine};
use crate::manifests::Candidate;
use crate::rpc;

impl Supervisor {
    /// Reads the owner's folder again.
    pub(super) fn look(&mut self) {
        let folder = paths::user_manifests(&self.layout.data);
        let covered = crate::layout::create_folder(&folder).and_then(|()| self.watch.cover(&folder));
        if let Err(error) = covered {
            self.say(&format!("{}: cannot be watched: {error}", folder.display()));
        }
        let (catalogue, complaints) = self.library.look();
        self.wanted = catalogue.services;
        self.is_stale = true;
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
    }

    /// Makes the services match what is wanted: one that is not wanted any more stops and goes, one that is wanted
    /// comes once its name is free.
    pub(super) fn match_wanted(&mut self) {
        if !self.is_stale || self.stage.is_ending() {
            return;
        }
        let wanted = |service: &Service| self.wanted.iter().any(|wanted| wanted.says_the_same(&service.candidate));
        for number in self.numbers(|service| !wanted(service)) {
            self.dismiss(number);
        }
        let is_absent = |candidate: &&Candidate| self.number_of(&candidate.manifest.name).is_none();
        let absent: Vec<Candidate> = self.wanted.iter().filter(is_absent).cloned().collect();
        absent.into_iter().for_each(|candidate| self.admit(candidate));
        self.is_stale = self.services.values().any(|service| service.is_leaving);
        for number in self.numbers(|service| service.is_misordered && service.state() == ServiceState::Failed) {
            self.give_second_chance(number);
        }
    }

    fn admit(&mut self, candidate: Candidate) {
        let number = self.new_number();
        let name = candidate.manifest.name.clone();
        let service = Service::new(candidate, number, &self.layout, &self.groups);
        let fault = service.ends.as_ref().err().cloned();
        self.services.insert(number, service);
        self.register_ends(number);
        if let Some(reason) = fault {
            self.feed(number, Event::Unstartable(reason));
        }
        self.introduce_arc(number);
        // Whoever knew a service of this name knows an old state of it.
        self.state_changed(number);
        if self.stage == super::end::Stage::Up {
            self.say(&format!("{name}: added"));
        }
    }

    /// Stops a service whose manifest is gone or says something else now; it goes when nothing of it is left.
    fn dismiss(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        if !service.is_leaving {
            let name = service.name().clone();
            let was_introduced = service.is_arc();
            service.is_leaving = true;
            self.feed(number, Event::Stop);
            if was_introduced {
                self.tell_gateways(&rpc::notification(control::ARC_REMOVED, ByName { name }));
            }
        }
        if self.services.get(&number).is_some_and(|service| !service.machine.is_alive()) {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u32) {
        self.forget_ends(number);
        let Some(service) = self.services.remove(&number) else { return };
        let name: &Name = service.name();
        let text = name.as_str();
        let run = &self.layout.run;
        let files = [
            paths::arc_socket(run, text),
            paths::caller_socket(run, text),
            self.layout.notify_socket(text),
            self.layout.settings_file(text),
        ];
        for file in files {
            // Most services have some of them only.
            let _ = std::fs::remove_file(file);
        }
        self.say(&format!("{name}: removed"));
    }

    /// One that could not be put in order may fit now that there are others.
    fn give_second_chance(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        service.is_misordered = false;
        service.machine = Machine::new(&service.rules);
        self.state_changed(number);
    }
}
