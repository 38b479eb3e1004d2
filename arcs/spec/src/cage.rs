//! `[cage]` of `arc.toml`: what an Arc may touch beside its own folder, and what bounds it.

use std::fmt;

use crate::bound::Bound;
use crate::document::Section;
use crate::paths;
use crate::values::{ByteSize, HostPort, choice};

/// What an Arc may touch. Everything is refused that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cage {
    /// Hosts that it may reach through the egress proxy.
    pub egress: Vec<HostPort>,
    /// How much it may move there.
    pub traffic: Traffic,
    /// The port on its own loopback where others may reach it, through the egress proxy: a model server's.
    pub serves: Option<u16>,
    /// The network that it is in.
    pub network: Network,
    /// Folders and files that it sees beside its own data.
    pub mounts: Vec<Mount>,
    /// Whether it sees its own processes below `/proc`.
    pub proc: bool,
    /// System calls that it may make beside those of an ordinary server.
    pub allow: Vec<Extra>,
    /// System services only: what it may do of what else only root may.
    pub capabilities: Vec<Capability>,
    /// The bound on its memory.
    pub memory_max: Bound,
    /// The bound on its processes and threads.
    pub pids_max: u32,
    /// Its share of the CPU where it is short, 1 to 10000 (Linux, `cgroup-v2.rst`, `cpu.weight`).
    pub cpu_weight: u32,
    /// The bound on what it keeps on the disk.
    pub disk_max: Bound,
    /// Layers of the cage that it cannot do without: where a kernel lacks one of them it does not start.
    pub requires: Vec<Layer>,
}

/// How much an Arc may move through the egress proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Connections at once.
    pub connections: u32,
    /// New connections a minute.
    pub per_minute: u32,
    /// Bytes a second, both ways together.
    pub rate: ByteSize,
    /// Bytes a day, both ways together.
    pub per_day: ByteSize,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { connections: 32, per_minute: 300, rate: ByteSize(64 << 20), per_day: ByteSize(4 << 30) }
    }
}

impl Traffic {
    fn read(section: &Section<'_>) -> Option<Self> {
        let usual = Self::default();
        Some(Self {
            connections: section.or("connections", usual.connections),
            per_minute: section.or("per_minute", usual.per_minute),
            rate: section.or("rate", usual.rate),
            per_day: section.or("per_day", usual.per_day),
        })
    }
}

/// What bounds an Arc that does not say otherwise.
const MEMORY_MAX: Bound = Bound::Bytes(ByteSize(128 << 20));
const PIDS_MAX: u32 = 64;
const CPU_WEIGHT: u32 = 100;
const DISK_MAX: Bound = Bound::Bytes(ByteSize(1 << 30));

/// A folder or file that an Arc sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its path, absolute, the same inside the cage as outside (`/data/sites`).
    pub path: String,
    /// What may be done there.
    pub mode: MountMode,
}

/// What may be done in a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountMode {
    /// Reading.
    Ro,
    /// Reading, and running the programs and libraries in it.
    Rx,
    /// Reading and writing.
    Rw,
}

/// The network that a service is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// One of its own, with nothing in it but its own loopback.
    Own,
    /// The machine's: for the services that are part of init.
    Host,
}

/// System calls beside those of an ordinary server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// Code that is made while it runs: memory that is both written and executed.
    Jit,
    /// TCP between its own processes, at every port of its own loopback: in a network of its own, where nothing else is.
    Loopback,
    /// Libraries that it loads itself, from folders that it may execute from. Where the program names its dynamic loader
    /// that is known without a word.
    Libraries,
    /// Processes of its own: fork, exec, signals to them.
    Processes,
    /// `openat2(2)`, which keeps a path inside a folder. The mode that it gives to a new file cannot be checked.
    Openat2,
    /// What runtimes for scripts ask for beside all this: messages with descriptors, inotify, memory files.
    Runtime,
}

/// A capability (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Links, addresses, routes.
    NetAdmin,
    /// Ports below 1024.
    NetBindService,
    /// Raw and packet sockets.
    NetRaw,
    /// The clock.
    SysTime,
}

/// A layer of the cage, as it is called in `requires` and in what is said of a kernel that lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A user id of its own.
    User,
    /// A file system of its own, with nothing in it but what it may see.
    Files,
    /// It sees no processes but its own.
    Processes,
    /// A network of its own.
    Network,
    /// Host name, message queues and cgroups of its own.
    Names,
    /// No capabilities, and no way to new ones.
    Privileges,
    /// The allow-list of system calls.
    Seccomp,
    /// Landlock: files and ports a second time.
    Landlock,
    /// Landlock: no signals and no abstract sockets to the outside.
    Scope,
    /// The bound on memory.
    Memory,
    /// The bound on processes and threads.
    Pids,
    /// The share of the CPU.
    Cpu,
    /// The bound on what it keeps on the disk.
    Disk,
}

impl Layer {
    /// All of them, each with what it is written as and what it is to people.
    pub const ALL: [(Self, &'static str, &'static str); 13] = [
        (Self::User, "user", "a user of its own"),
        (Self::Files, "files", "a file system of its own"),
        (Self::Processes, "processes", "sight of its own processes alone"),
        (Self::Network, "network", "a network of its own"),
        (Self::Names, "names", "host name, queues and cgroups of its own"),
        (Self::Privileges, "privileges", "no privileges"),
        (Self::Seccomp, "seccomp", "the list of system calls"),
        (Self::Landlock, "landlock", "Landlock for files and ports"),
        (Self::Scope, "scope", "Landlock for signals and abstract sockets"),
        (Self::Memory, "memory", "the memory limit"),
        (Self::Pids, "pids", "the limit on processes"),
        (Self::Cpu, "cpu", "the share of the CPU"),
        (Self::Disk, "disk", "the disk quota"),
    ];

