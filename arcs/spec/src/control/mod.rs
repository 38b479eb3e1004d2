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
//! | [`SETUP_CODE_WITHDRAW`] | – | `{}`: there is none, and the machine stays whose it is |
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

mod claim;
mod logs;
mod status;
mod wifi;

use serde::{Deserialize, Serialize};

pub use self::claim::{Certificate, Claimed, Code, Ownership};
pub use self::logs::{LogAnswer, LogLine, LogQuery, LogResume, NextLines};
pub use self::status::{CageInfo, CagesInfo, MachineStatus, Metrics, ServiceInfo, ServiceState, ServiceUsage};
pub use self::wifi::{AccessPoint, BySsid, WifiJoin, WifiSeen};
pub use crate::redaction::Fingerprints;
use crate::values::{HostPort, Name};

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
/// Makes the set-up code of a machine that has an owner void.
pub const SETUP_CODE_WITHDRAW: &str = "setup_code_withdraw";
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
