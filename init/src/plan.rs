//! The plan of a service's start: computed from manifest, configuration and layout, carried out elsewhere.
//!
//! A plan is a plain value. It can be printed and compared, and computing it touches nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::control::{env, fd};
use spec::{HostPort, Manifest, MountMode, Name, SystemConfig, Transport, paths};

use crate::layout::Layout;

/// The bound on the open files of a service: enough for a thousand connections with their files.
const OPEN_FILES: u64 = 4096;
/// Where a service looks for programs unless init's own environment says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The only variables of init's own environment that reach a service. Keys and tokens do not.
const INHERITED: [&str; 4] = ["PATH", "LANG", "TZ", "RUST_LOG"];

/// The service that keeps the network of an appliance.
const NETWORK_SERVICE: &str = "netd";

/// What a plan is computed from, beside the manifest.
pub(crate) struct Surroundings<'a> {
    pub(crate) layout: &'a Layout,
    /// Where programs without a path are looked up.
    pub(crate) programs: &'a Path,
    pub(crate) config: &'a SystemConfig,
    /// The part of init's environment that services inherit.
    pub(crate) inherited: &'a BTreeMap<String, String>,
}

/// How a service is started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Whose plan it is.
    pub(crate) service: Name,
    /// The program, absolute.
    pub(crate) program: PathBuf,
    /// Its arguments, its own name first.
    pub(crate) arguments: Vec<String>,
    /// Its whole environment but for `LISTEN_*`.
    pub(crate) environment: Vec<(String, String)>,
    /// Its own folder: it starts there.
    pub(crate) folder: PathBuf,
    /// Folders to be created before it starts.
    pub(crate) folders: Vec<PathBuf>,
    /// The file of its settings and what it is to hold.
    pub(crate) settings: Option<(PathBuf, String)>,
    /// What it inherits from descriptor 3 on, by name.
    pub(crate) descriptors: Vec<(String, Handed)>,
    /// Whether its standard input and output are a connection to its socket.
    pub(crate) speaks_on_stdio: bool,
    /// Its bounds.
    pub(crate) limits: Limits,
    /// What it is to see of the file system beside its own folder; not yet applied in developer mode.
    pub(crate) mounts: Vec<PlannedMount>,
    /// The hosts that it may reach; not yet applied in developer mode.
    pub(crate) egress: Vec<HostPort>,
}

/// A descriptor that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handed {
    /// The service's own MCP socket.
    ArcSocket,
    /// The gateway's UNIX socket.
    GatewaySocket,
    /// The control channel, new at each start.
    ControlChannel,
    /// A TCP listener, by the name that the configuration gives it.
    Listener(Name),
}

/// The bounds of a service. Core dumps are never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) open_files: u64,
    /// Bytes; not yet applied in developer mode.
    pub(crate) memory: Option<u64>,
    /// Not yet applied in developer mode.
    pub(crate) processes: Option<u32>,
}

/// A part of the file system that a service sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedMount {
    /// Where it lies on this machine.
    pub(crate) source: PathBuf,
    /// Where the service sees it.
    pub(crate) target: String,
    pub(crate) mode: MountMode,
}

/// The variables of `all` that services inherit.
pub(crate) fn inherited(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> =
        all.into_iter().filter(|(key, _)| INHERITED.contains(&key.as_str())).collect();
    kept.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    kept
}

/// The plan of the service with this manifest. It is the same for the same input.
pub(crate) fn plan(manifest: &Manifest, around: &Surroundings<'_>) -> Plan {
    let name = manifest.name.as_str();
    let layout = around.layout;
    let folder = paths::arc_data(&layout.data, name);
    let settings = settings(manifest, around.config).map(|text| (layout.settings_file(name), text));
    let mounts: Vec<PlannedMount> = manifest.cage.mounts.iter().map(|mount| planned(mount, layout)).collect();
    let shared = mounts.iter().map(|mount| mount.source.clone()).filter(|source| source.starts_with(&layout.data));
    Plan {
        service: manifest.name.clone(),
        program: program(manifest, around.programs),
        arguments: manifest.exec.clone(),
        environment: environment(manifest, around, &folder, settings.as_ref().map(|(file, _)| file.as_path())),
        folders: [folder.clone()].into_iter().chain(shared).collect(),
        folder,
        settings,
        descriptors: descriptors(manifest),
        speaks_on_stdio: manifest.transport == Transport::Stdio,
        limits: Limits {
            open_files: OPEN_FILES,
            memory: manifest.cage.memory_max.map(|size| size.0),
            processes: manifest.cage.pids_max,
        },
        mounts,
        egress: manifest.cage.egress.clone(),
    }
}

