//! Which system calls a service may make: a plain value, compiled in `sys::cage::seccomp`.
//!
//! What is not on the list is an error to the caller (EPERM), and init is told of it and says so in its log. Checked are
//! numbers and arguments that are numbers; what a pointer points to cannot be checked, so calls that take their meaning
//! from there (`clone3`, `openat2`, `sendmsg`) are off the list or stand for themselves in a manifest.

use std::collections::BTreeMap;

use nix::libc;
use spec::Extra;

/// What every server needs: files, memory, threads, time, its sockets. A call that one kind of machine does not have, or has
/// by another name (`newfstatat` is `fstatat` on 64-bit ARM), counts for nothing there.
const SERVER: &str = "read write pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 close close_range \
    newfstatat fstatat fstat statx stat lstat lseek getdents64 fsync fdatasync ftruncate fallocate fadvise64 sync_file_range \
    flock rename renameat renameat2 unlink unlinkat rmdir link linkat symlink symlinkat utimensat readlink readlinkat \
    access faccessat faccessat2 getcwd chdir fchdir umask copy_file_range sendfile splice statfs fstatfs munmap mremap \
    madvise brk mincore rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend \
    sigaltstack restart_syscall futex set_robust_list get_robust_list rseq set_tid_address exit exit_group gettid \
    getpid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups getpriority \
    capget sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler getcpu clock_gettime \
    clock_getres clock_nanosleep nanosleep gettimeofday time times timerfd_create timerfd_settime timerfd_gettime \
    timer_create timer_settime timer_delete setitimer getitimer alarm getrandom uname getrusage getrlimit sysinfo \
    eventfd eventfd2 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select \
    pselect6 pipe pipe2 dup dup2 dup3 accept accept4 connect listen recvfrom sendto shutdown getsockname getpeername \
    getsockopt membarrier pause tgkill mlock munlock signalfd4";

/// What an Arc that makes processes of its own needs beside that.
const PROCESSES: &str = "fork vfork execve wait4 waitid kill pidfd_open pidfd_send_signal setpgid setsid";

/// What runtimes for scripts ask for beside that.
const RUNTIME: &str = "recvmsg sendmsg recvmmsg sendmmsg memfd_create inotify_init1 inotify_add_watch inotify_rm_watch \
    pkey_alloc pkey_mprotect pkey_free sched_setscheduler setpriority msync getxattr lgetxattr fgetxattr listxattr \
    llistxattr flistxattr rt_sigqueueinfo set_mempolicy get_mempolicy mbind chown fchown fchownat lchown";

/// What a service in the machine's own network needs beside that.
const HOST_NETWORK: &str = "recvmsg sendmsg recvmmsg sendmmsg bind";

/// What goes with the privilege to set the clock.
const CLOCK: &str = "settimeofday clock_settime adjtimex clock_adjtime";

/// Calls that are answered as on a kernel that does not have them, so that programs take another way without a word.
const ABSENT: &str = "clone3 io_uring_setup io_uring_enter io_uring_register openat2 userfaultfd landlock_create_ruleset \
    cachestat futex_waitv map_shadow_stack process_madvise mseal pkey_alloc";

/// What a service may do, as far as its list of system calls depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The program is linked dynamically: it maps libraries.
    pub(crate) is_dynamic: bool,
    /// It speaks TCP on its own loopback: to the egress proxy, or as a server.
    pub(crate) has_loopback: bool,
    /// It is in the machine's network.
    pub(crate) has_host_network: bool,
    /// It has a channel to init, on which descriptors come.
    pub(crate) has_channel: bool,
    /// It may set the clock.
    pub(crate) sets_clock: bool,
    /// It may set links.
    pub(crate) sets_links: bool,
    /// What its manifest adds.
    pub(crate) extras: Vec<Extra>,
}

/// A condition on one argument: `argument & mask == value`, as 32 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) argument: u8,
    pub(crate) mask: u64,
    pub(crate) value: u64,
}

/// Which calls are allowed: by name, each with its alternatives; of an alternative all checks hold. None: always.
pub(crate) type Rules = BTreeMap<&'static str, Vec<Vec<Check>>>;

const fn check(argument: u8, mask: u64, value: u64) -> Check {
    Check { argument, mask, value }
}

/// An argument that is a C `int`.
fn is(argument: u8, value: i32) -> Check {
    check(argument, u64::from(u32::MAX), u64::from(value.cast_unsigned()))
}

