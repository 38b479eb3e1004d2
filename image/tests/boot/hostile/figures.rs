//! What a cage costs: figures, each as a ratio to the same thing without one, measured in turns.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::developer::System;

/// So many rounds are measured; each counts by its median.
const ROUNDS: usize = 9;
/// Calls in a round.
const CALLS: usize = 2000;
/// What is moved through the proxy, and directly.
const MOVED: usize = 256 << 20;
/// The least share of the calls per second without cages. The aim is 0.95; the rest is the noise of a machine that does
/// something else beside.
const LEAST_CALLS: f64 = 0.8;

#[test]
#[ignore = "needs root and the programs of the image: scripts/test boot"]
fn hostile_or_not_a_cage_costs_little() {
    let (caged, free) = (System::start(true, &[]), System::start(true, &["all"]));
    let in_turns = |measure: &dyn Fn(&System) -> f64| {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            with.push(measure(&caged));
            without.push(measure(&free));
        }
        (median(with), median(without))
    };
    let (with, without) = in_turns(&start);
    eprintln!(
        "start of kv, from exec to READY: {with:.1} ms in its cage, {without:.1} ms without: {:.2}",
        with / without
    );
    let (with, without) = in_turns(&calls);
    let share = with / without;
    eprintln!("kv.get: {with:.0} calls/s with cages, {without:.0} without: {share:.2}");
    let (proxied, direct) = in_turns(&|system| throughput(system, std::ptr::eq(system, &raw const caged)));
    eprintln!(
        "{} MiB by the proxy: {proxied:.0} MB/s, directly {direct:.0} MB/s: {:.2}",
        MOVED >> 20,
        proxied / direct
    );
    assert!(share >= LEAST_CALLS, "calls per second: {share:.2}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One question to init, and its answer.
fn ask(stream: &mut BufReader<UnixStream>, method: &str, name: &str) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "name": name } });
    writeln!(stream.get_mut(), "{request}").expect("sent");
    let mut line = String::new();
    stream.read_line(&mut line).expect("answered");
    serde_json::from_str(&line).expect("JSON")
}

/// How long it takes to start `kv`, in milliseconds: init answers once it is ready.
fn start(system: &System) -> f64 {
    let mut init = BufReader::new(UnixStream::connect(system.data().join("run/init.sock")).expect("it listens"));
    ask(&mut init, "stop", "kv");
    let begun = Instant::now();
    let answer = ask(&mut init, "start", "kv");
    assert_eq!(answer["result"]["state"], "running", "{answer}");
    begun.elapsed().as_secs_f64() * 1000.0
}

/// Calls per second on one connection, one after the other.
fn calls(system: &System) -> f64 {
    let stream = UnixStream::connect(system.data().join("run/mcp/gateway.sock")).expect("it listens");
    let mut stream = BufReader::new(stream);
    let mut call = || {
        stream
            .get_mut()
            .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"mcp.kv.get\",\"params\":[\"x\"]}\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_line(&mut answer).expect("answered");
        assert!(answer.contains("\"result\""), "{answer}");
    };
    (0..100).for_each(|_| call());
    let begun = Instant::now();
    (0..CALLS).for_each(|_| call());
    CALLS as f64 / begun.elapsed().as_secs_f64()
}

/// MB per second from a server of the test.
fn throughput(system: &System, by_proxy: bool) -> f64 {
    let server = TcpListener::bind(("127.0.0.1", system.served)).expect("a port");
    let sending = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a client");
        let mut word = [0];
        stream.read_exact(&mut word).expect("asked");
        let piece = vec![7; 256 << 10];
        for _ in 0..MOVED / piece.len() {
            stream.write_all(&piece).expect("sent");
        }
    });
    let target = format!("127.0.0.1:{}", system.served);
    let begun = Instant::now();
    let moved = if by_proxy {
        let mut stream = UnixStream::connect(system.data().join("run/egress/mover.sock")).expect("the proxy listens");
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").expect("sent");
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).expect("answered");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
        drain(stream)
    } else {
        drain(TcpStream::connect(&target).expect("the server listens"))
    };
    sending.join().expect("it sent");
    assert_eq!(moved, MOVED);
    moved as f64 / 1e6 / begun.elapsed().max(Duration::from_millis(1)).as_secs_f64()
}

fn drain(mut stream: impl Read + Write) -> usize {
    stream.write_all(b"x").expect("sent");
    let mut piece = vec![0; 256 << 10];
    let mut moved = 0;
    while moved < MOVED {
        match stream.read(&mut piece).expect("read") {
            0 => break,
            length => moved += length,
        }
    }
    moved
}
