//! What PID 1 does on the real root: the file systems, the modules, the data, what the machine keeps.

use std::fs;
use std::path::{Path, PathBuf};

use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, DEFAULT_CONFIG, Loader, MANIFESTS, MODULES, RootImage};

use super::data::{DATA, Data};
use super::disk::{self, Partition};
use super::led::{Condition, LEDS, Led};
use super::slots::Trial;
use super::upkeep::{CHECK_MOST, Upkeep};
use super::{attempt, end, keepsakes, load_modules, say, upkeep};
use crate::command_line::{Inheritance, Mode, Options};
use crate::sys::{self, Access, Halt, Mount};

/// Where everything lies that is made anew at each boot.
const RUN: &str = "/run";
/// Where the FAT partition with the owner's file is mounted.
const CONFIG: &str = "/run/config";
/// The owner's file on it.
const OWNERS_FILE: &str = "llmbasedos.toml";

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
const SETTINGS: [(&str, &str); 25] = [
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    ("fs/suid_dumpable", "0"),
    ("kernel/core_pattern", "|/bin/false"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "2"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/sysrq", "0"),
    // Nobody in the network says where its packets go.
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_source_route", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_source_route", "0"),
];

/// A machine on which services can run.
#[derive(Debug)]
pub(crate) struct Appliance {
    /// What was verified, as the kernel's command line says it.
    pub(super) root: Option<RootImage>,
    pub(super) data: Data,
    /// How many seconds after the kernel PID 1 began.
    pub(crate) started: Option<f64>,
    pub(crate) upkeep: Upkeep,
    pub(crate) led: Led,
}

impl Appliance {
    /// Prepares the machine. What fails is said, and the rest is done.
    pub(crate) fn prepare(inheritance: &Inheritance) -> Self {
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
        let line = command_line();
        let watchdog = match inheritance.watchdog {
            Some(number) => upkeep::inherit_watchdog(number),
            None => upkeep::start_watchdog(&line),
        };
        load_modules(Path::new(MODULES)).iter().for_each(|trouble| say(trouble));
        let mut led = Led::find(Path::new(LEDS));
        led.show(Condition::Busy);
        attempt("forbid more modules", fs::write("/proc/sys/kernel/modules_disabled", "1"));
        attempt("take Ctrl-Alt-Del", sys::take_ctrl_alt_del());
        attempt("forbid core dumps", sys::forbid_core_dumps());
        attempt("bring up loopback", sys::bring_up("lo"));
        let partitions = disk::partitions();
        let root = RootImage::of_command_line(&line).ok();
        let disk = root_disk(&partitions);
        let on_disk = |name| disk.as_deref().and_then(|disk| disk::on_disk(&partitions, disk, name));
        mount_config(on_disk(CONFIG_PARTITION));
        let data = upkeep::during(watchdog.as_ref(), CHECK_MOST, || Data::mount(on_disk(DATA_PARTITION)));
        keepsakes::restore(Path::new(DATA), Path::new(RUN));
        let loader = Loader::of_command_line(&line);
        let trial = root.zip(disk.as_deref()).map(|(root, disk)| Trial::of(root.slot, loader, &partitions, disk));
        let trial = trial.and_then(|trial| trial.map_err(|error| say(&format!("no trial of the slot: {error}"))).ok());
        Self { root, data, started: inheritance.started, upkeep: Upkeep::new(&line, watchdog, trial), led }
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
            without: Vec::new(),
        }
    }

    /// The slot that runs.
    pub(crate) fn slot(&self) -> Option<char> {
        self.root.map(|root| root.slot.letter())
    }

    /// How the data are, in words.
    pub(crate) fn describe_data(&self) -> String {
        self.data.describe()
    }

    /// Whether what is written lies on the data partition.
    pub(crate) fn has_data(&self) -> bool {
        self.data.lost.is_none()
    }

    /// Goes on without the data partition, which is mounted but cannot be used.
    pub(crate) fn lose_data(&mut self, why: String) {
        self.data.lose(why);
        keepsakes::restore(Path::new(DATA), Path::new(RUN));
    }

    /// Leaves the file systems clean and ends or restarts the machine.
    pub(crate) fn end(self, how: Halt) -> ! {
        self.upkeep.during_the_end(|| {
            keepsakes::keep(Path::new(DATA));
            self.data.unmount();
        });
        end(how)
    }
}

/// Lets groups below the root one bound what their processes use (Linux, `Documentation/admin-guide/cgroup-v2.rst`).
fn delegate_controllers() {
    for controller in ["cpu", "io", "memory", "pids"] {
        let file = "/sys/fs/cgroup/cgroup.subtree_control";
        attempt(&format!("delegate the controller {controller}"), fs::write(file, format!("+{controller}")));
    }
}

/// What the kernel was told.
fn command_line() -> String {
    fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// The disk that the root is on: partitions of the same name on another one are not ours.
fn root_disk(partitions: &[Partition]) -> Option<String> {
    let root =
        sys::partition_of_root().map_err(|error| say(&format!("the disk of the root is not found: {error}"))).ok()?;
    let root = partitions.iter().find(|partition| partition.device.file_name() == Some(&root))?;
    Some(root.disk.clone())
}

fn mount_config(partition: Option<&Partition>) {
    let Some(partition) = partition else { return };
    let device = partition.device.display().to_string();
    let options = "umask=0077,iocharset=ascii";
    let mount = Mount { source: &device, target: CONFIG, kind: "vfat", access: Access::ReadOnlyFiles, options };
    attempt("mount the partition with llmbasedos.toml", mount.mount());
}
