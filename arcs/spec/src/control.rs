//! What is spoken on `init.sock` and on the control channel that the gateway inherits: JSON-RPC 2.0, a message a line.
//!
//! | method | params | result |
//! | --- | --- | --- |
//! | [`SERVICES`] | – | `[ServiceInfo]`, in start order |
//! | [`STATUS`] | – | [`MachineStatus`] |
//! | [`METRICS`] | – | [`Metrics`] |
//! | [`START`], [`STOP`], [`RESTART`] | [`ByName`] | the service's [`ServiceInfo`] once that is done |
//! | [`POWEROFF`], [`REBOOT`] | – | `{}` at once; then everything is stopped in order. An appliance alone knows them |
//! | [`LOGS`] | [`LogQuery`] | `[LogLine]`; with `follow`, then a [`LOG`] notification for each new line |
//! | [`UNFOLLOW`] | – | `{}`; no more of these notifications |
//!
//! On the control channel init also notifies unasked: [`ARC_ADDED`] for each Arc, at once for those that are there and
//! later for those that appear, with the listening socket on which that Arc will call the gateway attached to the
//! message (`SCM_RIGHTS`), and [`ARC_REMOVED`] when its manifest is gone. [`SERVICE_STATE`] tells each change of a
//! service's state: a connection to the socket of a service that is stopped or has failed would wait for ever, so the
//! gateway answers for it.
//!
//! `logd` inherits a channel of its own, on which the same form is spoken. There init begins:
//!
//! | method | params | what logd does |
//! | --- | --- | --- |
//! | [`LOG_STREAM`] | [`ByName`] | keeps what that service writes. Attached: the reading end of its pipe, its journal |
//! | [`LOGS`] | [`LogQuery`] | answers [`LogAnswer`]; with `follow`, then sends a [`LOG`] for each line of any service |
//! | [`LOG_RESUME`] | [`LogResume`] | sends a [`LOG`] for each line from there on, as it did before it was started anew |
//! | [`UNFOLLOW`] | – | sends no more of them |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::values::Name;

/// All services.
pub const SERVICES: &str = "services";
/// The machine as a whole.
pub const STATUS: &str = "status";
/// What the machine and each service use.
pub const METRICS: &str = "metrics";
/// Starts a service.
pub const START: &str = "start";
/// Stops a service; it stays stopped until it is started.
pub const STOP: &str = "stop";
/// Stops a service and starts it again.
pub const RESTART: &str = "restart";
/// Stops everything and switches the machine off.
pub const POWEROFF: &str = "poweroff";
/// Stops everything and restarts the machine.
pub const REBOOT: &str = "reboot";
/// The last lines that services wrote.
pub const LOGS: &str = "logs";
/// No more of the lines that a query with `follow` asked for.
pub const UNFOLLOW: &str = "unfollow";
/// Notification: a line that a service wrote; params are a [`LogLine`].
pub const LOG: &str = "log";
/// Notification to logd: there is a service, or init itself, whose output is to be kept.
pub const LOG_STREAM: &str = "log.stream";
/// Notification to logd: somebody follows, and knows the lines up to here.
pub const LOG_RESUME: &str = "log.resume";
/// Notification: there is an Arc; params are [`ArcAdded`].
pub const ARC_ADDED: &str = "arc.added";
/// Notification: an Arc is gone; params are [`ByName`].
pub const ARC_REMOVED: &str = "arc.removed";
/// Notification: a service changed its state; params are its [`ServiceInfo`].
pub const SERVICE_STATE: &str = "service.state";

/// Names of the descriptors that a service inherits (`LISTEN_FDNAMES`).
pub mod fd {
    /// An Arc's own MCP socket, listening.
    pub const MCP: &str = "mcp";
    /// The gateway's UNIX socket, listening.
    pub const GATEWAY: &str = "gateway.sock";
    /// The control channel of init: a connected UNIX stream socket.
    pub const CONTROL: &str = "control";
    /// The channel between init and logd: a connected UNIX stream socket.
    pub const LOGS: &str = "logs";
}

/// Environment variables that init sets for a service, beside `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`,
/// `NOTIFY_SOCKET` and `RUST_LOG`.
pub mod env {
    /// The Arc's name.
    pub const NAME: &str = "ARC_NAME";
    /// Where `/data` of the manifest's paths lies for this process: `/data` in a cage.
    pub const DATA: &str = "ARC_DATA";
    /// The socket on which the Arc calls the gateway.
    pub const GATEWAY: &str = "MCP_GATEWAY";
    /// The Arc's settings from the system configuration, a TOML file. Absent where there are none.
    pub const SETTINGS: &str = "ARC_SETTINGS";
    /// Milliseconds without a call after which the Arc exits. Absent: never.
    pub const IDLE_EXIT_MS: &str = "ARC_IDLE_EXIT_MS";
    /// Microseconds within which the service says `WATCHDOG=1` on its `NOTIFY_SOCKET` (`sd_watchdog_enabled(3)`).
    /// Absent: nobody asks.
    pub const WATCHDOG: &str = "WATCHDOG_USEC";
}

/// Params that name a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByName {
    /// The service.
    pub name: Name,
}

/// Params of [`LOGS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// One service; `None`: all of them.
    #[serde(default)]
    pub name: Option<Name>,
    /// How many of the last lines, [`LogQuery::DEFAULT_LINES`] unless stated.
    #[serde(default)]
    pub lines: Option<u32>,
    /// Whether to go on with each new line.
    #[serde(default)]
    pub follow: bool,
}

impl LogQuery {
    /// How many lines are answered unless stated.
    pub const DEFAULT_LINES: u32 = 100;
}

/// A line that a service wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The service, or `init` itself.
    pub service: Name,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What, without the line's end.
    pub text: String,
    /// Its place among the lines of its service: each has the number after that of the line before. Those of this run
    /// of init count from 0; older ones, which were found in files, are below.
    #[serde(default)]
    pub number: i64,
}

/// The numbers of the lines that come next, by service.
pub type NextLines = BTreeMap<Name, i64>;

/// What logd answers to [`LOGS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The lines that were asked for, oldest first.
    pub lines: Vec<LogLine>,
    /// What comes next of each service.
    pub next: NextLines,
}

/// Params of [`LOG_RESUME`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogResume {
    /// The first line of each service that is not known yet; 0 of one that is not named.
    pub next: NextLines,
}

/// Params of [`ARC_ADDED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcAdded {
    /// Its `arc.toml`, as init read it.
    pub manifest: String,
    /// The path of the socket on which it answers.
    pub socket: String,
}

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
    /// The hardware watchdog resets the machine when PID 1 makes no progress for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_seconds: Option<u32>,
    /// What is wrong with files of the owner: file, line, key and what would be right.
    pub problems: Vec<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_be_empty() {
        let query: LogQuery = serde_json::from_str("{}").expect("all is optional");
        assert_eq!(query, LogQuery::default());
        assert!(serde_json::from_str::<LogQuery>(r#"{"line": 3}"#).is_err());
    }
}
