//! What an appliance shows on its screen, and what it answers to `status`. On a developer's machine the log of init
//! goes to the terminal instead, and there is no screen.

use spec::Name;
use spec::control::{AccessPoint, MachineStatus, ServiceInfo, ServiceState};

use super::Supervisor;
use super::end::Stage;
use super::service::Service;
use crate::boot::{Screen, has_address, seconds_since_boot};
use crate::command_line::Mode;
use crate::sys;

/// The service that says which address the machine has.
const NETWORK: &str = "netd";

impl Supervisor {
    /// Takes the name that the owner gave the machine.
    pub(super) fn take_host_name(&mut self) {
        if let Err(error) = sys::set_host_name(self.config.host_name()) {
            self.say(&format!("cannot take the host name {}: {error}", self.config.host_name()));
        }
    }

    /// Says something that a person at the machine should read, and logs it.
    pub(super) fn announce(&mut self, text: &str) {
        if self.mode == Mode::Appliance {
            sys::write_screens(text);
        }
        self.say(text);
    }

    /// Shows the machine as it is, once it is up.
    pub(super) fn show_screen(&self) {
        let Some(appliance) = &self.appliance else { return };
        let mut screen = Screen::of(appliance);
        let infos: Vec<ServiceInfo> = self.services.values().map(Service::info).collect();
        screen.lines.push(("network", self.network()));
        if !self.problems.is_empty() {
            screen.lines.push(("settings", "not all of them are sound, see above".to_owned()));
        }
        screen.lines.push(("services", services(&infos, self.ready_seconds.unwrap_or_default())));
        screen.lines.extend(failures(&infos).map(|failure| ("", failure)));
        screen.lines.extend(self.claim_lines());
        sys::write_screens(&screen.to_string());
    }

    /// Shows that the address has changed.
    pub(super) fn show_network(&mut self, service: &Name) {
        if self.appliance.is_none() || service.as_str() != NETWORK {
            return;
        }
        // In a network of its own the machine is in nobody's.
        let is_alone = self.access_point().is_some();
        self.has_address = has_address() && !is_alone;
        if self.stage == Stage::Up {
            sys::write_screens(&Screen::line(&("network", self.network())));
        }
    }

    fn network(&self) -> String {
        let status = self.network_status().unwrap_or_else(|| "no address yet".to_owned());
        format!("{status} · http://{}.local", self.config.host_name())
    }

    fn network_status(&self) -> Option<String> {
        let service = self.services.values().find(|service| service.name().as_str() == NETWORK);
        service.and_then(|service| service.status.clone())
    }

    fn access_point(&self) -> Option<AccessPoint> {
        let keeper = self.services.values().find(|service| service.is_network_keeper() && service.living().is_some());
        keeper.and_then(|service| service.access_point)
    }

    /// How the machine as a whole is doing.
    pub(super) fn status(&self) -> MachineStatus {
        let appliance = self.appliance.as_ref();
        MachineStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host_name: appliance.map(|_| self.config.host_name().to_string()),
            ready: self.stage == Stage::Up,
            uptime_seconds: seconds_since_boot(),
            kernel_seconds: appliance.and_then(|appliance| appliance.started),
            ready_seconds: self.ready_seconds,
            slot: appliance.and_then(|appliance| appliance.slot()),
            data: appliance.map(|appliance| appliance.describe_data()),
            network: appliance.map(|_| self.network()),
            ownership: self.ownership(),
            access_point: self.access_point(),
            certificate_sha256: self.certificate.as_ref().map(|known| known.sha256.clone()),
            watchdog_seconds: appliance.and_then(|appliance| appliance.upkeep.watchdog_seconds()),
            problems: self.problems.clone(),
        }
    }
}

/// `9 up · 0 failed`, and when.
fn services(infos: &[ServiceInfo], seconds: f64) -> String {
    let count = |states: &[ServiceState]| infos.iter().filter(|info| states.contains(&info.state)).count();
    let up = count(&[ServiceState::Running, ServiceState::Listening]);
    let line = format!("{up} up · {} failed", count(&[ServiceState::Failed]));
    format!("{line:<46}ready in {seconds:.1} s")
}

fn failures(infos: &[ServiceInfo]) -> impl Iterator<Item = String> {
    let failed = infos.iter().filter(|info| info.state == ServiceState::Failed);
    failed.map(|info| format!("{}: {}", info.name, info.reason.as_deref().unwrap_or("failed")))
}
