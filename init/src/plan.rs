//! The plan of a service's start: computed from manifest, configuration and layout, carried out elsewhere.
//!
//! A plan is a plain value. It can be printed and compared, and computing it touches nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::control::{EGRESS_PORT_NUMBER, env, fd};
use spec::{GatewayStart, Layer, Manifest, MountMode, Name, NetworkSettings, SystemConfig, Transport, paths};

use crate::cage::{Abilities, Cage, Content, Part, Sight, Source, describe};
use crate::layout::Layout;

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
    /// What the gateway is told.
    pub(crate) gateway: GatewayStart,
    /// The part of init's environment that services inherit.
    pub(crate) inherited: &'a BTreeMap<String, String>,
    /// What this kernel gives.
    pub(crate) abilities: &'a Abilities,
    /// Whether the program needs a dynamic loader.
    pub(crate) is_dynamic: bool,
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
    /// Its own folder, as it sees it: it starts there.
    pub(crate) folder: PathBuf,
    /// Folders to be created before it starts.
    pub(crate) folders: Vec<PathBuf>,
    /// The file of its settings and what it is to hold, where no file system of its own holds it.
    pub(crate) settings: Option<(PathBuf, String)>,
    /// What it inherits from descriptor 3 on, by name.
    pub(crate) descriptors: Vec<(String, Handed)>,
    /// Whether its standard input and output are a connection to its socket.
    pub(crate) speaks_on_stdio: bool,
    /// The secrets that it is handed, and where.
    pub(crate) secrets: Vec<(Name, String)>,
    /// Its cage.
    pub(crate) cage: Cage,
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

/// The variables of `all` that services inherit.
pub(crate) fn inherited(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> =
        all.into_iter().filter(|(key, _)| INHERITED.contains(&key.as_str())).collect();
    kept.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    kept
}

/// Where a service finds what is its own: in its cage always in the same places, without a file system of its own where
/// that lies on the machine.
struct Places {
    data: PathBuf,
    folder: PathBuf,
    notify: PathBuf,
    caller: PathBuf,
    egress: PathBuf,
    settings: PathBuf,
}

impl Places {
    fn on_the_machine(layout: &Layout, name: &str) -> Self {
        Self {
            data: layout.data.clone(),
            folder: paths::arc_data(&layout.data, name),
            notify: layout.notify_socket(name),
            caller: paths::caller_socket(&layout.run, name),
            egress: paths::egress_socket(&layout.run, name),
            settings: layout.settings_file(name),
        }
    }

    fn in_a_cage(name: &str) -> Self {
        Self {
            data: "/data".into(),
            folder: paths::arc_data(Path::new("/data"), name),
            notify: "/run/notify.sock".into(),
            caller: paths::gateway_socket(Path::new("/run")),
            egress: "/run/egress.sock".into(),
            settings: "/run/settings.toml".into(),
        }
    }
}

/// The manifest, with what the owner grants beside it.
fn granted(manifest: &Manifest, config: &SystemConfig) -> Manifest {
    let mut manifest = manifest.clone();
    if let Some(grant) = config.grants.get(&manifest.name) {
        manifest.cage.egress.extend(grant.egress.iter().cloned());
        manifest.secrets.extend(grant.secrets.iter().cloned());
    }
    if manifest.network {
        manifest.secrets.extend(config.network.iter().flat_map(NetworkSettings::secrets));
    }
    manifest.secrets.sort();
    manifest.secrets.dedup();
    manifest
}

/// The plan of the service with this manifest. It is the same for the same input.
pub(crate) fn plan(manifest: &Manifest, around: &Surroundings<'_>) -> Plan {
    let manifest = &granted(manifest, around.config);
    let name = manifest.name.as_str();
    let layout = around.layout;
    let outside = Places::on_the_machine(layout, name);
    let is_apart = around.abilities.has(Layer::Files);
    let inside = if is_apart { Places::in_a_cage(name) } else { Places::on_the_machine(layout, name) };
    let settings = settings(manifest, around.config, &around.gateway);
    let environment = environment(manifest, around, &inside, settings.is_some());
    let shared = manifest.cage.mounts.iter().map(|mount| layout.resolve(&mount.path));
    let shared = shared.filter(|path| path.starts_with(&layout.data) || path.starts_with(&layout.run));
    let parts = parts(manifest, layout, &outside, &inside, settings.as_deref());
    Plan {
        service: manifest.name.clone(),
        program: program(manifest, around.programs),
        arguments: manifest.exec.clone(),
        environment,
        folders: [outside.folder].into_iter().chain(shared).collect(),
        folder: inside.folder,
        settings: settings.filter(|_| !is_apart).map(|text| (outside.settings, text)),
        descriptors: descriptors(manifest),
        speaks_on_stdio: manifest.transport == Transport::Stdio,
        secrets: manifest.secrets.iter().map(|name| (name.clone(), format!("{SECRETS}/{name}"))).collect(),
        cage: Cage::plan(manifest, parts, around.is_dynamic, around.abilities),
    }
}

