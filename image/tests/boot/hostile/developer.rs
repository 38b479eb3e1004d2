//! In developer mode: as root, and as somebody who has no privileges.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::judge::{Came, Judge, Targets};
use super::table::ROWS;
use super::{PROFILES, manifest, programs};
use crate::guest::{Console, call, free_port};
use crate::machine::{TOKEN, repository, tool};

/// `nobody`: who has no privileges.
const NOBODY: &str = "65534";

/// A system that `init --dev` runs; dropping it ends it.
pub(super) struct System {
    folder: TempDir,
    init: Child,
    port: u16,
    sites: u16,
    /// The port of this machine that the Arc `mover` may reach.
    pub(super) served: u16,
    /// What attempts are aimed at: all of them would answer.
    loopback: TcpListener,
    dns: (TcpListener, UdpSocket),
    _abstract: UnixListener,
    abstract_name: String,
}

impl System {
    pub(super) fn start(is_root: bool, without: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("hostile").tempdir().expect("a folder");
        let (port, sites, served) = (free_port(), free_port(), free_port());
        fill(folder.path(), served);
        let config = format!(
            "[gateway]\ntokens = [\"{TOKEN}\"]\n[listen]\ngateway = \"127.0.0.1:{port}\"\nsites = \"127.0.0.1:{sites}\"\n"
        );
        fs::write(folder.path().join("data/llmbasedos.toml"), config).expect("written");
        let abstract_name = format!("hostile-{port}");
        let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let dns = TcpListener::bind("127.0.0.1:0").expect("a port");
        let same = UdpSocket::bind(dns.local_addr().expect("an address")).expect("the same port");
        let mut command = command(folder.path(), is_root);
        command.args(without.iter().flat_map(|layer| ["--without", layer]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut init = command.spawn().expect("init starts");
        let console = Console::of(init.stderr.take().expect("piped"));
        console.says("up in ");
        Self {
            init,
            port,
            sites,
            served,
            loopback: TcpListener::bind("127.0.0.1:0").expect("a port"),
            dns: (dns, same),
            _abstract: UnixListener::bind_addr(&address).expect("bound"),
            abstract_name,
            folder,
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn call(&self, words: &[&str]) -> Result<Value, String> {
        call(self.port, TOKEN, "510s", words)
    }

    fn targets(&self) -> Targets {
        let services = self.call(&["system.services"]).expect("answered");
        let pids = services.as_array().into_iter().flatten().filter_map(|service| service["pid"].as_u64());
        let pids: Vec<String> = pids.map(|pid| pid.to_string()).collect();
        let loopback = self.loopback.local_addr().expect("an address").to_string();
        Targets {
            data: self.folder.path().join("data").display().to_string(),
            processes: format!("{} {}", self.init.id(), pids.join(" ")),
            gateway: format!("127.0.0.1:{}", self.port),
            // What is not of this machine is not to be reached from a test; on loopback something answers.
            lan: loopback.clone(),
            metadata: loopback.clone(),
            loopback,
            dns: self.dns.0.local_addr().expect("an address").to_string(),
            abstract_name: self.abstract_name.clone(),
            sites: self.sites,
        }
    }
}

/// Programs, manifests and folders. The Arc `mover` may reach one port of this machine.
fn fill(folder: &Path, served: u16) {
    let at = |name: &str| folder.join(name);
    for name in ["bin", "manifests/kv", "manifests/sites", "data/arcs.d", "data/sites"] {
        fs::create_dir_all(at(name)).expect("made");
    }
    let built = programs();
    for name in ["init", "gateway", "arcs", "hostile"] {
        fs::copy(built.join(name), at("bin").join(name)).expect("copied");
        // Whatever the umask was that they were built with.
        fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).expect("set");
    }
    for name in ["kv", "sites"] {
        let path = format!("manifests/{name}/arc.toml");
        fs::copy(repository().join(format!("arcs/{name}/arc.toml")), at(&path)).expect("copied");
    }
    let exec = at("bin/hostile").display().to_string();
    let egress = format!("[cage]\negress = [\"127.0.0.1:{served}\"]\n");
    for name in PROFILES.into_iter().chain(["mover"]) {
        let text = manifest(name, &exec);
        let text = if name == "mover" { text.replace("[cage]\n", &egress) } else { text };
        fs::write(at("data/arcs.d").join(format!("{name}.toml")), text).expect("written");
    }
}

/// `init --dev` on such a folder, as root or as nobody.
fn command(folder: &Path, is_root: bool) -> Command {
    let at = |name: &str| folder.join(name);
    let mut command = match is_root {
        true => Command::new(at("bin/init")),
        false => {
            tool("chown", &["-R", &format!("{NOBODY}:{NOBODY}"), &folder.display().to_string()]);
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("set");
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
            command.arg(at("bin/init"));
            command
        }
    };
    command.arg("--dev").arg("--data").arg(at("data")).arg("--manifests").arg(at("manifests"));
    command.arg("--config").arg(at("data/llmbasedos.toml")).arg("--bin").arg(at("bin"));
    command
}

impl Drop for System {
    fn drop(&mut self) {
        let pid = self.init.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.init.wait();
    }
}

/// Everything is tried in both cages.
fn nothing_succeeds(is_root: bool) {
    let system = System::start(is_root, &[]);
    let call = |words: &[&str]| system.call(words);
    let judge = Judge::new(&call, system.targets());
    let mut red = 0;
    for profile in PROFILES {
        eprintln!("\n{profile}, in developer mode as {}:", if is_root { "root" } else { "nobody" });
        red += judge.tries_all(profile);
    }
    assert_eq!(red, 0, "attempts have succeeded, see the table");
    let log = fs::metadata(system.folder.path().join("data/log/hostile.log")).map_or(0, |data| data.len());
    assert!(log < 4 << 20, "its log has {log} bytes");
}

#[test]
#[ignore = "needs root and the programs of the image: scripts/test boot"]
fn hostile_in_developer_mode_as_root() {
    nothing_succeeds(true);
}

#[test]
#[ignore = "needs root and the programs of the image: scripts/test boot"]
fn hostile_in_developer_mode_without_privileges() {
    nothing_succeeds(false);
}

/// Layers that are left out, each with an attempt that it alone stops, and in which cage.
const CONTROLS: [(&str, &str, usize); 7] = [
    ("seccomp", "vsock", 0),
    ("files", "see the folders of others", 0),
    ("processes", "see processes", 0),
    ("network", "connect to loopback", 1),
    ("names", "learn the machine's name", 0),
    ("landlock", "listen", 1),
    ("seccomp", "namespaces", 1),
];

#[test]
#[ignore = "needs root and the programs of the image: scripts/test boot"]
fn hostile_succeeds_where_the_layer_that_stops_it_is_left_out() {
    for (layer, attempt, profile) in CONTROLS {
        let system = System::start(true, &[layer]);
        let call = |words: &[&str]| system.call(words);
        let judge = Judge::new(&call, system.targets());
        let row = ROWS.iter().find(|row| row.name == attempt).expect("in the table");
        let came = judge.tries(PROFILES[profile], row);
        eprintln!("without {layer}: {attempt}: {came:?}");
        assert!(matches!(came, Came::NotGiven(_)), "without {layer}, {attempt} was still stopped: {came:?}");
    }
}
