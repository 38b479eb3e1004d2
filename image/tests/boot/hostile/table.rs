//! What is tried, and by which layer of the cage it is stopped where the list of system calls does not stop it before.

/// What its manifest allows it on the disk, in bytes.
pub(crate) const DISK_MAX: u64 = 16 << 20;

/// The attempt that a [`Visitor`](super::visitor::Visitor) looks at: who wins it shows at the other end.
pub(crate) const RACE: &str = "race with links";

/// A row of the table: an attempt of `arcs/hostile`.
pub(crate) struct Row {
    /// Its name there.
    pub(crate) name: &'static str,
    /// The layer (`spec::Layer`) that stops it where the list of system calls lets it through.
    pub(crate) layer: &'static str,
    /// What that is to people, where it is not the layer as such.
    pub(crate) stopped_by: &'static str,
    /// How it is told that it failed.
    pub(crate) verdict: Verdict,
}

/// How it is told that an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// By what it says itself.
    Refused,
    /// The same; the exceptions of the manifest allow it, to itself alone.
    RefusedUnlessGranted,
    /// The kernel ends it, or refuses.
    RefusedOrEnded,
    /// The gateway gives up on its answer.
    NotAnswered,
    /// It may do it; what it wants by that does not come about, which shows in everybody else.
    InVain,
}

const fn row(name: &'static str, layer: &'static str, stopped_by: &'static str) -> Row {
    Row { name, layer, stopped_by, verdict: Verdict::Refused }
}

const fn other(name: &'static str, layer: &'static str, stopped_by: &'static str, verdict: Verdict) -> Row {
    Row { name, layer, stopped_by, verdict }
}

/// All rows, in the order in which they are tried.
pub(crate) const ROWS: [Row; 64] = [
    row("trace", "processes", "it sees nobody to trace"),
    row("read memory", "files", "no /proc of others"),
    row("read memory by system call", "processes", "it sees nobody to read"),
    row("see processes", "processes", "processes of its own"),
    row("signal", "processes", "it sees nobody to signal"),
    row("signal everybody", "processes", "it sees nobody to signal"),
    row("bomb of processes", "pids", "the limit on processes"),
    row("bomb of threads", "pids", "the limit on processes"),
    row("namespaces", "seccomp", "the list of system calls"),
    row("namespaces by clone3", "seccomp", "the list of system calls: as if it were not there"),
    row("enter a namespace", "processes", "it sees nobody to join"),
    row("take a descriptor", "processes", "it sees nobody to take from"),
    row("learn the machine's name", "names", "a host name of its own"),
    row("mount", "privileges", "no privileges"),
    row("leave by chroot", "privileges", "no privileges"),
    row("another root", "privileges", "no privileges"),
    row("keys", "seccomp", "the list of system calls"),
    row("bpf", "seccomp", "the list of system calls"),
    row("perf", "seccomp", "the list of system calls"),
    row("userfaultfd", "seccomp", "the list of system calls: as if it were not there"),
    row("io_uring", "seccomp", "the list of system calls: as if it were not there"),
    row("type into a terminal", "files", "no terminal in its /dev"),
    row("make a device", "privileges", "no privileges"),
    row("open a device", "files", "a /dev of its own"),
    row("privileges", "privileges", "no privileges"),
    row("the clock", "privileges", "no privileges"),
    row("the kernel", "privileges", "no privileges"),
    row("raw socket", "network", "a network of its own"),
    row("packet socket", "network", "a network of its own"),
    row("netlink", "seccomp", "the list of system calls"),
    row("vsock", "seccomp", "the list of system calls"),
    row("other families", "seccomp", "the list of system calls"),
    row("abstract socket", "network", "a network of its own"),
    row("connect to loopback", "network", "a network of its own"),
    row("connect to the gateway's port", "network", "a network of its own"),
    row("connect to the LAN", "network", "a network of its own"),
    row("connect to the metadata address", "network", "a network of its own"),
    row("DNS by UDP", "network", "a network of its own"),
    row("DNS by TCP", "network", "a network of its own"),
    row("listen", "landlock", "Landlock for ports"),
    row("the proxy", "network", "the manifest: that host is not granted"),
    row("write outside", "files", "a read-only root of its own"),
    row("read the data of others", "files", "a file system of its own"),
    row("see the folders of others", "files", "a file system of its own"),
    row("read secrets", "files", "a file system of its own"),
    row("read the system's files", "files", "a file system of its own"),
    row("a link that leads outside", "files", "a file system of its own"),
    row("set-user-ID", "seccomp", "the list of system calls"),
    row("run what it has written", "files", "nothing is executed in its folder"),
    other("run from memory", "seccomp", "the list of system calls", Verdict::RefusedUnlessGranted),
    row("fill the disk", "disk", "the disk quota"),
    other(RACE, "files", "who serves it keeps to its folder", Verdict::InVain),
    other("2 GiB of memory", "memory", "the memory limit", Verdict::RefusedOrEnded),
    other("fill /tmp", "memory", "the size of its /tmp", Verdict::RefusedOrEnded),
    other("execute what it has written", "seccomp", "the list of system calls", Verdict::RefusedUnlessGranted),
    row("call what was not granted", "", "the gateway: its manifest"),
    row("claim another name", "", "the gateway: it is known by its socket"),
    row("speak for the gateway", "", "the gateway: it is known by its socket"),
    other("pass descriptors", "seccomp", "nobody takes them", Verdict::InVain),
    other("flood the log", "", "the rate limit of its log", Verdict::InVain),
    other("an answer without end", "", "the gateway: the longest line", Verdict::NotAnswered),
    other("an answer of 100 MB", "", "the gateway: the longest line", Verdict::NotAnswered),
    other("an answer a million deep", "", "the gateway: it is not read there", Verdict::NotAnswered),
    other("no answer", "", "the gateway: its patience", Verdict::NotAnswered),
];
