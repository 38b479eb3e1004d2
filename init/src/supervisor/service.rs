//! One service as the supervisor holds it: its manifest, its life, its sockets and its process.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use spec::control::{AccessPoint, ArcAdded, ServiceInfo, ServiceState};
use spec::{Name, Network, Origin, SystemConfig, Transport, paths};

use super::stream::Stream;
use crate::connection::Connection;
use crate::layout::Layout;
use crate::machine::{Machine, Rules};
use crate::manifests::Candidate;
use crate::sys::{self, Child, Exit, Group, Groups, Refusals};

/// A service.
pub(super) struct Service {
    pub(super) candidate: Candidate,
    pub(super) rules: Rules,
    pub(super) machine: Machine,
    /// Milliseconds since 1970.
    pub(super) since_ms: u64,
    /// Its ends of what it is reached by, or why they could not be made.
    pub(super) ends: Result<Ends, String>,
    pub(super) group: Group,
    pub(super) process: Option<Process>,
    /// The control channel, for as long as its process lives.
    pub(super) channel: Option<Connection>,
    /// What its processes try that they may not, for as long as there are any.
    pub(super) refusals: Option<Refusals>,
    /// How often each system call was refused.
    pub(super) refused: BTreeMap<&'static str, u32>,
    /// The listening socket on its own loopback where it finds the egress proxy.
    pub(super) proxy: Option<OwnedFd>,
    /// A copy of the connection that is its standard input and output, to hear when nobody is at the other end.
    pub(super) conversation: Option<UnixStream>,
    /// Whether connections to its sockets are waited for.
    pub(super) is_listened_for: bool,
    /// Its manifest is gone: it goes when its process has.
    pub(super) is_leaving: bool,
    /// It failed because its `after` cannot be fulfilled, which another manifest may change.
    pub(super) is_misordered: bool,
    /// Why its processes do nothing, while that is so.
    pub(super) frozen: Option<String>,
    /// What it last reported.
    pub(super) status: Option<String>,
    /// The network of the set-up access point, of which the keeper of the network tells.
    pub(super) access_point: Option<AccessPoint>,
    /// What its process wrote last, as far as init has read it in the place of `logd`.
    pub(super) last_line: Option<String>,
}

/// What init keeps for a service whether it runs or not.
pub(super) struct Ends {
    /// Where an Arc answers.
    pub(super) arc: Option<UnixListener>,
    /// Where an Arc calls; the gateway accepts there.
    pub(super) caller: Option<UnixListener>,
    /// Where it finds the egress proxy; the gateway accepts there.
    pub(super) egress: Option<UnixListener>,
    /// Where the gateway listens.
    pub(super) gateway: Option<UnixListener>,
    /// Where it says that it is ready.
    pub(super) notify: UnixDatagram,
    /// What it writes.
    pub(super) stream: Stream,
}

/// The process of a service.
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) pid: u32,
    /// Set once it has ended; others that it started may still be there then.
    pub(super) ended: Option<Exit>,
}

impl Service {
    pub(super) fn new(candidate: Candidate, number: u32, layout: &Layout, groups: &Groups) -> Self {
        let rules = Rules::of(&candidate.manifest);
        let name = candidate.manifest.name.as_str();
        Self {
            group: groups.group(name, number, layout.mark(name)),
            ends: Ends::make(&candidate, layout),
            machine: Machine::new(&rules),
            since_ms: sys::unix_millis(),
            candidate,
            rules,
            process: None,
            channel: None,
            refusals: None,
            refused: BTreeMap::new(),
            proxy: None,
            conversation: None,
            is_listened_for: false,
            is_leaving: false,
            is_misordered: false,
            frozen: None,
            status: None,
            access_point: None,
            last_line: None,
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.candidate.manifest.name
    }

    pub(super) fn state(&self) -> ServiceState {
        self.machine.state()
    }

    /// Whether the gateway is told of it: an Arc, or something else with a network of its own.
    pub(super) fn is_arc(&self) -> bool {
        self.candidate.manifest.cage.network == Network::Own
            && !self.candidate.manifest.logs
            && self.ends.is_ok()
            && !self.is_leaving
    }

    /// Whether it is the one that is told of Arcs and of services.
    pub(super) fn is_gateway(&self) -> bool {
        self.channel.is_some() && self.candidate.manifest.control
    }

    /// Whether it is that one, and answers.
    pub(super) fn is_running_gateway(&self) -> bool {
        self.is_gateway() && self.state() == ServiceState::Running
    }

    /// Whether it keeps what services write.
    pub(super) fn is_log_keeper(&self) -> bool {
        self.candidate.manifest.logs && !self.is_leaving
    }

    /// Whether it is the one that speaks to the radio.
    pub(super) fn is_network_keeper(&self) -> bool {
        self.candidate.manifest.network && !self.is_leaving
    }

    /// The process that has not ended yet.
    pub(super) fn living(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.ended.is_none())
    }

    pub(super) fn info(&self) -> ServiceInfo {
        let manifest = &self.candidate.manifest;
        let state = self.state();
        let failure = self.machine.reason().map(|reason| match state {
            ServiceState::Running | ServiceState::Starting => format!("last failure: {reason}"),
            _ => reason.to_owned(),
        });
        ServiceInfo {
            name: manifest.name.clone(),
            description: manifest.description.clone(),
            version: manifest.version.clone(),
            state,
            reason: self.frozen.clone().or(self.status.clone().filter(|_| self.machine.is_alive())).or(failure),
            pid: self.living().map(|process| process.pid),
            since_ms: self.since_ms,
            restarts: self.machine.restarts(),
        }
    }

    /// What the gateway is told of it; `run` is the run folder as the gateway sees it.
    pub(super) fn added(&self, run: &Path, config: &SystemConfig) -> ArcAdded {
        let socket = paths::arc_socket(run, self.name().as_str());
        let grant = config.grants.get(self.name()).cloned().unwrap_or_default();
        ArcAdded {
            manifest: self.candidate.text.clone(),
            socket: socket.display().to_string(),
            egress: grant.egress,
            serves: grant.serves || self.candidate.origin == Origin::System,
        }
    }
}

impl Ends {
    pub(super) fn make(candidate: &Candidate, layout: &Layout) -> Result<Self, String> {
        let manifest = &candidate.manifest;
        let name = manifest.name.as_str();
        let listen = |wanted: bool, path: &Path| match wanted {
            true => sys::bind_unix(path).map(Some).map_err(|error| refused(path, &error)),
            false => Ok(None),
        };
        let is_arc = manifest.transport != Transport::None;
        let is_caged = manifest.cage.network == Network::Own;
        let notify = layout.notify_socket(name);
        Ok(Self {
            arc: listen(is_arc, &paths::arc_socket(&layout.run, name))?,
            caller: listen(is_caged, &paths::caller_socket(&layout.run, name))?,
            egress: listen(is_caged, &paths::egress_socket(&layout.run, name))?,
            gateway: listen(manifest.control, &paths::gateway_socket(&layout.run))?,
            notify: sys::bind_datagram(&notify).map_err(|error| refused(&notify, &error))?,
            stream: Stream::make().map_err(|error| format!("cannot make a pipe: {error}"))?,
        })
    }
}

/// The one trouble that people meet is a path that is longer than a socket's may be (107 bytes, unix(7)).
fn refused(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::InvalidInput => {
            format!("{shown}: the path is too long for a socket (107 bytes at most): choose a shorter --data")
        }
        _ => format!("{shown}: cannot be bound: {error}"),
    }
}