/// What is told to a service: an Arc its section of the configuration, a service that is part of init its part of it.
fn settings(manifest: &Manifest, config: &SystemConfig) -> Option<String> {
    match manifest.name.as_str() {
        _ if manifest.control => Some(config.gateway.to_toml()),
        NETWORK_SERVICE => Some(config.network_toml()),
        _ => config.arcs.get(&manifest.name).map(ToString::to_string),
    }
}

fn planned(mount: &spec::Mount, layout: &Layout) -> PlannedMount {
    PlannedMount { source: layout.resolve(&mount.path), target: mount.path.clone(), mode: mount.mode }
}

/// A bare name lies beside init; an absolute path is what it says.
fn program(manifest: &Manifest, programs: &Path) -> PathBuf {
    programs.join(manifest.exec.first().map_or("", String::as_str))
}

fn descriptors(manifest: &Manifest) -> Vec<(String, Handed)> {
    let mut handed = Vec::new();
    if manifest.transport == Transport::Socket {
        handed.push((fd::MCP.to_owned(), Handed::ArcSocket));
    }
    if manifest.control {
        handed.push((fd::GATEWAY.to_owned(), Handed::GatewaySocket));
        handed.push((fd::CONTROL.to_owned(), Handed::ControlChannel));
    }
    if manifest.logs {
        handed.push((fd::LOGS.to_owned(), Handed::ControlChannel));
    }
    handed.extend(manifest.listen.iter().map(|name| (name.to_string(), Handed::Listener(name.clone()))));
    handed
}

/// What init inherits, then what the manifest says, then what init says: the last word is init's.
fn environment(
    manifest: &Manifest,
    around: &Surroundings<'_>,
    folder: &Path,
    settings: Option<&Path>,
) -> Vec<(String, String)> {
    let name = manifest.name.as_str();
    let layout = around.layout;
    let shown = |path: &Path| path.display().to_string();
    let mut variables = around.inherited.clone();
    variables.extend(manifest.env.clone());
    let mut set = |key: &str, value: String| variables.insert(key.to_owned(), value);
    set("HOME", shown(folder));
    set("NOTIFY_SOCKET", shown(&layout.notify_socket(name)));
    set(env::NAME, name.to_owned());
    set(env::DATA, shown(&layout.data));
    if manifest.transport != Transport::None {
        set(env::GATEWAY, shown(&paths::caller_socket(&layout.run, name)));
    }
    if let Some(file) = settings {
        set(env::SETTINGS, shown(file));
    }
    if let Some(idle) = manifest.idle_exit {
        set(env::IDLE_EXIT_MS, idle.as_millis().to_string());
    }
    if let Some(patience) = manifest.watchdog {
        set(env::WATCHDOG, patience.as_micros().to_string());
    }
    variables.into_iter().filter(|(key, _)| !key.starts_with("LISTEN_")).collect()
}

/// One line for each thing that is done, in the order in which a reader asks for it.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service  {}", self.service)?;
        writeln!(f, "execute  {} {:?}", self.program.display(), self.arguments)?;
        writeln!(f, "in       {}", self.folder.display())?;
        for folder in &self.folders {
            writeln!(f, "create   {}", folder.display())?;
        }
        if let Some((file, _)) = &self.settings {
            writeln!(f, "settings {}", file.display())?;
        }
        if self.speaks_on_stdio {
            writeln!(f, "stdio    one connection")?;
        }
        for (number, (name, _)) in (3..).zip(&self.descriptors) {
            writeln!(f, "inherit  {number} {name}")?;
        }
        for (key, value) in &self.environment {
            writeln!(f, "set      {key}={value}")?;
        }
        for mount in &self.mounts {
            let mode = if mount.mode == MountMode::Rw { "rw" } else { "ro" };
            writeln!(f, "mount    {} on {} {mode}", mount.source.display(), mount.target)?;
        }
        for host in &self.egress {
            writeln!(f, "reach    {host}")?;
        }
        write!(f, "limit    {} open files", self.limits.open_files)?;
        self.limits.memory.map_or(Ok(()), |bytes| write!(f, ", {bytes} bytes"))?;
        self.limits.processes.map_or(Ok(()), |count| write!(f, ", {count} processes"))
    }
}