/// The bits of a C `int`.
fn bits(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

/// `CLONE_NEW*` of clone(2), with `CLONE_NEWTIME`.
const NEW_NAMESPACES: u64 = 0x7E02_0080;
/// Set-user-ID and set-group-ID.
const SET_ID: u64 = 0o6000;

impl Profile {
    fn has(&self, extra: Extra) -> bool {
        self.extras.contains(&extra)
    }

    /// The word of a manifest's `allow` that would permit a call which was refused, where one would and it is not there.
    pub(crate) fn word_for(&self, call: &str) -> Option<&'static str> {
        let is_on = |list: &str| list.split_ascii_whitespace().any(|name| name == call);
        let (extra, word) = match call {
            "mmap" | "mprotect" => (Extra::Jit, "jit"),
            "clone" => (Extra::Processes, "processes"),
            _ if is_on(PROCESSES) => (Extra::Processes, "processes"),
            _ if is_on(RUNTIME) => (Extra::Runtime, "runtime"),
            _ => return None,
        };
        (!self.has(extra)).then_some(word)
    }

    /// Calls that seem not to be there.
    pub(crate) fn absent(&self) -> Vec<&'static str> {
        let is_there = |name: &&str| match *name {
            "openat2" => self.has(Extra::Openat2),
            // V8 asks for it wherever the processor has memory protection keys, and does without.
            "pkey_alloc" => self.has(Extra::Runtime),
            _ => false,
        };
        ABSENT.split_ascii_whitespace().filter(|name| !is_there(name)).collect()
    }

    /// All that is allowed. `exec` is the one descriptor of which a program may be executed, `report` the one on which
    /// a message with descriptors may be sent; both are above the bound on open files, so that they are gone for good
    /// once the program runs.
    pub(crate) fn rules(&self, exec: u32, report: u32) -> Rules {
        let mut rules = Rules::new();
        let mut allow = |names: &'static str| {
            rules.extend(names.split_ascii_whitespace().map(|name| (name, vec![Vec::new()])));
        };
        allow(SERVER);
        for (applies, names) in [
            (self.has(Extra::Processes), PROCESSES),
            (self.has(Extra::Runtime), RUNTIME),
            (self.has(Extra::Openat2), "openat2"),
            (self.has_host_network, HOST_NETWORK),
            (self.has_loopback, "bind"),
            (self.has_channel, "recvmsg sendmsg"),
            (self.sets_clock, CLOCK),
        ] {
            if applies {
                allow(names);
            }
        }
        let exec = check(0, u64::from(u32::MAX), u64::from(exec));
        let report = check(0, u64::from(u32::MAX), u64::from(report));
        rules.insert("execveat", vec![vec![exec, is(4, libc::AT_EMPTY_PATH)]]);
        rules.entry("sendmsg").or_insert_with(|| vec![vec![report]]);
        rules.extend(self.memory());
        rules.extend(self.processes());
        rules.extend(self.sockets());
        rules.extend(modes());
        rules.extend(commands(self.sets_links));
        rules
    }

    /// Memory is written or executed, never both; only libraries and what a manifest says is executed at all.
    fn memory(&self) -> Vec<(&'static str, Vec<Vec<Check>>)> {
        let (write, execute) = (bits(libc::PROT_WRITE), bits(libc::PROT_EXEC));
        let (shared, anonymous) = (bits(libc::MAP_SHARED), bits(libc::MAP_ANONYMOUS));
        if self.has(Extra::Jit) {
            return vec![("mmap", vec![Vec::new()]), ("mprotect", vec![Vec::new()])];
        }
        let mut maps =
            vec![vec![check(2, execute, 0), check(3, shared, 0)], vec![check(2, execute, 0), check(3, anonymous, 0)]];
        if self.is_dynamic || self.has(Extra::Libraries) {
            maps.push(vec![check(2, execute | write, execute), check(3, anonymous, 0)]);
        }
        vec![("mmap", maps), ("mprotect", vec![vec![check(2, execute, 0)]])]
    }

    /// Threads; processes where they are allowed; namespaces never.
    fn processes(&self) -> Vec<(&'static str, Vec<Vec<Check>>)> {
        let thread = bits(libc::CLONE_THREAD);
        let clone = match self.has(Extra::Processes) {
            true => check(0, NEW_NAMESPACES, 0),
            false => check(0, NEW_NAMESPACES | thread, thread),
        };
        let own = is(0, 0);
        let mut prctl: Vec<Vec<Check>> = [
            libc::PR_SET_NAME,
            libc::PR_GET_NAME,
            libc::PR_SET_VMA,
            libc::PR_GET_DUMPABLE,
            libc::PR_CAPBSET_READ,
            libc::PR_GET_NO_NEW_PRIVS,
        ]
        .into_iter()
        .map(|option| vec![is(0, option)])
        .collect();
        if self.has(Extra::Processes) {
            prctl.extend([vec![is(0, libc::PR_SET_PDEATHSIG)], vec![is(0, libc::PR_SET_CHILD_SUBREAPER)]]);
        }
        vec![
            ("clone", vec![vec![clone]]),
            ("prctl", prctl),
            // Reading its own bounds, and lowering them.
            ("prlimit64", vec![vec![own]]),
            ("arch_prctl", vec![vec![is(0, ARCH_SET_FS)], vec![is(0, ARCH_GET_FS)]]),
        ]
    }

    fn sockets(&self) -> Vec<(&'static str, Vec<Vec<Check>>)> {
        let family = |family: i32| vec![is(0, family)];
        // TCP alone: Landlock's rules for ports know nothing of MPTCP, SCTP and SMC.
        let stream = |family: i32| {
            [0, libc::IPPROTO_TCP]
                .map(|protocol| vec![is(0, family), check(1, SOCKET_TYPE, bits(libc::SOCK_STREAM)), is(2, protocol)])
        };
        let mut sockets = vec![family(libc::AF_UNIX)];
        if self.has_host_network {
            sockets.extend([libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET].map(family));
        } else if self.has_loopback {
            sockets.extend([libc::AF_INET, libc::AF_INET6].into_iter().flat_map(stream));
        }
        let level = |level: i32| vec![is(1, level)];
        let mut options = vec![level(libc::SOL_SOCKET)];
        if self.has_loopback || self.has_host_network {
            options.extend([libc::IPPROTO_TCP, libc::IPPROTO_IPV6].map(level));
        }
        if self.has_host_network {
            options.extend([libc::IPPROTO_IP, libc::SOL_NETLINK, libc::SOL_PACKET].map(level));
        }
        vec![("socket", sockets), ("socketpair", vec![family(libc::AF_UNIX)]), ("setsockopt", options)]
    }
}