/// What a service sees beside what every cage holds.
fn parts(manifest: &Manifest, layout: &Layout, outside: &Places, inside: &Places, settings: Option<&str>) -> Vec<Part> {
    let ours = |path: &Path, target: &Path, sight: Sight| {
        let source = Source { path: path.to_owned(), is_ours: true };
        Part::Bound { source, target: target.display().to_string(), sight }
    };
    let mut parts = vec![
        ours(&outside.folder, &inside.folder, Sight::Write),
        ours(&outside.notify, &inside.notify, Sight::Connect),
    ];
    if manifest.control {
        // The sockets of all Arcs, also of those that come later.
        let sockets = |run: &Path| paths::gateway_socket(run).parent().map(Path::to_owned).unwrap_or_default();
        parts.push(ours(&sockets(&layout.run), &sockets(Path::new("/run")), Sight::Connect));
    } else if manifest.transport != Transport::None {
        parts.push(ours(&outside.caller, &inside.caller, Sight::Connect));
    }
    if let Some(text) = settings {
        let target = inside.settings.display().to_string();
        parts.push(Part::File { target, content: Content(text.as_bytes().to_vec().into()) });
    }
    if !manifest.cage.egress.is_empty() {
        parts.push(ours(&outside.egress, &inside.egress, Sight::Connect));
        parts.extend(CERTIFICATES.map(|path| Part::of_system(path, Sight::Read)));
    }
    parts.extend(manifest.cage.mounts.iter().map(|mount| {
        let sight = match mount.mode {
            MountMode::Ro => Sight::Read,
            MountMode::Rx => Sight::Execute,
            MountMode::Rw => Sight::Write,
        };
        let source = layout.resolve(&mount.path);
        let is_ours = source.starts_with(&layout.data) || source.starts_with(&layout.run);
        Part::Bound { source: Source { path: source, is_ours }, target: mount.path.clone(), sight }
    }));
    parts.extend(manifest.cage.proc.then_some(Part::Processes));
    parts
}

/// Where an Arc finds its secrets, in its cage.
const SECRETS: &str = "/run/secrets";

/// By what an Arc that calls out knows whom it reaches: Debian's places of the certificates of authorities.
const CERTIFICATES: [&str; 2] = ["/etc/ssl/certs", "/usr/share/ca-certificates"];

/// What is told to a service: an Arc its section of the configuration, a service that is part of init its part of it.
fn settings(manifest: &Manifest, config: &SystemConfig, gateway: &GatewayStart) -> Option<String> {
    match manifest.name.as_str() {
        _ if manifest.control => Some(gateway.to_toml()),
        NETWORK_SERVICE => Some(config.network_toml()),
        _ => config.arcs.get(&manifest.name).map(ToString::to_string),
    }
}

/// A bare name lies beside init; an absolute path is what it says.
pub(crate) fn program(manifest: &Manifest, programs: &Path) -> PathBuf {
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
    if manifest.network {
        handed.push((fd::NETWORK.to_owned(), Handed::ControlChannel));
    }
    handed.extend(manifest.listen.iter().map(|name| (name.to_string(), Handed::Listener(name.clone()))));
    handed
}

