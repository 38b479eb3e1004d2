//! Messages that tell how the machine, its services and their cages are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claim::Ownership;
use super::wifi::AccessPoint;
use crate::values::Name;

/// How the machine as a whole is doing. What only an appliance has is absent on a developer's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// The version of init.
    pub version: String,
    /// The name of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Whether every service that starts at boot runs or will not.
    pub ready: bool,
    /// How long the kernel runs.
    pub uptime_seconds: f64,
    /// How long the kernel ran before PID 1 did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_seconds: Option<f64>,
    /// How long the kernel ran until `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_seconds: Option<f64>,
    /// The slot that runs: `a` or `b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<char>,
    /// Where the data lie and how much room there is, in words; or why they cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Its addresses, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// The network of its set-up access point, while it has one: who comes by that may join it to a
    /// Wi-Fi network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_point: Option<AccessPoint>,
    /// The SHA-256 of the gateway's certificate, as browsers show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_sha256: Option<String>,
    /// The hardware watchdog resets the machine when PID 1 makes no progress for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_seconds: Option<u32>,
    /// What is wrong with files of the owner: file, line, key and what would be right.
    pub problems: Vec<String>,
}

/// The cage of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CageInfo {
    /// The service.
    pub name: Name,
    /// What it may touch and what bounds it, a sentence each without its subject: `reads /data/quests`.
    pub may: Vec<String>,
    /// Layers of the cage that this kernel does not give, each with why.
    pub missing: Vec<String>,
    /// How often its cage refused each system call since it was started.
    pub refused: BTreeMap<String, u32>,
}

/// What this kernel gives to cages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CagesInfo {
    /// The layers that every cage has here, by the words of manifests.
    pub layers: Vec<String>,
    /// Those that it does not have, each with why.
    pub missing: Vec<String>,
}

/// What the machine and its services use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The memory of the machine, in bytes.
    pub memory_total: u64,
    /// What of it programs can still get.
    pub memory_available: u64,
    /// Where the kernel measures it: how much of the last ten seconds, in percent, something waited for the CPU, for
    /// memory, for disks (Linux, `Documentation/accounting/psi.rst`, `some avg10`).
    pub pressure: BTreeMap<String, f64>,
    /// What each service uses that has a process; `init` is one of them.
    pub services: Vec<ServiceUsage>,
}

/// What the processes of a service use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUsage {
    /// The service.
    pub name: Name,
    /// How many processes it has.
    pub processes: usize,
    /// Their memory in bytes, what they share counted in shares (PSS, proc_pid_smaps(5)).
    pub memory: u64,
    /// How long they have kept a CPU busy, in milliseconds.
    pub cpu_ms: u64,
}

/// How a service is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Its state.
    pub state: ServiceState,
    /// Why, where there is something to say: the last failure, or what the service itself reported (`STATUS=`).
    pub reason: Option<String>,
    /// Its process, while it has one.
    pub pid: Option<u32>,
    /// Since when it is in this state, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often it was started again because it had failed.
    pub restarts: u32,
}

/// The states of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Not running, and nothing will start it but a person.
    Stopped,
    /// Not running; the next connection to its socket starts it.
    Listening,
    /// Waits for the services that it comes after.
    Waiting,
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Asked to stop.
    Stopping,
    /// Failed; will be started again in a moment.
    Backoff,
    /// Failed too often, or cannot be started at all; the reason says why.
    Failed,
}
