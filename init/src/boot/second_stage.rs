//! What PID 1 does on the real root: the file systems, the modules, the machine's name, the data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, DEFAULT_CONFIG, MANIFESTS, MODULES, RootImage};

use super::disk::{self, Partition};
use super::{end, load_modules, say};
use crate::command_line::{Mode, Options};
use crate::sys::{self, Access, Halt, Mount};

/// Where the data lie.
const DATA: &str = "/data";
/// Where everything lies that is made anew at each boot.
const RUN: &str = "/run";
/// Where the FAT partition with the owner's file is mounted.
const CONFIG: &str = "/run/config";
/// The owner's file on it.
const OWNERS_FILE: &str = "llmbasedos.toml";
/// Unless the owner says another.
const HOST_NAME: &str = "llmbasedos";

/// The file systems that are needed beside those of the first stage.
const FILE_SYSTEMS: [Mount<'static>; 5] = [
    Mount {
        source: "devpts",
        target: "/dev/pts",
        kind: "devpts",
        access: Access::Devices,
        options: "mode=0620,ptmxmode=0666",
    },
    Mount { source: "shm", target: "/dev/shm", kind: "tmpfs", access: Access::Files, options: "mode=1777,size=25%" },
    Mount { source: "run", target: "/run", kind: "tmpfs", access: Access::Files, options: "mode=0755,size=25%" },
    Mount { source: "tmp", target: "/tmp", kind: "tmpfs", access: Access::Files, options: "mode=1777,size=25%" },
    Mount {
        source: "cgroup",
        target: "/sys/fs/cgroup",
        kind: "cgroup2",
        access: Access::Files,
        options: "nsdelegate,memory_recursiveprot",
    },
];

/// What a kernel setting is hardened to, below `/proc/sys` (Linux, `Documentation/admin-guide/sysctl/`).
const SETTINGS: [(&str, &str); 12] = [
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    ("fs/suid_dumpable", "0"),
    ("kernel/core_pattern", "|/bin/false"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "2"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
];

/// A machine on which services can run.
#[derive(Debug)]
pub(crate) struct Machine {
    data: Data,
}

/// Where what is written to `/data` goes.
#[derive(Debug, PartialEq, Eq)]
enum Data {
    /// To the partition.
    Kept,
    /// To memory, until the machine ends: the partition could not be used.
    Lost,
}

impl Machine {
    /// Prepares the machine. What fails is said, and the rest is done.
    pub(crate) fn prepare() -> Self {
        for mount in FILE_SYSTEMS {
            attempt(&format!("mount {}", mount.target), mount.mount());
        }
        delegate_controllers();
        for (name, value) in SETTINGS {
            // Some are only there where the kernel was built with what they steer.
            let path = Path::new("/proc/sys").join(name);
            if path.exists() {
                attempt(&format!("set {name}"), fs::write(path, value));
            }
        }
        load_modules(Path::new(MODULES)).iter().for_each(|trouble| say(trouble));
        attempt("take Ctrl-Alt-Del", sys::take_ctrl_alt_del());
        attempt("set the host name", sys::set_host_name(HOST_NAME));
        attempt("bring up loopback", sys::bring_up("lo"));
        let partitions = disk::partitions();
        let disk = root_disk(&partitions);
        let on_disk = |name| disk.as_deref().and_then(|disk| disk::on_disk(&partitions, disk, name));
        mount_config(on_disk(CONFIG_PARTITION));
        Self { data: mount_data(on_disk(DATA_PARTITION)) }
    }

    /// How the services of this machine are run.
    pub(crate) fn options(&self) -> Options {
        let owners = Path::new(CONFIG).join(OWNERS_FILE);
        let files = [PathBuf::from(DEFAULT_CONFIG), owners];
        Options {
            mode: Mode::Appliance,
            data: DATA.into(),
            run: Some(RUN.into()),
            manifests: vec![MANIFESTS.into()],
            config: files.into_iter().filter(|file| file.exists()).collect(),
            listen: None,
            programs: None,
            with_parent: false,
        }
    }

    /// Leaves the file systems clean and ends or restarts the machine.
    pub(crate) fn end(self, how: Halt) -> ! {
        if self.data == Data::Kept {
            attempt("unmount the data", sys::unmount(DATA));
        }
        end(how)
    }
}

/// Says it where an optional step failed.
fn attempt(step: &str, outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        say(&format!("cannot {step}: {error}"));
    }
}

/// Lets groups below the root one bound what their processes use (Linux, `Documentation/admin-guide/cgroup-v2.rst`).
fn delegate_controllers() {
    for controller in ["cpu", "io", "memory", "pids"] {
        let file = "/sys/fs/cgroup/cgroup.subtree_control";
        attempt(&format!("delegate the controller {controller}"), fs::write(file, format!("+{controller}")));
    }
}

/// The disk that the root is on.
fn root_disk(partitions: &[Partition]) -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").ok()?;
    let name = RootImage::of_command_line(&line).ok()?.slot.root_partition();
    partitions.iter().find(|partition| partition.name == name).map(|partition| partition.disk.clone())
}

fn mount_config(partition: Option<&Partition>) {
    let Some(partition) = partition else { return };
    let device = partition.device.display().to_string();
    let options = "umask=0077,iocharset=ascii";
    let mount = Mount { source: &device, target: CONFIG, kind: "vfat", access: Access::ReadOnlyFiles, options };
    attempt("mount the partition with llmbasedos.toml", mount.mount());
}

/// Checks and mounts the data. Where that fails the machine runs with what is in memory, and the partition is left as
/// it is.
fn mount_data(partition: Option<&Partition>) -> Data {
    let outcome = partition.ok_or_else(|| "there is no partition of that name".to_owned()).and_then(|partition| {
        let device = partition.device.display().to_string();
        check(&device)?;
        let mount = Mount { source: &device, target: DATA, kind: "ext4", access: Access::Programs, options: "" };
        mount.mount().map_err(|error| error.to_string())
    });
    let Err(why) = outcome else { return Data::Kept };
    say(&format!("data: cannot be mounted ({why}): running without it; nothing was changed"));
    let mount = Mount { source: "data", target: DATA, kind: "tmpfs", access: Access::Programs, options: "size=25%" };
    attempt("make room for data in memory", mount.mount());
    Data::Lost
}

/// Mends what a power cut left (e2fsck(8)): first what can be mended without a doubt, and where that is not enough,
/// with the first of the other copies of the superblock.
fn check(device: &str) -> Result<(), String> {
    /// `e2fsck` ended with nothing left to mend: 0, 1 (mended), 2 (mended, wants a restart if the root was mounted).
    const WELL: [i32; 3] = [0, 1, 2];
    for how in ["-p", "-fy"] {
        let run = Command::new("/usr/sbin/e2fsck").args([how, device]).stdin(Stdio::null()).output();
        let output = run.map_err(|error| format!("e2fsck: {error}"))?;
        if output.status.code().is_some_and(|code| WELL.contains(&code)) {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).lines().for_each(sys::write_kernel_log);
        say(&format!("data: e2fsck {how}: {}", output.status));
    }
    Err("e2fsck could not mend it".to_owned())
}
