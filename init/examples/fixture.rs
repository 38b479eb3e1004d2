//! A service for the tests of init: it does what its arguments say, in their order.
//!
//! `ready` says READY=1 · `status:TEXT` says STATUS=TEXT · `write:TEXT` writes a line · `env:KEY` writes a variable ·
//! `fds` writes what it inherited · `limits` writes its bounds · `serve:NAME` accepts one connection on the descriptor
//! of that name, reads a line and echoes it · `forever:NAME` does so again and again · `control` writes each line of
//! the control channel, and calls the attached descriptor's socket · `deaf` ignores SIGTERM · `orphan` leaves a
//! process in a session of its own · `break:NAME` shuts a listener down · `flood` writes without end · `gate:FILE`
//! waits until the file is there · `insist` tries to chroot 20,000 times · `exit:CODE` ends · `sleep` waits for a
//! signal.

#![expect(clippy::print_stdout, reason = "what a service writes is its log")]
#![expect(clippy::unwrap_used, reason = "a test's service may fail as it likes")]

use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() {
        // The gateway, whose manifest is init's own; in a cage it does not see what a test has written for it.
        let file = std::path::Path::new(&std::env::var("ARC_DATA").unwrap()).with_file_name("gateway.words");
        let text = std::fs::read_to_string(file).unwrap_or_else(|_| "ready sleep".to_owned());
        words = text.split_ascii_whitespace().map(str::to_owned).collect();
    }
    for word in &words {
        let (word, rest) = word.split_once(':').unwrap_or((word, ""));
        obey(word, rest);
    }
}

fn obey(word: &str, rest: &str) {
    match word {
        "ready" => notify("READY=1"),
        "status" => notify(&format!("STATUS={rest}")),
        "write" => println!("{rest}"),
        "env" => println!("{rest}={}", std::env::var(rest).unwrap_or_else(|_| "-".to_owned())),
        "environment" => std::env::vars().for_each(|(key, value)| println!("{key}={value}")),
        "fds" => write_descriptors(),
        "limits" => write_limits(),
        "serve" => serve(&listener(rest)),
        "forever" => loop {
            serve(&listener(rest));
        },
        "stdio" => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            print!("{line}");
        }
        "control" => follow_control(),
        "deaf" => nix_ignore_term(),
        "orphan" => orphan(),
        "break" => {
            let stream = UnixStream::from(OwnedFd::from(listener(rest)));
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        "flood" => loop {
            println!("{}", "flood ".repeat(100));
        },
        "gate" => {
            while !std::path::Path::new(rest).exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        "insist" => {
            // Refused by every cage; who insists is heard for a while, and refused for ever.
            let refusals = (0..20_000).filter(|_| std::os::unix::fs::chroot("/").is_err()).count();
            println!("refused {refusals} times");
        }
        "exit" => exit(rest.parse().unwrap()),
        "sleep" => loop {
            std::thread::park();
        },
        other => panic!("unknown word {other}"),
    }
}

fn notify(text: &str) {
    let socket = std::env::var("NOTIFY_SOCKET").unwrap();
    UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), socket).unwrap();
}

/// The inherited descriptor with this name, checked as sd_listen_fds(3) does.
fn inherited(name: &str) -> RawFd {
    assert_eq!(std::env::var("LISTEN_PID").unwrap(), std::process::id().to_string());
    let names = std::env::var("LISTEN_FDNAMES").unwrap();
    let index = names.split(':').position(|candidate| candidate == name).unwrap();
    3 + RawFd::try_from(index).unwrap()
}

fn listener(name: &str) -> UnixListener {
    own(inherited(name)).into()
}

#[expect(unsafe_code, reason = "an inherited descriptor is a number")]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: a copy, which nobody else owns.
    unsafe { OwnedFd::from_raw_fd(nix::libc::dup(descriptor)) }
}

fn serve(listener: &UnixListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    let _ = stream.write_all(line.as_bytes());
}

fn write_descriptors() {
    let mut numbers: Vec<u32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    // The last one is the folder that is being read.
    numbers.pop();
    println!("open {numbers:?} named {}", std::env::var("LISTEN_FDNAMES").unwrap_or_default());
}

fn write_limits() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    for name in ["Max core file size", "Max open files"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for name in ["Umask", "NoNewPrivs", "SigBlk", "SigIgn"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_owned();
    println!("session {}", session == std::process::id().to_string());
    println!("in {}", std::env::current_dir().unwrap().display());
}

/// Writes each message of the control channel; a socket that comes with it is called and must be answered by itself.
fn follow_control() {
    let control = own(inherited("control"));
    let mut text = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let (count, descriptors) = {
            let mut space = nix::cmsg_space!([RawFd; 4]);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let message =
                recvmsg::<UnixAddr>(control.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
            let mut descriptors = Vec::new();
            for part in message.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(received) = part {
                    descriptors.extend(received);
                }
            }
            (message.bytes, descriptors)
        };
        if count == 0 {
            return;
        }
        for descriptor in descriptors {
            let listener: UnixListener = own(descriptor).into();
            let address = listener.local_addr().unwrap();
            println!("socket {}", address.as_pathname().unwrap().file_name().unwrap().display());
            std::thread::spawn(move || {
                loop {
                    serve(&listener);
                }
            });
        }
        text.extend_from_slice(&bytes[..count]);
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            print!("heard {}", String::from_utf8_lossy(&line));
        }
        std::io::stdout().flush().unwrap();
    }
}

#[expect(unsafe_code, reason = "there is no safe way to ignore a signal")]
fn nix_ignore_term() {
    // SAFETY: ignoring is no handler of ours.
    unsafe {
        nix::libc::signal(nix::libc::SIGTERM, nix::libc::SIG_IGN);
    }
}

/// A process two generations below, in a session of its own, that ignores what it is asked.
fn orphan() {
    // It stays the shell that it is: while a process executes another program, its environment cannot be read.
    let script = "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; echo up >&3; exec 3>&-; sleep 1000; :' \
                  3>&1 </dev/null >/dev/null 2>&1 & exit 0";
    let mut child = Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    child.wait().unwrap();
    child.stdout.unwrap().read_exact(&mut [0; 3]).unwrap();
}