/// `SOCK_TYPE_MASK` of the kernel: the type without `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const SOCKET_TYPE: u64 = 0xF;
/// arch_prctl(2).
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;

/// No file becomes set-user-ID or set-group-ID: on the disk it would be root's.
fn modes() -> Vec<(&'static str, Vec<Vec<Check>>)> {
    // `__O_TMPFILE` alone: without it and O_CREAT the mode is not read.
    let creates = bits(libc::O_CREAT) | (bits(libc::O_TMPFILE) & !bits(libc::O_DIRECTORY));
    vec![
        ("fchmod", vec![vec![check(1, SET_ID, 0)]]),
        ("fchmodat", vec![vec![check(2, SET_ID, 0)]]),
        ("chmod", vec![vec![check(1, SET_ID, 0)]]),
        ("mkdir", vec![vec![check(1, SET_ID, 0)]]),
        ("mkdirat", vec![vec![check(2, SET_ID, 0)]]),
        ("creat", vec![vec![check(1, SET_ID, 0)]]),
        ("open", vec![vec![check(1, creates, 0)], vec![check(2, SET_ID, 0)]]),
        ("openat", vec![vec![check(2, creates, 0)], vec![check(3, SET_ID, 0)]]),
    ]
}

/// netdevice(7): a link's flags, hardware address and number, read and set (`SIOCGIFFLAGS` and so on). Programs older than
/// netlink ask so.
const LINK_COMMANDS: [i32; 5] = [0x8913, 0x8914, 0x8924, 0x8927, 0x8933];