    /// As it is written in a manifest.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(layer, ..)| *layer == self).map_or("", |(_, word, _)| word)
    }

    /// What it is to people.
    #[must_use]
    pub fn words(self) -> &'static str {
        Self::ALL.iter().find(|(layer, ..)| *layer == self).map_or("", |(.., words)| words)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

choice!(MountMode, "ro" => MountMode::Ro, "rx" => MountMode::Rx, "rw" => MountMode::Rw);
choice!(Network, "own" => Network::Own, "host" => Network::Host);
choice!(Extra, "jit" => Extra::Jit, "loopback" => Extra::Loopback, "libraries" => Extra::Libraries, "processes" => Extra::Processes, "openat2" => Extra::Openat2, "runtime" => Extra::Runtime);
choice!(
    Capability,
    "net_admin" => Capability::NetAdmin,
    "net_bind_service" => Capability::NetBindService,
    "net_raw" => Capability::NetRaw,
    "sys_time" => Capability::SysTime,
);
choice!(
    Layer,
    "user" => Layer::User,
    "files" => Layer::Files,
    "processes" => Layer::Processes,
    "network" => Layer::Network,
    "names" => Layer::Names,
    "privileges" => Layer::Privileges,
    "seccomp" => Layer::Seccomp,
    "landlock" => Layer::Landlock,
    "scope" => Layer::Scope,
    "memory" => Layer::Memory,
    "pids" => Layer::Pids,
    "cpu" => Layer::Cpu,
    "disk" => Layer::Disk,
);

impl Default for Cage {
    fn default() -> Self {
        Self {
            egress: Vec::new(),
            traffic: Traffic::default(),
            serves: None,
            network: Network::Own,
            mounts: Vec::new(),
            proc: false,
            allow: Vec::new(),
            capabilities: Vec::new(),
            memory_max: MEMORY_MAX,
            pids_max: PIDS_MAX,
            cpu_weight: CPU_WEIGHT,
            disk_max: DISK_MAX,
            requires: Vec::new(),
        }
    }
}

impl Cage {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let cage = Self {
            egress: section.or("egress", Vec::new()),
            traffic: section.section("traffic", Traffic::read).unwrap_or_default(),
            serves: section.optional("serves"),
            network: section.or("network", Network::Own),
            mounts: section.sections("mounts", Mount::read),
            proc: section.or("proc", false),
            allow: section.or("allow", Vec::new()),
            capabilities: section.or("capabilities", Vec::new()),
            memory_max: section.or("memory_max", MEMORY_MAX),
            pids_max: section.or("pids_max", PIDS_MAX),
            cpu_weight: section.or("cpu_weight", CPU_WEIGHT),
            disk_max: section.or("disk_max", DISK_MAX),
            requires: section.or("requires", Vec::new()),
        };
        if !(1..=10_000).contains(&cage.cpu_weight) {
            section.report("cpu_weight", "must be from 1 to 10000; 100 is what everybody else has");
        }
        if cage.pids_max == 0 {
            section.report("pids_max", "must be at least 1");
        }
        Some(cage)
    }
}

impl Cage {
    /// What no manifest of the owner may ask for, each with why.
    pub(crate) fn beyond_anybody(&self) -> impl Iterator<Item = (&'static str, String)> {
        let connections = (self.traffic.connections > MOST_CONNECTIONS)
            .then(|| ("traffic", format!("`connections` is at most {MOST_CONNECTIONS}: they are shared by all")));
        let weight = (self.cpu_weight > CPU_WEIGHT)
            .then(|| ("cpu_weight", format!("is at most {CPU_WEIGHT}, which is what everybody else has")));
        let disk = matches!(self.disk_max, Bound::Percent(_))
            .then(|| ("disk_max", "a part of the disk is for the system's own services: name a size".to_owned()));
        connections.into_iter().chain(weight).chain(disk)
    }
}

/// What outside of `/data` holds secrets, and what steers the machine.
const SYSTEMS_OWN: [&str; 5] = ["/config", "/dev", "/proc", "/run", "/sys"];

/// What an Arc of the owner's may ask for at the most.
const MOST_CONNECTIONS: u32 = 64;

impl Mount {
    /// Whether a manifest of the owner may name it.
    pub(crate) fn is_for_anybody(&self) -> bool {
        let is_at = |path: &str, folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let in_data = self.path.strip_prefix("/data/");
        let is_systems = SYSTEMS_OWN.iter().any(|folder| is_at(&self.path, folder))
            || in_data.is_some_and(|path| paths::SYSTEMS_OWN.iter().any(|name| is_at(path, name)));
        let is_readable = self.mode != MountMode::Rw || self.path.starts_with("/data/");
        is_readable && self.path != "/data" && !is_systems
    }

    fn read(section: &Section<'_>) -> Option<Self> {
        let path: String = section.required("path")?;
        let mode = section.or("mode", MountMode::Ro);
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_plain)) || path.contains('\0') {
            section.report("path", "must be an absolute path without \"..\"");
        }
        Some(Self { path, mode })
    }
}
