//! All processes of one service, those included that left its session and its process group.
//!
//! A cgroup v2 leaf of our own holds them where one can be made: nothing leaves it, and `cgroup.kill` ends it whole
//! (Linux, `Documentation/admin-guide/cgroup-v2.rst`). No controller is needed, nothing that exists is rearranged.
//! Where none can be made, the process tree is walked instead: by session, by parent, and for those that init adopted
//! by the service's own variable in their environment. That is a second best that a process may dodge; whatever it
//! misses is killed at the end as a child of init.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often, and after which pause, it is looked whether killed processes are gone where nothing else waits for it: at
/// the start and at the end of init.
const BURIAL_TRIES: usize = 100;
const BURIAL_PAUSE: Duration = Duration::from_millis(5);

/// The last of its memory, in bytes, which a service gets slowly.
const SLOWED: u64 = 512 << 10;

/// What those groups that are promised memory are promised together: the gateway, logd and netd, 32 MiB each.
const KEPT_TOGETHER: u64 = 96 << 20;

/// Where the groups of this init lie.
pub(crate) struct Groups {
    folder: Option<PathBuf>,
}

/// The processes of one service.
pub(crate) struct Group {
    leaf: Option<PathBuf>,
    /// `NAME=value` that all processes of the service and no others have in their environment.
    mark: String,
}

