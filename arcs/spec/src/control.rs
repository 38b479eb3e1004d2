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
//! | [`CAGE`] | [`ByName`] | [`CageInfo`] |
//! | [`CAGES`] | – | [`CagesInfo`] |
//! | [`NETWORK_SOCKET`] | [`ByName`] | `{}`; attached: a TCP socket in the network of that service, not connected |
//! | [`SECRET_SET`] | [`ByName`] | [`SecretInfo`]. Attached: the value, in a sealed memory file |
//! | [`SECRET_LIST`] | – | `[SecretInfo]`: those that are set, and those that are named and not set |
//! | [`SECRET_DELETE`] | [`ByName`] | [`SecretInfo`] of what is gone |
//! | [`WIFI_SCAN`] | – | `[WifiSeen]`: the Wi-Fi networks in reach, the strongest first |
//! | [`WIFI_JOIN`] | [`WifiJoin`] | `{}` once the machine is in that network; from then on it joins it by itself, also after a restart |
//! | [`WIFI_FORGET`] | [`BySsid`] | `{}`; the machine joins it no more |
//! | [`SETUP_CODE`] | – | [`Code`]: a new one, with which the machine can be claimed anew. An appliance alone knows it |
//! | [`CLAIM`] | [`Code`] | [`Claimed`], once. For the gateway alone, as the next two |
//! | [`CLAIM_USED`] | – | `{}`: whoever claimed the machine has shown the token |
//! | [`CERTIFICATE`] | [`Certificate`] | `{}`: by what the gateway is known, for the screen |
//!
//! The value of a secret is in no message: it is the content of a memory file (memfd_create(2)) of 1 to [`SECRET_MAX`]
//! bytes that can no longer be changed (`F_SEAL_WRITE`, `F_SEAL_SHRINK`, `F_SEAL_GROW`), whose descriptor is attached to
//! the message (`SCM_RIGHTS`). Nothing answers a value. These three are for clients of the socket; the gateway is
//! refused them on its channel.
//!
//! On the control channel init also notifies unasked: [`ARC_ADDED`] for each Arc and whatever else has a cage of its
//! own, at once for those that are there and later for those that appear. Attached to the message (`SCM_RIGHTS`) are two
//! listening UNIX sockets: the one on which that Arc will call the gateway, and the one on which it will find the egress
//! proxy. [`EGRESS_PORT`] comes at each start of an Arc that may call out; attached is a listening TCP socket on the
//! Arc's own loopback ([`EGRESS_PORT_NUMBER`]), which takes the place of the one before. [`ARC_REMOVED`] comes when its
//! manifest is gone. [`SERVICE_STATE`] tells each change of a
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
//! | [`REDACT`] | [`Fingerprints`] | hides the secrets that these know in each line, before it is kept anywhere |
//!
//! `netd` inherits a channel of its own as well, on which init passes on [`WIFI_SCAN`], [`WIFI_JOIN`] and [`WIFI_FORGET`] as
//! they came, and `netd` answers. What is joined and forgotten, init keeps. The passphrase of a [`WifiJoin`] is the one
//! secret that is in a message: whoever sets a machine up types it into a page of the gateway.
//!
//! The gateway is notified of [`REDACT`] as well. It comes first of all, and again whenever a secret is set or deleted.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

pub use crate::redaction::Fingerprints;
use crate::values::{HostPort, Name};
use crate::wifi::{Country, Ssid};

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

/// The port on an Arc's own loopback where it finds the egress proxy: `HTTP_PROXY` says so.
pub const EGRESS_PORT_NUMBER: u16 = 3128;

/// Notification to the gateway: an Arc has started, and its own loopback with it; params are [`ByName`].
pub const EGRESS_PORT: &str = "egress.port";
/// Asked by the gateway: a socket in the network of a service; params are [`ByName`].
pub const NETWORK_SOCKET: &str = "network.socket";
/// The cage of a service, in words; params are [`ByName`].
pub const CAGE: &str = "cage";
/// What this kernel gives to cages.
pub const CAGES: &str = "cages";
/// Sets a secret.
pub const SECRET_SET: &str = "secret.set";
/// The names of all secrets.
pub const SECRET_LIST: &str = "secret.list";
/// Forgets a secret.
pub const SECRET_DELETE: &str = "secret.delete";
/// The Wi-Fi networks in reach.
pub const WIFI_SCAN: &str = "network.scan";
/// Joins a Wi-Fi network, now and from now on.
pub const WIFI_JOIN: &str = "network.join";
/// Joins a Wi-Fi network no more.
pub const WIFI_FORGET: &str = "network.forget";
/// A new set-up code.
pub const SETUP_CODE: &str = "setup_code";
/// Somebody has entered a set-up code.
pub const CLAIM: &str = "claim";
/// Somebody has shown the token that a claim gave.
pub const CLAIM_USED: &str = "claim.used";
/// The gateway has a certificate.
pub const CERTIFICATE: &str = "certificate";
/// What `netd` says of itself beside its status (sd_notify(3)): the machine's own address in the network of its set-up access
/// point, `10.41.73.1/24`, or nothing where there is none.
pub const ACCESS_POINT: &str = "X_ACCESS_POINT";
/// Notification: the fingerprints of all secrets; params are [`Fingerprints`].
pub const REDACT: &str = "redact";
/// The most bytes that a secret has.
pub const SECRET_MAX: usize = 64 * 1024;

