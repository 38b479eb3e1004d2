//! Other processes: seeing, reading, signalling them; making too many of its own; leaving its cage for another.

use std::fs;
use std::io;

use super::Attempt::{self, Inside};
use super::{Outcome, first};
use crate::kernel::{call, open, pointer, refused, word};

pub(super) const ATTEMPTS: &[(&str, Attempt)] = &[
    ("trace", Inside(trace)),
    ("read memory", Inside(read_memory)),
    ("read memory by system call", Inside(read_memory_by_call)),
    ("see processes", Inside(see)),
    ("signal", Inside(signal)),
    ("signal everybody", Inside(signal_everybody)),
    ("bomb of processes", Inside(fork_bomb)),
    ("bomb of threads", Inside(thread_bomb)),
    ("namespaces", Inside(namespaces)),
    ("namespaces by clone3", Inside(namespaces_by_clone3)),
    ("enter a namespace", Inside(enter_namespace)),
    ("take a descriptor", Inside(take_descriptor)),
    ("learn the machine's name", Inside(machine_name)),
];

/// Numbers that may be somebody else's: those that it was told, and all low ones, but for those of its own threads.
pub(super) fn others(at: &str) -> Vec<i64> {
    let own = i64::from(std::process::id());
    let is_own = |number: &i64| call(libc::SYS_tgkill, &[own, *number, 0]).is_ok();
    let told = at.split(' ').filter_map(|number| number.parse().ok());
    told.chain(1..=300).filter(|number| !is_own(number)).collect()
}

fn on_others(at: &str, what: &str, attempt: impl Fn(i64) -> io::Result<i64>) -> Outcome {
    first(others(at).into_iter().map(|pid| match attempt(pid) {
        Ok(_) => Ok(format!("{what} {pid}")),
        Err(error) => Err(refused(what, &error)),
    }))
}

fn trace(at: &str) -> Outcome {
    on_others(at, "ptrace", |pid| call(libc::SYS_ptrace, &[word(libc::PTRACE_SEIZE.cast_signed()), pid]))
}

fn read_memory(at: &str) -> Outcome {
    on_others(at, "/proc/PID/mem", |pid| fs::File::open(format!("/proc/{pid}/mem")).map(|_| 0))
}

fn read_memory_by_call(at: &str) -> Outcome {
    let mut bytes = [0_u8; 8];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(0x40_0000), iov_len: 8 };
    on_others(at, "process_vm_readv", |pid| {
        call(libc::SYS_process_vm_readv, &[pid, pointer(&local), 1, pointer(&remote), 1, 0])
    })
}

fn see(at: &str) -> Outcome {
    on_others(at, "getpgid", |pid| call(libc::SYS_getpgid, &[pid]))
}

/// With no signal: whether one could be sent. Sent for good it would be the tests' own end where nothing stops it.
fn signal(at: &str) -> Outcome {
    on_others(at, "kill", |pid| call(libc::SYS_kill, &[pid, 0]))
}

fn signal_everybody(_: &str) -> Outcome {
    call(libc::SYS_kill, &[-1, 0])
        .map(|_| "may signal everybody".to_owned())
        .map_err(|error| refused("kill -1", &error))
}

/// More than any manifest of the tests allows.
const TOO_MANY: usize = 500;

fn fork_bomb(_: &str) -> Outcome {
    let mut children = Vec::new();
    let error = loop {
        #[expect(unsafe_code, reason = "a process is made")]
        // SAFETY: the child makes one system call that can be made after any fork, and ends.
        match unsafe { libc::fork() } {
            0 => loop {
                // What wakes it ends it.
                let _ = call(libc::SYS_ppoll, &[0; 5]);
            },
            -1 => break Some(io::Error::last_os_error()),
            child => children.push(child),
        }
        if children.len() >= TOO_MANY {
            break None;
        }
    };
    for child in &children {
        let _ = call(libc::SYS_kill, &[word(*child), word(libc::SIGKILL)]);
        let _ = call(libc::SYS_wait4, &[word(*child), 0, 0, 0]);
    }
    bomb(children.len(), "fork", error)
}

fn thread_bomb(_: &str) -> Outcome {
    let (held, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    let mut threads = Vec::new();
    let error = loop {
        let gate = std::sync::Arc::clone(&gate);
        let wait = move || drop(gate.lock().map(|gate| gate.recv()));
        match std::thread::Builder::new().stack_size(16 << 10).spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => break Some(error),
        }
        if threads.len() >= TOO_MANY {
            break None;
        }
    };
    drop(held);
    let count = threads.len();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    bomb(count, "clone", error)
}

fn bomb(count: usize, what: &str, error: Option<io::Error>) -> Outcome {
    match error {
        None => Ok(format!("made {count} of them")),
        Some(error) => Err(format!("{} after {count}", refused(what, &error))),
    }
}

fn namespaces(_: &str) -> Outcome {
    let kinds = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWUSER | libc::CLONE_NEWNS,
    ];
    // Who has threads makes a process for a namespace of users.
    let by_clone = born(call(libc::SYS_clone, &[word(libc::CLONE_NEWUSER | libc::SIGCHLD)]), "clone");
    first([by_clone].into_iter().chain(kinds.map(|kind| match call(libc::SYS_unshare, &[word(kind)]) {
        Ok(_) => Ok(format!("unshare {kind:#x}")),
        Err(error) => Err(refused("unshare", &error)),
    })))
}

/// What came of the birth of a process, which ends at once.
fn born(result: io::Result<i64>, what: &str) -> Outcome {
    match result {
        Ok(0) => loop {
            let _ = call(libc::SYS_exit_group, &[0]);
        },
        Ok(child) => {
            let _ = call(libc::SYS_wait4, &[child, 0, 0, 0]);
            Ok("made a process in a user namespace of its own".to_owned())
        }
        Err(error) => Err(refused(what, &error)),
    }
}

fn namespaces_by_clone3(_: &str) -> Outcome {
    // Eleven words of `struct clone_args`: flags first, the signal of the child's end fifth.
    let mut arguments = [0_u64; 11];
    arguments[0] = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
    born(call(libc::SYS_clone3, &[pointer(&arguments), 88]), "clone3")
}

fn enter_namespace(at: &str) -> Outcome {
    on_others(at, "setns", |pid| {
        let process = open(libc::SYS_pidfd_open, &[pid, 0])?;
        call(libc::SYS_setns, &[word(std::os::fd::AsRawFd::as_raw_fd(&process)), word(libc::CLONE_NEWNET)])
    })
}

fn take_descriptor(at: &str) -> Outcome {
    on_others(at, "pidfd_getfd", |pid| {
        let process = open(libc::SYS_pidfd_open, &[pid, 0])?;
        call(libc::SYS_pidfd_getfd, &[word(std::os::fd::AsRawFd::as_raw_fd(&process)), 1, 0])
    })
}

/// The name that it was not given: `at` is what its own cage calls it.
fn machine_name(at: &str) -> Outcome {
    #[expect(unsafe_code, reason = "the structure has no constructor")]
    // SAFETY: all zero is a valid utsname.
    let name: libc::utsname = unsafe { std::mem::zeroed() };
    call(libc::SYS_uname, &[pointer(&name)]).map_err(|error| refused("uname", &error))?;
    let bytes: Vec<u8> = name.nodename.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8_lossy(&bytes).into_owned();
    if name == at { Err(format!("uname: it is called {name}, as its cage says")) } else { Ok(format!("it is {name}")) }
}
