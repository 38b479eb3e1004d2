//! What services and init itself say: readiness, status, log lines.

use std::os::fd::AsFd;

use spec::control;

use super::Supervisor;
use crate::command_line::Mode;
use crate::library::Complaint;
use crate::machine::Event;
use crate::rpc;
use crate::sys;

/// What is read of a service's output in one turn, so that one that floods does not starve the others.
const TURN: usize = 64 * 1024;
/// How many notifications of a service are read in one turn.
const NOTIFICATIONS: usize = 16;
/// The longest notification (systemd reads as much).
const LONGEST_NOTIFICATION: usize = 4096;

impl Supervisor {
    /// Reads what a service says of itself: sd_notify(3). `STOPPING=1` is understood and changes nothing here.
    pub(super) fn hear_notify(&mut self, number: u32) {
        let mut buffer = [0; LONGEST_NOTIFICATION];
        for _ in 0..NOTIFICATIONS {
            let Some(service) = self.services.get_mut(&number) else { return };
            let Ok(ends) = &service.ends else { return };
            let Ok(count) = ends.notify.recv(&mut buffer) else { return };
            let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
            for line in text.lines() {
                match line.split_once('=') {
                    Some(("READY", "1")) => self.feed(number, Event::Ready),
                    Some(("WATCHDOG", "1")) => self.feed(number, Event::Alive),
                    Some(("STATUS", status)) => self.set_status(number, status),
                    _ => {}
                }
            }
        }
    }

    fn set_status(&mut self, number: u32, status: &str) {
        let Some(service) = self.services.get_mut(&number) else { return };
        let shown: String = status.chars().filter(|c| !c.is_control()).take(200).collect();
        service.status = Some(shown).filter(|status| !status.is_empty());
        let name = service.name().clone();
        self.show_network(&name);
    }

    /// Reads a part of what a service wrote.
    pub(super) fn hear_output(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        let Ok(ends) = &mut service.ends else { return };
        let mut buffer = vec![0; TURN];
        let Ok(count) = std::io::Read::read(&mut ends.output, &mut buffer) else { return };
        let lines = service.lines.push(buffer.get(..count).unwrap_or_default());
        self.write_lines(number, lines);
    }

    /// Writes lines of a service to its log.
    pub(super) fn write_lines(&mut self, number: u32, lines: Vec<String>) {
        let Some(service) = self.services.get_mut(&number) else { return };
        if let Some(last) = lines.iter().rev().find(|line| !line.trim().is_empty()) {
            service.last_line = Some(last.clone());
        }
        let name = service.name().clone();
        self.log_lines(&name, lines);
    }

    fn log_lines(&mut self, name: &spec::Name, lines: Vec<String>) {
        if lines.is_empty() {
            return;
        }
        let (lines, trouble) = self.log.append(name, lines);
        for line in &lines {
            self.tell_followers(name, &rpc::notification(control::LOG, line));
        }
        if let Some(trouble) = trouble {
            self.say(&trouble);
        }
    }

    /// Says something to whoever started init (on an appliance: to the kernel's log), and writes it down as a line of
    /// the service `init`.
    pub(super) fn say(&mut self, text: &str) {
        for line in text.lines() {
            match self.mode {
                Mode::Developer => sys::write_stderr(line),
                Mode::Appliance => sys::write_kernel_log(line),
            }
        }
        self.note(text);
    }

    fn note(&mut self, text: &str) {
        if let Some(name) = self.own_name.clone() {
            self.log_lines(&name, text.lines().map(str::to_owned).collect());
        }
    }

    /// Says what is wrong with a file: as a picture to a person, in lines to a program and to the log.
    pub(super) fn complain(&mut self, complaint: Complaint) {
        self.problems.push(complaint.plain.clone());
        match complaint.picture.filter(|_| self.mode == Mode::Developer && sys::stderr_is_terminal()) {
            Some(picture) => {
                sys::write_stderr(&picture);
                self.note(&complaint.plain);
            }
            None => self.announce(&complaint.plain),
        }
    }

    /// Stops waiting for what a service says.
    pub(super) fn forget_ends(&mut self, number: u32) {
        let Some(Ok(ends)) = self.services.get(&number).map(|service| &service.ends) else { return };
        for fd in [ends.notify.as_fd(), ends.output.as_fd()].into_iter().chain(ends.arc.as_ref().map(AsFd::as_fd)) {
            self.poll.remove(fd);
        }
    }
}