/// Names of the descriptors that a service inherits (`LISTEN_FDNAMES`).
pub mod fd {
    /// An Arc's own MCP socket, listening.
    pub const MCP: &str = "mcp";
    /// The gateway's UNIX socket, listening.
    pub const GATEWAY: &str = "gateway.sock";
    /// The control channel of init: a connected UNIX stream socket.
    pub const CONTROL: &str = "control";
    /// The gateway's TCP socket for TLS, listening; it goes without where there is no address for it.
    pub const HTTPS: &str = "https";
    /// The channel between init and logd: a connected UNIX stream socket.
    pub const LOGS: &str = "logs";
    /// The channel between init and netd: a connected UNIX stream socket.
    pub const NETWORK: &str = "network";
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
    /// The folder with a file for each secret that the Arc is handed, by the secret's name: `/run/secrets` in a cage.
    /// Absent where it is handed none.
    pub const SECRETS: &str = "ARC_SECRETS";
    /// The egress proxy, `http://ADDRESS:PORT`. Absent where the Arc reaches no host, or is in no cage.
    pub const PROXY: &str = "ARC_PROXY";
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

/// A set-up code, as somebody has entered it or as it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The code.
    pub code: String,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(not shown)")
    }
}

/// What whoever claims a machine is given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Who shows it is the owner from now on; a [`crate::Token`].
    pub token: String,
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claimed(not shown)")
    }
}

/// By what a browser knows the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The SHA-256 of its certificate, as browsers show it: 32 pairs of digits, `AB:CD:…`.
    pub sha256: String,
}

/// Whose a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// Nobody's: somebody may claim it with a set-up code.
    Open,
    /// It has an owner, whose token counts, until somebody claims it anew with a set-up code.
    Reopened,
    /// Somebody has entered the set-up code and was given the token, and nobody has shown that yet.
    Given,
    /// Somebody has claimed it.
    Claimed,
    /// Its owner has put a token into `llmbasedos.toml`, so that there is nothing to claim.
    Settled,
}

/// What anybody may know of a secret: all but its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Its name.
    pub name: Name,
    /// When it was set, in milliseconds since 1970; `None`: something names it, and it is not set.
    pub set_ms: Option<u64>,
    /// The Arcs that are handed it, by their manifests or by `[grants]` of the system configuration.
    pub arcs: Vec<Name>,
}

/// A Wi-Fi network in reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WifiSeen {
    /// What it calls itself.
    pub ssid: Ssid,
    /// How strong it is here, in dBm: −40 is close by, −80 hardly to be heard.
    pub signal_dbm: i32,
    /// Whether it takes a passphrase.
    pub secured: bool,
}

/// Params of [`WIFI_JOIN`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WifiJoin {
    /// The network.
    pub ssid: Ssid,
    /// What opens it; nothing for an open network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// The country that the machine is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// Whether it does not tell its name.
    #[serde(default)]
    pub hidden: bool,
}

impl fmt::Debug for WifiJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WifiJoin").field("ssid", &self.ssid).finish_non_exhaustive()
    }
}

/// Params of [`WIFI_FORGET`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BySsid {
    /// The network.
    pub ssid: Ssid,
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
    /// Hosts that the owner grants it beside those of the manifest.
    #[serde(default)]
    pub egress: Vec<HostPort>,
    /// Whether others reach it at the port that its manifest `serves`: it is the system's own, or the owner grants it.
    #[serde(default)]
    pub serves: bool,
}

/// The network of a set-up access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPoint {
    /// The machine's own address in it.
    pub address: Ipv4Addr,
    /// How many bits of the address, from the left, are those of the network.
    pub prefix: u8,
}

impl AccessPoint {
    /// Whether a connection from `peer` to `own` came through it: it ends at the machine's address there and begins in that
    /// very network, for a machine is reached at each of its addresses through all of its links.
    #[must_use]
    pub fn is_way_of(self, peer: IpAddr, own: IpAddr) -> bool {
        let (IpAddr::V4(peer), IpAddr::V4(own)) = (peer.to_canonical(), own.to_canonical()) else { return false };
        let host_bits = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        own == self.address && (peer.to_bits() | host_bits) == (own.to_bits() | host_bits)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_of_the_access_point_comes_from_its_network() {
        let network = AccessPoint { address: Ipv4Addr::new(10, 41, 73, 1), prefix: 24 };
        let is_way = |peer: &str, own: &str| {
            network.is_way_of(peer.parse().expect("an address"), own.parse().expect("an address"))
        };
        assert!(is_way("10.41.73.17", "10.41.73.1") && is_way("::ffff:10.41.73.17", "::ffff:10.41.73.1"));
        for (peer, own) in [("192.168.1.7", "10.41.73.1"), ("10.41.73.17", "192.168.1.24"), ("fe80::1", "fe80::2")] {
            assert!(!is_way(peer, own), "{peer} {own}");
        }
    }

    #[test]
    fn a_query_may_be_empty() {
        let query: LogQuery = serde_json::from_str("{}").expect("all is optional");
        assert_eq!(query, LogQuery::default());
        assert!(serde_json::from_str::<LogQuery>(r#"{"line": 3}"#).is_err());
    }
}