/// A duration as people write it: `0.4 s`.
pub(crate) fn seconds(millis: u64) -> String {
    format!("{:.1} s", Duration::from_millis(millis).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use spec::Origin;

    use super::*;

    fn shown(manifest: &str, config: &str, environment: &[(&str, &str)]) -> String {
        let manifest = Manifest::parse("arc.toml", manifest, Origin::System).expect("a sound manifest");
        let config = SystemConfig::parse("llmbasedos.toml", config).expect("a sound configuration");
        let layout = Layout { data: "/home/a/data".into(), run: "/home/a/data/run".into() };
        let owned = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let inherited = inherited(owned);
        let around =
            Surroundings { layout: &layout, programs: Path::new("/opt/bin"), config: &config, inherited: &inherited };
        plan(&manifest, &around).to_string()
    }

    #[test]
    fn an_arc_with_everything() {
        let manifest = r#"
name = "seo_affiliate"
version = "1"
description = "Writes mini-sites"
exec = ["arcs", "seo_affiliate"]
idle_exit = "5m"
[env]
MODE = "quick"
HOME = "/root"
LISTEN_PID = "1"
[cage]
egress = ["api.example.com:443"]
mounts = [{ path = "/data/sites", mode = "rw" }, { path = "/usr/share/zoneinfo" }]
memory_max = "64M"
pids_max = 32
"#;
        let environment = [("PATH", "/bin"), ("TZ", "UTC"), ("OPENAI_API_KEY", "secret"), ("LD_PRELOAD", "/evil.so")];
        let expected = "\
service  seo_affiliate
execute  /opt/bin/arcs [\"arcs\", \"seo_affiliate\"]
in       /home/a/data/arcs/seo_affiliate
create   /home/a/data/arcs/seo_affiliate
create   /home/a/data/sites
settings /home/a/data/run/settings/seo_affiliate.toml
inherit  3 mcp
set      ARC_DATA=/home/a/data
set      ARC_IDLE_EXIT_MS=300000
set      ARC_NAME=seo_affiliate
set      ARC_SETTINGS=/home/a/data/run/settings/seo_affiliate.toml
set      HOME=/home/a/data/arcs/seo_affiliate
set      MCP_GATEWAY=/home/a/data/run/callers/seo_affiliate.sock
set      MODE=quick
set      NOTIFY_SOCKET=/home/a/data/run/notify/seo_affiliate.sock
set      PATH=/bin
set      TZ=UTC
mount    /home/a/data/sites on /data/sites rw
mount    /usr/share/zoneinfo on /usr/share/zoneinfo ro
reach    api.example.com:443
limit    4096 open files, 67108864 bytes, 32 processes";
        assert_eq!(shown(manifest, "[arcs.seo_affiliate]\ntheme = \"plain\"", &environment), expected);
    }

    #[test]
    fn the_gateway() {
        let manifest = include_str!("../services/gateway.toml");
        let expected = "\
service  gateway
execute  /opt/bin/gateway [\"gateway\"]
in       /home/a/data/arcs/gateway
create   /home/a/data/arcs/gateway
settings /home/a/data/run/settings/gateway.toml
inherit  3 gateway.sock
inherit  4 control
inherit  5 gateway
set      ARC_DATA=/home/a/data
set      ARC_NAME=gateway
set      ARC_SETTINGS=/home/a/data/run/settings/gateway.toml
set      HOME=/home/a/data/arcs/gateway
set      NOTIFY_SOCKET=/home/a/data/run/notify/gateway.sock
set      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
set      WATCHDOG_USEC=60000000
limit    4096 open files";
        assert_eq!(shown(manifest, "", &[]), expected);
    }

    #[test]
    fn netd_is_told_of_the_network_alone() {
        let manifest = Manifest::parse("netd.toml", include_str!("../netd/netd.toml"), Origin::System).expect("sound");
        let source = "hostname = \"attic\"\n[network]\nlink = \"eth1\"\n[gateway]\ntokens = [\"0123456789abcdef\"]";
        let config = SystemConfig::parse("llmbasedos.toml", source).expect("sound");
        let told = settings(&manifest, &config).expect("always");
        let read = SystemConfig::parse("netd.toml", &told).expect("sound");
        assert_eq!((read.host_name(), &read.network, read.gateway.tokens.len()), ("attic", &config.network, 0));
    }

    #[test]
    fn a_model_server_that_knows_nothing_of_us() {
        let manifest = r#"
name = "llama"
version = "1"
description = "A model server"
exec = ["/opt/llama/llama-server", "--port", "8081"]
activation = "boot"
transport = "none"
"#;
        let plan = shown(manifest, "", &[]);
        assert!(
            plan.contains("execute  /opt/llama/llama-server [\"/opt/llama/llama-server\", \"--port\", \"8081\"]\n")
        );
        assert!(!plan.contains("inherit") && !plan.contains("MCP_GATEWAY"), "{plan}");
    }
}