impl Groups {
    /// Finds or makes the folder of the groups for the data folder `data`, and kills what an earlier init that was
    /// itself killed has left: in that folder, or with `mark_prefix` in its environment. Call it while the data folder
    /// is locked.
    pub(crate) fn open(data: &Path, mark_prefix: &str) -> Self {
        let folder = own_cgroup().and_then(|parent| {
            let identity = fs::metadata(data).ok()?;
            let folder = parent.join(format!("llmbasedos-{}-{}", identity.dev(), identity.ino()));
            for left in leaves(&folder) {
                end_leaf(&left);
            }
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
                _ => Some(folder),
            }
        });
        for controller in folder.iter().flat_map(|_| ["memory", "pids", "cpu", "io"]) {
            // Where it is not delegated to init, its layer is missing; that is asked for and said.
            let file = folder.as_ref().map(|folder| folder.join("cgroup.subtree_control")).unwrap_or_default();
            let _ = fs::write(file, format!("+{controller}"));
        }
        // What groups are promised they have of their parent; where that is promised more, it goes to all of them.
        let _ = folder.as_ref().map(|folder| fs::write(folder.join("memory.low"), KEPT_TOGETHER.to_string()));
        // An init that ran in another cgroup has left them elsewhere.
        kill_marked(mark_prefix);
        Self { folder }
    }

    /// Whether groups are cgroups.
    pub(crate) fn are_cgroups(&self) -> bool {
        self.folder.is_some()
    }

    /// Gives up cgroups: no process can be born into them here.
    pub(crate) fn give_up(&mut self) {
        self.close();
        self.folder = None;
    }

    /// Whether a controller bounds what is in a group.
    pub(crate) fn has_controller(&self, name: &str) -> bool {
        let delegated = self.folder.as_ref().map(|folder| folder.join("cgroup.subtree_control"));
        let delegated = delegated.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        delegated.split_ascii_whitespace().any(|controller| controller == name)
    }

    /// The group of one service. `number` tells apart services that had the same name one after the other.
    pub(crate) fn group(&self, name: &str, number: u32, mark: String) -> Group {
        let leaf = self.folder.as_ref().map(|folder| folder.join(format!("{name}.{number}")));
        Group { leaf: leaf.filter(|leaf| fs::create_dir(leaf).is_ok()), mark }
    }

    /// Removes the folder of the groups, which must be empty.
    pub(crate) fn close(&self) {
        if let Some(folder) = &self.folder {
            for left in leaves(folder) {
                end_leaf(&left);
            }
            // Busy only when something in it cannot die; it then stays for the next start.
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Group {
    /// Its folder, for a process that is born into it. It is made anew: kernels (6.18 for one) kill at once what is born
    /// into a group that `cgroup.kill` was ever used on.
    pub(crate) fn entrance(&self) -> io::Result<Option<File>> {
        let renew = |leaf: &PathBuf| {
            fs::remove_dir(leaf)?;
            fs::create_dir(leaf)?;
            File::open(leaf)
        };
        self.leaf.as_ref().map(renew).transpose()
    }

    /// Sets the bounds of those controllers that are there (Linux, `Documentation/admin-guide/cgroup-v2.rst`).
    pub(crate) fn bound(&self, bounds: &Bounds) -> io::Result<()> {
        let Some(leaf) = &self.leaf else { return Ok(()) };
        // What goes above it is slowed down to next to nothing, and its pages are taken back before it is ended. So the way
        // from there to its end is short: who wants ever more is ended after seconds, not held for minutes.
        let high = bounds.memory.saturating_sub(SLOWED);
        let values = [
            ("memory.max", bounds.memory.to_string()),
            ("memory.high", high.to_string()),
            ("memory.low", bounds.memory_kept.to_string()),
            ("memory.swap.max", "0".to_owned()),
            // All of it ends then, not one process of it.
            ("memory.oom.group", "1".to_owned()),
            ("pids.max", bounds.processes.to_string()),
            ("cpu.weight", bounds.cpu_weight.to_string()),
            ("io.weight", bounds.cpu_weight.to_string()),
        ];
        for (file, value) in values {
            let path = leaf.join(file);
            // A controller that is not delegated has no files: that layer is known to be missing. Not every kernel has
            // swap, nor weights for its disks.
            if path.exists() {
                fs::write(path, value)?;
            }
        }
        Ok(())
    }

    /// Kills all of them. `main` is the process that init started for it.
    pub(crate) fn kill(&self, main: u32) {
        match &self.leaf {
            Some(leaf) => kill_leaf(leaf),
            None => self.walk(main).into_iter().for_each(kill_process),
        }
    }

    /// Lets them do nothing, or go on. Those that do nothing can be killed; they hear nothing else.
    pub(crate) fn freeze(&self, is_frozen: bool) -> io::Result<()> {
        let leaf = self.leaf.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        fs::write(leaf.join("cgroup.freeze"), if is_frozen { "1" } else { "0" })
    }

    /// The memory that they use together, in bytes, without what the kernel can take back at once: files that it has read
    /// for them. `None` where nobody counts it.
    pub(crate) fn memory(&self) -> Option<u64> {
        let leaf = self.leaf.as_ref()?;
        let used: u64 = fs::read_to_string(leaf.join("memory.current")).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(leaf.join("memory.stat")).unwrap_or_default();
        let kept = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
        Some(used.saturating_sub(kept.unwrap_or(0)))
    }

    /// What they use.
    pub(crate) fn usage(&self, main: u32) -> Usage {
        let listed = self.leaf.as_ref().map(|leaf| fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default());
        let members = match &listed {
            Some(text) => text.lines().filter_map(|pid| pid.parse().ok()).collect(),
            None => self.walk(main),
        };
        let mut usage = usage_of(&members);
        // The kernel counts those as well that have ended.
        let stat = self.leaf.as_ref().and_then(|leaf| fs::read_to_string(leaf.join("cpu.stat")).ok());
        let micros = stat.as_deref().and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("usage_usec ")));
        if let Some(micros) = micros.and_then(|micros| micros.parse::<u64>().ok()) {
            usage.cpu_ms = micros / 1000;
        }
        usage
    }

    /// Whether none of them is left.
    pub(crate) fn is_empty(&self, main: u32) -> bool {
        match &self.leaf {
            Some(leaf) => is_empty_leaf(leaf),
            None => self.walk(main).is_empty(),
        }
    }

    fn walk(&self, main: u32) -> BTreeSet<u32> {
        let processes = processes();
        let own = std::process::id();
        let is_mark = |variable: &[u8]| variable == self.mark.as_bytes();
        let adopted = |process: &Process| process.parent == own && has_in_environment(process.pid, is_mark);
        let belongs = |process: &&Process| process.pid == main || process.session == main || adopted(process);
        let mut members: BTreeSet<u32> = processes.iter().filter(belongs).map(|process| process.pid).collect();
        loop {
            let children = processes.iter().filter(|process| members.contains(&process.parent));
            let more: Vec<u32> = children.map(|process| process.pid).filter(|pid| !members.contains(pid)).collect();
            if more.is_empty() {
                return members;
            }
            members.extend(more);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leaf) = &self.leaf {
            // Not empty only when it could not be killed; `Groups::close` tries again.
            let _ = fs::remove_dir(leaf);
        }
    }
}

/// What bounds the processes of a service together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// In bytes.
    pub(crate) memory: u64,
    /// So much of that is taken from it last of all.
    pub(crate) memory_kept: u64,
    pub(crate) processes: u32,
    pub(crate) cpu_weight: u32,
}

/// What some processes use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    /// In bytes, what they share counted in shares.
    pub(crate) memory: u64,
    pub(crate) cpu_ms: u64,
}

/// What init itself uses.
pub(crate) fn own_usage() -> Usage {
    usage_of(&[std::process::id()].into())
}

fn usage_of(members: &BTreeSet<u32>) -> Usage {
    let usages = members.iter().filter_map(|pid| {
        let folder = Path::new("/proc").join(pid.to_string());
        let maps = fs::read_to_string(folder.join("smaps_rollup")).ok()?;
        let pss = maps.lines().find_map(|line| line.strip_prefix("Pss:")?.split_ascii_whitespace().next());
        let kib: u64 = pss.and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let cpu_ms = cpu_ms(&fs::read(folder.join("stat")).ok()?).unwrap_or_default();
        Some(Usage { processes: 1, memory: kib * 1024, cpu_ms })
    });
    usages.fold(Usage::default(), |sum, one| Usage {
        processes: sum.processes + one.processes,
        memory: sum.memory + one.memory,
        cpu_ms: sum.cpu_ms + one.cpu_ms,
    })
}

