//! What a machine sent, as QEMU wrote it down (`filter-dump`): pcap
//! (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html>) of Ethernet frames.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// How the addresses of QEMU's network cards begin.
const OURS: [u8; 3] = [0x52, 0x54, 0x00];

/// The frames in a file.
pub(crate) struct Capture(Vec<Vec<u8>>);

impl Capture {
    pub(crate) fn read(file: &Path) -> Self {
        let bytes = fs::read(file).expect("QEMU wrote it");
        let mut rest = bytes.get(24..).unwrap_or_default();
        let mut frames = Vec::new();
        while let Some(length) = rest.get(8..12) {
            let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
            let Some(frame) = rest.get(16..16 + length) else { break };
            frames.push(frame.to_vec());
            rest = &rest[16 + length..];
        }
        Self(frames)
    }

    /// How many frames the machine has sent to each address.
    pub(crate) fn sent_to(&self) -> BTreeMap<IpAddr, usize> {
        let mut sent = BTreeMap::new();
        for address in self.0.iter().filter(|frame| frame.get(6..9) == Some(&OURS)).filter_map(|frame| target(frame)) {
            *sent.entry(address).or_default() += 1;
        }
        sent
    }

    /// Whether any frame holds these bytes.
    pub(crate) fn holds(&self, wanted: &[u8]) -> bool {
        self.0.iter().any(|frame| frame.windows(wanted.len()).any(|window| window == wanted))
    }
}

/// The network address that a frame is for, of ARP the one that is asked for.
fn target(frame: &[u8]) -> Option<IpAddr> {
    let four =
        |at: usize| frame.get(at..at + 4)?.try_into().ok().map(|bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes)));
    match frame.get(12..14)? {
        [0x08, 0x00] => four(30),
        [0x08, 0x06] => four(38),
        [0x86, 0xDD] => {
            let bytes: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Whether a machine at rest sends there: to QEMU's own router and name server, to everybody who speaks DHCP or mDNS, and
/// to its neighbours.
pub(crate) fn is_expected(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let expected = ["10.0.2.2", "10.0.2.3", "10.0.2.15", "255.255.255.255", "224.0.0.251", "224.0.0.22"];
            expected.contains(&address.to_string().as_str())
        }
        IpAddr::V6(address) => {
            address.is_multicast() || address.is_unicast_link_local() || address.segments()[0] == 0xFEC0
        }
    }
}
