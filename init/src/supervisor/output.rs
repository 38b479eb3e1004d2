//! What services say of themselves, and what init says.

use std::os::fd::AsFd;

use spec::HostAddress;
use spec::control::{ACCESS_POINT, AccessPoint};

use super::Supervisor;
use crate::command_line::Mode;
use crate::library::Complaint;
use crate::machine::Event;
use crate::sys;

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
                    Some((ACCESS_POINT, own)) => self.set_access_point(number, own),
                    _ => {}
                }
            }
        }
    }

    fn set_access_point(&mut self, number: u32, own: &str) {
        if let Some(service) = self.services.get_mut(&number).filter(|service| service.is_network_keeper()) {
            let own = own.parse::<HostAddress>().ok();
            service.access_point = own.map(|own| AccessPoint { address: own.address(), prefix: own.prefix() });
        }
    }

    fn set_status(&mut self, number: u32, status: &str) {
        let status = self.secrets.redactor.redact(status);
        let Some(service) = self.services.get_mut(&number) else { return };
        let shown: String = status.chars().filter(|c| !c.is_control()).take(200).collect();
        service.status = Some(shown).filter(|status| !status.is_empty());
        let name = service.name().clone();
        self.show_network(&name);
    }

    /// Says something to whoever started init (on an appliance: to the kernel's log), and writes it down as a line of
    /// the service `init`.
    pub(super) fn say(&mut self, text: &str) {
        text.lines().for_each(|line| self.show(line));
        self.note(text);
    }

    /// Shows a line where init itself is heard.
    pub(super) fn show(&self, line: &str) {
        let line = self.secrets.redactor.redact(line);
        match self.mode {
            Mode::Developer => sys::write_stderr(&line),
            Mode::Appliance => sys::write_kernel_log(&line),
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
        for fd in
            [ends.notify.as_fd(), ends.stream.reader.as_fd()].into_iter().chain(ends.arc.as_ref().map(AsFd::as_fd))
        {
            self.poll.remove(fd);
        }
    }
}