/// The time in user and in kernel mode of `/proc/<pid>/stat`, fields 14 and 15, which are in hundredths of a second.
fn cpu_ms(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after_name..)?).ok()?.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 10)
}

/// Kills whatever is still a child of init, however it came to be one; answers whether there was any.
pub(crate) fn kill_children() -> bool {
    let own = std::process::id();
    let children: Vec<u32> =
        processes().iter().filter(|process| process.parent == own).map(|process| process.pid).collect();
    let any = !children.is_empty();
    children.into_iter().for_each(kill_process);
    any
}

/// Kills every process with a variable that begins with `prefix`, and waits a moment until they are gone.
fn kill_marked(prefix: &str) {
    let is_mark = |variable: &[u8]| variable.starts_with(prefix.as_bytes());
    for _ in 0..BURIAL_TRIES {
        let marked = processes().into_iter().map(|process| process.pid);
        let marked: Vec<u32> = marked.filter(|&pid| has_in_environment(pid, is_mark)).collect();
        if marked.is_empty() {
            return;
        }
        marked.into_iter().for_each(kill_process);
        std::thread::sleep(BURIAL_PAUSE);
    }
}

fn kill_process(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // One that is gone is what is wanted.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The cgroup v2 folder of init itself.
fn own_cgroup() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then_some(folder)
    })?;
    Some(Path::new(mount).join(path))
}

fn leaves(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn kill_leaf(leaf: &Path) {
    // Linux 5.14; on an older kernel the group does not become empty, which the caller sees.
    let _ = fs::write(leaf.join("cgroup.kill"), "1");
}

fn is_empty_leaf(leaf: &Path) -> bool {
    match fs::read_to_string(leaf.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 0"),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn end_leaf(leaf: &Path) {
    kill_leaf(leaf);
    for _ in 0..BURIAL_TRIES {
        if fs::remove_dir(leaf).is_ok() {
            return;
        }
        std::thread::sleep(BURIAL_PAUSE);
    }
}

struct Process {
    pid: u32,
    parent: u32,
    session: u32,
}

/// All living processes that can be seen.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        parse_stat(pid, &fs::read(entry.path().join("stat")).ok()?)
    };
    entries.filter_map(read).collect()
}

/// Reads `/proc/<pid>/stat` (proc_pid_stat(5)); `None` for a dead process. The name in parentheses may hold anything.
fn parse_stat(pid: u32, stat: &[u8]) -> Option<Process> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let (state, parent, _group, session) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if matches!(state, "Z" | "X") {
        return None;
    }
    Some(Process { pid, parent: parent.parse().ok()?, session: session.parse().ok()? })
}

fn has_in_environment(pid: u32, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(is_wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_does_not_shift_the_fields() {
        let process = parse_stat(5, b"5 (a) Z 1 (b) S 7 8 9 0 -1").expect("alive");
        assert_eq!((process.pid, process.parent, process.session), (5, 7, 9));
        assert!(parse_stat(5, b"5 (a) Z 7 8 9 0 -1").is_none());
        assert!(parse_stat(5, b"rubbish").is_none());
    }

    #[test]
    fn what_a_process_uses_is_read() {
        assert_eq!(cpu_ms(b"5 (a) Z) S 7 8 9 0 -1 0 0 0 0 0 12 3 0 0"), Some(150));
        let own = own_usage();
        assert!(own.processes == 1 && own.memory > 100_000, "{own:?}");
    }

    #[test]
    fn without_cgroups_an_orphan_is_found_by_its_mark() {
        use std::process::Command;
        super::super::adopt_orphans().expect("adopted");
        let mark = format!("NOTIFY_SOCKET=/test/{}", std::process::id());
        let (key, value) = mark.split_once('=').expect("a pair");
        // It executes nothing more: while a process does that, its environment cannot be read.
        let script = "setsid sh -c 'echo up; kill -STOP $$' & read end";
        let mut main = Command::new("/bin/sh");
        main.args(["-c", script]).env(key, value);
        main.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut main = main.spawn().expect("a shell");
        let mut up = [0; 3];
        io::Read::read_exact(main.stdout.as_mut().expect("piped"), &mut up).expect("the orphan is there");
        let group = Groups { folder: None }.group("kv", 1, mark);
        assert_eq!(group.walk(main.id()).len(), 2, "the service and its child");
        main.kill().expect("killed");
        main.wait().expect("waited");
        assert_eq!(group.walk(main.id()).len(), 1, "its orphan, which is ours now");
        while !group.is_empty(main.id()) {
            group.kill(main.id());
            super::super::reap_orphans(|_| false);
        }
    }
}
