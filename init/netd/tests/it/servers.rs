//! The servers of a household, each as small as can be: what netd has to understand stands here byte by byte.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lan::PATIENCE;

/// The address of this machine on the cable.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Seconds from 1900 to 1970 (RFC 5905, figure 4).
const FROM_1900: u64 = 2_208_988_800;

/// Kinds of DNS records (RFC 1035, 3.2.2; RFC 2782).
pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const SRV: u16 = 33;

/// A time server at this address, whose clock is behind by this.
pub(crate) fn time_server(address: Ipv4Addr, behind: Duration) {
    let socket = UdpSocket::bind((address, 123)).expect("the port of time servers");
    std::thread::spawn(move || {
        let mut request = [0; 48];
        while let Ok((48, client)) = socket.recv_from(&mut request) {
            let answer = time_answer(&request, SystemTime::now() - behind);
            let _ = socket.send_to(&answer, client);
        }
    });
}

/// Version 4, mode 4 (server), stratum 2; the request's transmit timestamp comes back as the origin (RFC 5905, 7.3).
fn time_answer(request: &[u8; 48], now: SystemTime) -> [u8; 48] {
    let since = now.duration_since(UNIX_EPOCH).expect("after 1970");
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let stamp = (((since.as_secs() + FROM_1900) << 32) | fraction).to_be_bytes();
    let mut answer = [0; 48];
    answer[0] = 4 << 3 | 4;
    answer[1] = 2;
    answer[24..32].copy_from_slice(&request[40..48]);
    answer[32..40].copy_from_slice(&stamp);
    answer[40..48].copy_from_slice(&stamp);
    answer
}

/// A DHCP server for `10.77.0.0/24`, silent until it is told what to offer.
pub(crate) struct Dhcp(Sender<u8>);

impl Dhcp {
    pub(crate) fn start() -> Self {
        let (offers, offered) = mpsc::channel();
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).expect("the port of DHCP servers");
        // Broadcasts leave by the link with the address that they come from.
        let replies = UdpSocket::bind((OWN, 0)).expect("a port");
        replies.set_broadcast(true).expect("allowed");
        std::thread::spawn(move || serve(&socket, &replies, &offered));
        Self(offers)
    }

    /// From now on the address `10.77.0.<last>` is offered.
    pub(crate) fn offer(&self, last: u8) {
        self.0.send(last).expect("the server lives");
    }
}

fn serve(socket: &UdpSocket, replies: &UdpSocket, offered: &Receiver<u8>) {
    let mut last = None;
    let mut request = [0; 1500];
    while let Ok((length, _)) = socket.recv_from(&mut request) {
        last = offered.try_iter().last().or(last);
        if let Some(answer) = last.and_then(|last| dhcp_answer(&request[..length], last)) {
            let _ = replies.send_to(&answer, (Ipv4Addr::BROADCAST, 68));
        }
    }
}

/// The fixed part and the magic cookie are 240 bytes (RFC 2131, 2); options follow (RFC 2132).
fn dhcp_answer(request: &[u8], last: u8) -> Option<Vec<u8>> {
    let mut answer = request.get(..240)?.to_vec();
    let kind = request.get(240..)?.windows(3).find_map(|option| option.strip_prefix(&[53, 1]))?.first().copied()?;
    answer[0] = 2;
    answer[16..20].copy_from_slice(&[10, 77, 0, last]);
    // An offer to a discovery, an acknowledgement to a request.
    let kind = if kind == 1 { 2 } else { 5 };
    answer.extend([53, 1, kind]);
    answer.extend([54, 4, 10, 77, 0, 1]);
    answer.extend([51, 4, 0, 0, 0x0e, 0x10]);
    answer.extend([1, 4, 255, 255, 255, 0]);
    answer.extend([3, 4, 10, 77, 0, 1]);
    answer.extend([6, 4, 10, 77, 0, 1, 255]);
    Some(answer)
}

/// Asks everybody on the cable for a record (RFC 6762, 6.7) until an answer has `expected` in it.
#[track_caller]
pub(crate) fn ask_name(name: &str, kind: u16, expected: &[u8]) {
    // What is asked leaves by the link with the address that it comes from.
    let socket = UdpSocket::bind((OWN, 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    let everybody = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
    let (start, mut heard) = (Instant::now(), Vec::new());
    let mut answer = [0; 1500];
    while start.elapsed() < PATIENCE {
        socket.send_to(&question(name, kind), everybody).expect("sent");
        while let Ok((length, _)) = socket.recv_from(&mut answer) {
            if answer[..length].windows(expected.len()).any(|part| part == expected) {
                return;
            }
            heard.push(answer[..length].to_vec());
        }
    }
    panic!("nobody answers for {name}: {heard:?}");
}

/// One question of class IN (RFC 1035, 4.1).
fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}