/// ioctl(2) and fcntl(2): what is harmless on any descriptor, and what goes with the privilege to set links.
fn commands(sets_links: bool) -> Vec<(&'static str, Vec<Vec<Check>>)> {
    let commands = |numbers: &[i32]| -> Vec<Vec<Check>> { numbers.iter().map(|&number| vec![is(1, number)]).collect() };
    /// `include/uapi/asm-generic/ioctls.h`: whether it is a terminal, and how large.
    const TERMINAL: [i32; 2] = [0x5401, 0x5413];
    const FIONREAD: i32 = 0x541B;
    const FIONBIO: i32 = 0x5421;
    const FIONCLEX: i32 = 0x5450;
    const FIOCLEX: i32 = 0x5451;
    let [is_terminal, size] = TERMINAL;
    let mut ioctls = commands(&[is_terminal, size, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX]);
    if sets_links {
        ioctls.extend(commands(&LINK_COMMANDS));
    }
    let fcntls = commands(&[
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETLK,
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_OFD_GETLK,
        libc::F_OFD_SETLK,
        libc::F_OFD_SETLKW,
        libc::F_GETPIPE_SZ,
    ]);
    vec![("ioctl", ioctls), ("fcntl", fcntls)]
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use syscalls::{aarch64, x86_64};

    use super::*;

    fn names(profile: &Profile) -> Vec<&'static str> {
        profile.rules(900, 901).into_keys().collect()
    }

    #[test]
    fn every_name_is_a_system_call() {
        let all = Profile {
            is_dynamic: true,
            has_loopback: true,
            has_host_network: true,
            has_channel: true,
            sets_clock: true,
            sets_links: true,
            extras: vec![Extra::Jit, Extra::Processes, Extra::Openat2, Extra::Runtime],
        };
        for name in names(&all).into_iter().chain(Profile::default().absent()) {
            let is_known = is_of::<x86_64::Sysno>(name) || is_of::<aarch64::Sysno>(name);
            assert!(is_known, "{name}");
        }
    }

    fn is_of<Calls: FromStr>(name: &str) -> bool {
        name.parse::<Calls>().is_ok()
    }

    /// As strace(1) shows it of the loader of the GNU C library.
    #[test]
    fn libraries_are_loaded_on_each_kind_of_machine() {
        let dynamic = names(&Profile { is_dynamic: true, ..Profile::default() });
        let common =
            "brk close faccessat mmap mprotect munmap openat pread64 read rseq set_robust_list set_tid_address";
        for name in common.split(' ') {
            assert!(dynamic.contains(&name) && is_of::<x86_64::Sysno>(name) && is_of::<aarch64::Sysno>(name), "{name}");
        }
        let stat: Vec<_> = dynamic.iter().copied().filter(|name| name.contains("fstatat")).collect();
        assert!(stat.iter().any(|name| is_of::<x86_64::Sysno>(name)), "{stat:?}");
        assert!(stat.iter().any(|name| is_of::<aarch64::Sysno>(name)), "{stat:?}");
    }

    #[test]
    fn what_leads_out_of_a_cage_is_on_no_list() {
        let all = Profile {
            is_dynamic: true,
            has_loopback: true,
            has_host_network: false,
            has_channel: true,
            sets_clock: false,
            sets_links: true,
            extras: vec![Extra::Jit, Extra::Processes, Extra::Openat2, Extra::Runtime],
        };
        let out = "ptrace process_vm_readv process_vm_writev mount umount2 pivot_root chroot unshare setns move_mount \
            open_tree fsopen fsmount mount_setattr keyctl add_key request_key bpf perf_event_open userfaultfd \
            io_uring_setup clone3 mknod mknodat setuid setresuid setgroups capset reboot init_module finit_module \
            kexec_load quotactl swapon open_by_handle_at name_to_handle_at pidfd_getfd kcmp seccomp personality ioperm \
            iopl settimeofday sethostname syslog acct";
        let allowed = names(&all);
        for name in out.split_ascii_whitespace() {
            assert!(!allowed.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_call_that_was_refused_has_a_word_that_permits_it_unless_nothing_does() {
        let plain = Profile::default();
        let table =
            [("mprotect", Some("jit")), ("execve", Some("processes")), ("recvmsg", Some("runtime")), ("mount", None)];
        for (call, word) in table {
            assert_eq!(plain.word_for(call), word, "{call}");
        }
        let jit = Profile { extras: vec![Extra::Jit], ..Profile::default() };
        assert_eq!(jit.word_for("mprotect"), None);
    }

    #[test]
    fn a_message_with_descriptors_is_for_those_who_say_so() {
        let plain = Profile::default().rules(900, 901);
        assert_eq!(plain.get("sendmsg"), Some(&vec![vec![check(0, u64::from(u32::MAX), 901)]]));
        assert!(!plain.contains_key("recvmsg") && !plain.contains_key("execve") && !plain.contains_key("bind"));
        let runtime = Profile { extras: vec![Extra::Runtime], ..Profile::default() };
        assert_eq!(runtime.rules(900, 901).get("sendmsg"), Some(&vec![Vec::new()]));
    }
}