/// What init inherits, then what the manifest says, then what init says: the last word is init's.
fn environment(
    manifest: &Manifest,
    around: &Surroundings<'_>,
    places: &Places,
    has_settings: bool,
) -> Vec<(String, String)> {
    let shown = |path: &Path| path.display().to_string();
    let mut variables = around.inherited.clone();
    variables.extend(manifest.env.clone());
    let mut set = |key: &str, value: String| variables.insert(key.to_owned(), value);
    set("HOME", shown(&places.folder));
    set("NOTIFY_SOCKET", shown(&places.notify));
    set(env::NAME, manifest.name.to_string());
    set(env::DATA, shown(&places.data));
    if manifest.transport != Transport::None {
        set(env::GATEWAY, shown(&places.caller));
    }
    if !manifest.cage.egress.is_empty() && around.abilities.has(Layer::Network) {
        // What programs in every language ask for (<https://www.gnu.org/software/wget/manual/html_node/Proxies.html>).
        let proxy = format!("http://127.0.0.1:{EGRESS_PORT_NUMBER}");
        set(env::PROXY, proxy.clone());
        for key in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            set(key, proxy.clone());
        }
        set("NO_PROXY", String::new());
        set("no_proxy", String::new());
    }
    if !manifest.secrets.is_empty() {
        set(env::SECRETS, SECRETS.to_owned());
    }
    if has_settings {
        set(env::SETTINGS, shown(&places.settings));
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
        for (name, place) in &self.secrets {
            writeln!(f, "secret   {name} in {place}")?;
        }
        let lines = describe(&self.cage);
        write!(f, "cage     {}", lines.join("\ncage     "))
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
        let around = Surroundings {
            layout: &layout,
            programs: Path::new("/opt/bin"),
            config: &config,
            gateway: GatewayStart { tokens: config.gateway.tokens.clone(), ..GatewayStart::default() },
            inherited: &inherited,
            abilities: &Abilities::default(),
            is_dynamic: false,
        };
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
in       /data/arcs/seo_affiliate
create   /home/a/data/arcs/seo_affiliate
create   /home/a/data/sites
inherit  3 mcp
set      ALL_PROXY=http://127.0.0.1:3128
set      ARC_DATA=/data
set      ARC_IDLE_EXIT_MS=300000
set      ARC_NAME=seo_affiliate
set      ARC_PROXY=http://127.0.0.1:3128
set      ARC_SETTINGS=/run/settings.toml
set      HOME=/data/arcs/seo_affiliate
set      HTTPS_PROXY=http://127.0.0.1:3128
set      HTTP_PROXY=http://127.0.0.1:3128
set      MCP_GATEWAY=/run/mcp/gateway.sock
set      MODE=quick
set      NOTIFY_SOCKET=/run/notify.sock
set      NO_PROXY=
set      PATH=/bin
set      TZ=UTC
set      all_proxy=http://127.0.0.1:3128
set      http_proxy=http://127.0.0.1:3128
set      https_proxy=http://127.0.0.1:3128
set      no_proxy=
cage     writes /tmp, in memory, 16 MiB at the most
cage     reads and writes /data/arcs/seo_affiliate
cage     connects to /run/notify.sock
cage     connects to /run/mcp/gateway.sock
cage     reads /run/settings.toml
cage     connects to /run/egress.sock
cage     reads /etc/ssl/certs
cage     reads /usr/share/ca-certificates
cage     reads and writes /data/sites
cage     reads /usr/share/zoneinfo
cage     reaches api.example.com:443, through the gateway
cage     is bounded to 64 MiB of memory, 32 processes and threads, 1 GiB on the disk, 2048 open files
cage     runs as user 377891406, held by a user of its own, a file system of its own, sight of its own processes alone, a network of its own, host name, queues and cgroups of its own, no privileges, the list of system calls, Landlock for files and ports, Landlock for signals and abstract sockets, the memory limit, the limit on processes, the share of the CPU, the disk quota";
        assert_eq!(shown(manifest, "[arcs.seo_affiliate]\ntheme = \"plain\"", &environment), expected);
    }

    #[test]
    fn the_gateway() {
        let manifest = include_str!("../services/gateway.toml");
        let expected = "\
service  gateway
execute  /opt/bin/gateway [\"gateway\"]
in       /data/arcs/gateway
create   /home/a/data/arcs/gateway
create   /home/a/data/log
inherit  3 gateway.sock
inherit  4 control
inherit  5 gateway
inherit  6 https
set      ARC_DATA=/data
set      ARC_NAME=gateway
set      ARC_SETTINGS=/run/settings.toml
set      HOME=/data/arcs/gateway
set      NOTIFY_SOCKET=/run/notify.sock
set      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
set      WATCHDOG_USEC=60000000
cage     writes /tmp, in memory, 16 MiB at the most
cage     reads and writes /data/arcs/gateway
cage     connects to /run/notify.sock
cage     connects to /run/mcp
cage     reads /run/settings.toml
cage     reads and writes /data/log
cage     reads /etc
cage     reads /run/network
cage     reads /run/systemd/resolve
cage     reads /run/NetworkManager
cage     is in the network of the machine
cage     is bounded to 256 MiB of memory, 64 processes and threads, 1 GiB on the disk, 2048 open files
cage     runs as user 399131129, held by a user of its own, a file system of its own, sight of its own processes alone, host name, queues and cgroups of its own, no privileges, the list of system calls, Landlock for files and ports, Landlock for signals and abstract sockets, the memory limit, the limit on processes, the share of the CPU, the disk quota";
        assert_eq!(shown(manifest, "", &[]), expected);
    }

    #[test]
    fn netd_is_told_of_the_network_alone() {
        let manifest = Manifest::parse("netd.toml", include_str!("../netd/netd.toml"), Origin::System).expect("sound");
        let source = "hostname = \"attic\"\n[network]\nlink = \"eth1\"\n[gateway]\ntokens = [\"0123456789abcdef\"]";
        let config = SystemConfig::parse("llmbasedos.toml", source).expect("sound");
        let told = settings(&manifest, &config, &GatewayStart::default()).expect("always");
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
