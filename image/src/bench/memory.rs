//! What each process of the system holds in memory: its proportional share (PSS), as the kernel counts it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Deserialize;
use spec::control::{SERVICES, ServiceInfo};

use super::say;
use crate::failure::Failure;

#[derive(Deserialize)]
struct Answer {
    result: Vec<ServiceInfo>,
}

/// Prints the share of init and of each service that runs.
pub(crate) fn report(init_socket: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io("reach", init_socket, &error);
    let mut stream = UnixStream::connect(init_socket).map_err(failed)?;
    let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{SERVICES}\"}}\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let init = peer(&stream);
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    let answer: Answer = serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
    let services = answer.result.into_iter().filter_map(|service| Some((service.name.to_string(), service.pid?)));
    say("memory (PSS)                    KiB");
    let mut sum = 0;
    for (name, pid) in init.map(|pid| ("init".to_owned(), pid)).into_iter().chain(services) {
        let kib = share(pid).unwrap_or(0);
        // The model server is no part of the system's own: it is as large as its model.
        sum += if name == "llama_server" { 0 } else { kib };
        say(&format!("  {name:<24} {kib:>9}"));
    }
    say(&format!("  {:<24} {sum:>9}", "sum, without the model"));
    Ok(())
}

/// The process at the other end.
fn peer(stream: &UnixStream) -> Option<u32> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
}

/// `Pss:` of `/proc/PID/smaps_rollup`, proc_pid_smaps_rollup(5), in KiB.
fn share(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}
