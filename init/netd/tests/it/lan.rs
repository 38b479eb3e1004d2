//! A network of two machines: netd's and the test's, each a network namespace.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use futures_util::TryStreamExt;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take that is waited for; the machines of CI are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Set for the process that runs the test in namespaces of its own.
const INSIDE: &str = "NETD_TEST_INSIDE";
/// Own users, network and mounts (unshare(1)).
const NAMESPACES: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];

/// Runs `body` in namespaces of its own: the test called `name` once more, in a process that unshare(1) starts.
pub(crate) fn on_a_lan(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let unshare = |command: &mut Command| command.stdin(Stdio::null()).output();
    let probe = "mount -t tmpfs none /run && exec unshare --net --mount true";
    let why = match unshare(Command::new("unshare").args(NAMESPACES).args(["sh", "-c", probe])) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    if let Some(why) = why {
        // Past the harness, which would keep it to itself.
        let _ = writeln!(io::stderr(), "SKIPPED {name}: namespaces cannot be made here: {why}");
        return;
    }
    let test = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(NAMESPACES).arg(test).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let output = unshare(&mut command).expect("unshare runs");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// netd with its log, what it tells init, and its cable.
pub(crate) struct Lan {
    netd: Child,
    log: Receiver<String>,
    told: UnixDatagram,
    runtime: Runtime,
    kernel: Handle,
    /// Holds the settings and the socket.
    _folder: TempDir,
}

impl Lan {
    /// Starts netd with these settings in a network without a link.
    pub(crate) fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, socket) = (folder.path().join("netd.toml"), folder.path().join("notify.sock"));
        fs::write(&file, settings).expect("written");
        let told = UnixDatagram::bind(&socket).expect("a socket");
        told.set_read_timeout(Some(PATIENCE)).expect("set");
        let script = "mount -t tmpfs none /run && mkdir /run/network && exec \"$0\"";
        let mut netd = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_netd")])
            .env("ARC_SETTINGS", &file)
            .env("NOTIFY_SOCKET", &socket)
            .env("RUST_LOG", "netd=debug")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let log = lines(netd.stderr.take().expect("piped"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (connection, kernel, _) = runtime.block_on(async { rtnetlink::new_connection() }).expect("a connection");
        runtime.spawn(connection);
        let mut lan = Self { netd, log, told, runtime, kernel, _folder: folder };
        lan.hears("READY=1");
        lan
    }

    /// Waits for netd to tell init this; what it tells before is passed over.
    #[track_caller]
    pub(crate) fn hears(&mut self, expected: &str) {
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let Ok(length) = self.told.recv(&mut buffer) else {
                let log: Vec<String> = self.log.try_iter().collect();
                panic!("never told: {expected:?}\ntold: {heard:#?}\nlog: {log:#?}");
            };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line == expected) {
                return;
            }
            heard.push(message);
        }
    }

    /// Waits for a line of netd's log with `part` in it, and answers it; what it logs before is passed over.
    #[track_caller]
    pub(crate) fn reads(&mut self, part: &str) -> String {
        let mut read = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => read.push(line),
                Err(_) => panic!("never logged: {part:?}\nlog: {read:#?}"),
            }
        }
    }

    /// A new cable between the two machines.
    pub(crate) fn plug_in(&mut self) {
        self.make_cable();
        self.hand_over_cable();
    }

    /// A cable of which this machine has both ends: `lan`, which has addresses, and `eth0`.
    pub(crate) fn make_cable(&mut self) {
        self.runtime.block_on(async {
            let links = self.kernel.link();
            links.add(LinkVeth::new("lan", "eth0").build()).execute().await.expect("a cable");
            let index = self.own_end().await;
            for last in [1, 3] {
                let address = Ipv4Addr::new(10, 77, 0, last).into();
                self.kernel.address().add(index, address, 24).execute().await.expect("an address");
            }
            links.set(LinkUnspec::new_with_index(index).up().build()).execute().await.expect("up");
            // Without a carrier of its own the other end has none.
            links.set(LinkUnspec::new_with_name("eth0").up().build()).execute().await.expect("up");
        });
    }

    /// Gives `eth0` to netd.
    pub(crate) fn hand_over_cable(&mut self) {
        let message = LinkUnspec::new_with_name("eth0").setns_by_pid(self.netd.id()).build();
        self.runtime.block_on(self.kernel.link().set(message).execute()).expect("handed over");
    }

    /// netd's end has a link, but nobody is at the other end.
    pub(crate) fn pull_cable(&mut self) {
        self.set_own_end(LinkUnspec::new_with_name("lan").down());
    }

    /// After [`Self::pull_cable`].
    pub(crate) fn put_cable_back(&mut self) {
        self.set_own_end(LinkUnspec::new_with_name("lan").up());
    }

    /// netd's end has no link any more.
    pub(crate) fn take_adapter_away(&mut self) {
        let delete = async { self.kernel.link().del(self.own_end().await).execute().await };
        self.runtime.block_on(delete).expect("deleted");
    }

    /// Whether there is a machine with the address: it refuses to be talked to.
    pub(crate) fn reaches(&self, address: Ipv4Addr) -> bool {
        let outcome = TcpStream::connect_timeout(&SocketAddr::from((address, 9)), PATIENCE);
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// A file of `/proc/<netd>`.
    pub(crate) fn file_of_netd(&self, path: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{path}", self.netd.id())).expect("readable")
    }

    /// Whether netd ends well on SIGTERM.
    pub(crate) fn ends_when_asked(&mut self) -> bool {
        let id = i32::try_from(self.netd.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("sent");
        self.netd.wait().expect("ended").success()
    }

    /// The kernel's number of this machine's end of the cable.
    async fn own_end(&self) -> u32 {
        let mut found = std::pin::pin!(self.kernel.link().get().match_name("lan").execute());
        found.try_next().await.expect("asked").expect("there").header.index
    }

    fn set_own_end(&mut self, message: LinkMessageBuilder<LinkUnspec>) {
        self.runtime.block_on(self.kernel.link().set(message.build()).execute()).expect("set");
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = self.netd.kill();
        let _ = self.netd.wait();
    }
}

/// Passes on what netd logs, and shows it where the test fails.
fn lines(stream: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            eprintln!("netd: {line}");
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
