//! What the machine and its services use.

use std::collections::BTreeMap;
use std::fs;

use spec::control::{Metrics, ServiceUsage};

use super::Supervisor;
use crate::sys;

impl Supervisor {
    /// Measures it now.
    pub(super) fn metrics(&self) -> Metrics {
        let memory = sys::memory().unwrap_or_default();
        let own = self.own_name.clone().map(|name| (name, sys::own_usage()));
        let of_services = self.services.values().filter_map(|service| {
            let process = service.process.as_ref()?;
            Some((service.name().clone(), service.group.usage(process.pid)))
        });
        let services = own.into_iter().chain(of_services).map(|(name, usage)| ServiceUsage {
            name,
            processes: usage.processes,
            memory: usage.memory,
            cpu_ms: usage.cpu_ms,
        });
        Metrics {
            memory_total: memory.total,
            memory_available: memory.available,
            pressure: pressure(),
            services: services.collect(),
        }
    }
}

/// What the kernel measures of it; a kernel that does not has no such files.
fn pressure() -> BTreeMap<String, f64> {
    let read = |resource: &str| {
        let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let percent = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
        Some((resource.to_owned(), percent.parse().ok()?))
    };
    ["cpu", "io", "memory"].into_iter().filter_map(read).collect()
}
