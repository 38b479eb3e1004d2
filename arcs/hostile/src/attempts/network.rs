//! The network: sockets of every kind, and the proxy that is the one way out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::time::Duration;

use super::Attempt::{self, Inside};
use super::{Outcome, first};
use crate::kernel::{open, refused, word};

pub(super) const ATTEMPTS: &[(&str, Attempt)] = &[
    ("raw socket", Inside(raw)),
    ("packet socket", Inside(packet)),
    ("netlink", Inside(netlink)),
    ("vsock", Inside(vsock)),
    ("other families", Inside(families)),
    ("abstract socket", Inside(abstract_socket)),
    ("connect to loopback", Inside(connect)),
    ("connect to the gateway's port", Inside(connect)),
    ("connect to the LAN", Inside(connect)),
    ("connect to the metadata address", Inside(connect)),
    ("DNS by UDP", Inside(dns_by_udp)),
    ("DNS by TCP", Inside(connect)),
    ("listen", Inside(listen)),
    ("the proxy", Inside(proxy)),
];

/// How long a host may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// A name that is looked for in what the machine sent.
const QUESTION: &[u8] =
    b"\x13\x37\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09exfiltrate\x07invalid\x00\x00\x01\x00\x01";

fn socket(what: &str, family: i32, kind: i32, protocol: i32) -> Outcome {
    let made = open(libc::SYS_socket, &[word(family), word(kind), word(protocol)]);
    made.map(|_| format!("made a {what} socket")).map_err(|error| refused("socket", &error))
}

fn raw(_: &str) -> Outcome {
    first([
        socket("raw", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        socket("raw", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        socket("ping", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
    ])
}

fn packet(_: &str) -> Outcome {
    socket("packet", libc::AF_PACKET, libc::SOCK_RAW, 0x300)
}

fn netlink(_: &str) -> Outcome {
    first((0..=22).map(|protocol| socket("netlink", libc::AF_NETLINK, libc::SOCK_RAW, protocol)))
}

fn vsock(_: &str) -> Outcome {
    socket("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0)
}

/// The crypto API, Bluetooth, CAN, KCM, TIPC, XDP, and what else there is.
fn families(_: &str) -> Outcome {
    let usual = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    let families = (3..46).filter(|family| !usual.contains(family));
    first(families.flat_map(|family| [2, 5, 3].map(|kind| socket("strange", family, kind, 0))))
}

fn abstract_socket(name: &str) -> Outcome {
    let connected = UnixAddress::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address));
    connected.map(|_| "connected".to_owned()).map_err(|error| refused("connect", &error))
}

fn connect(at: &str) -> Outcome {
    let addresses = at.split(' ').filter_map(|address| address.parse::<SocketAddr>().ok());
    first(addresses.map(|address| match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => Ok(format!("connected to {address}")),
        Err(error) => Err(refused("connect", &error)),
    }))
}

fn dns_by_udp(at: &str) -> Outcome {
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(QUESTION, at)
    });
    asked.map(|_| format!("sent a question to {at}")).map_err(|error| refused("socket", &error))
}

/// On a port of its own choice, where others of its network could reach it.
fn listen(_: &str) -> Outcome {
    let listening = std::net::TcpListener::bind("127.0.0.1:0");
    listening.map(|_| "listens".to_owned()).map_err(|error| refused("bind", &error))
}

/// By the socket and by the port where the proxy is.
fn proxy(target: &str) -> Outcome {
    let by_socket = UnixStream::connect("/run/egress.sock").map_err(|error| refused("connect", &error));
    let by_port = TcpStream::connect(("127.0.0.1", 3128)).map_err(|error| refused("connect", &error));
    first([
        by_socket.and_then(|stream| {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            ask(stream, target)
        }),
        by_port.and_then(|stream| {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            ask(stream, target)
        }),
    ])
}

fn ask(mut stream: impl Read + Write, target: &str) -> Outcome {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| refused("write", &error))?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).map_err(|error| refused("read", &error))?;
    let answer = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
    let line = answer.lines().next().unwrap_or_default().to_owned();
    if line.contains(" 200 ") { Ok(line) } else { Err(format!("CONNECT: {line}")) }
}
