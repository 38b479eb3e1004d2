//! Messages of Wi-Fi: networks in reach, and the access point of a set-up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::wifi::{Country, Ssid};

/// A Wi-Fi network in reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WifiSeen {
    /// What it calls itself.
    pub ssid: Ssid,
    /// How strong it is here, in dBm: −40 is close by, −80 hardly to be heard.
    pub signal_dbm: i32,
    /// Whether it takes a passphrase.
    pub secured: bool,
}

/// Params of [`WIFI_JOIN`](super::WIFI_JOIN).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WifiJoin {
    /// The network.
    pub ssid: Ssid,
    /// What opens it; nothing for an open network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// The country that the machine is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// Whether it does not tell its name.
    #[serde(default)]
    pub hidden: bool,
}

impl fmt::Debug for WifiJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WifiJoin").field("ssid", &self.ssid).finish_non_exhaustive()
    }
}

/// Params of [`WIFI_FORGET`](super::WIFI_FORGET).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BySsid {
    /// The network.
    pub ssid: Ssid,
}

/// The network of a set-up access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPoint {
    /// The machine's own address in it.
    pub address: Ipv4Addr,
    /// How many bits of the address, from the left, are those of the network.
    pub prefix: u8,
}

impl AccessPoint {
    /// Whether a connection from `peer` to `own` came through it: it ends at the machine's address there and begins in that
    /// very network, for a machine is reached at each of its addresses through all of its links.
    #[must_use]
    pub fn is_way_of(self, peer: IpAddr, own: IpAddr) -> bool {
        let (IpAddr::V4(peer), IpAddr::V4(own)) = (peer.to_canonical(), own.to_canonical()) else { return false };
        let host_bits = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        own == self.address && (peer.to_bits() | host_bits) == (own.to_bits() | host_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_of_the_access_point_comes_from_its_network() {
        let network = AccessPoint { address: Ipv4Addr::new(10, 41, 73, 1), prefix: 24 };
        let is_way = |peer: &str, own: &str| {
            network.is_way_of(peer.parse().expect("an address"), own.parse().expect("an address"))
        };
        assert!(is_way("10.41.73.17", "10.41.73.1") && is_way("::ffff:10.41.73.17", "::ffff:10.41.73.1"));
        for (peer, own) in [("192.168.1.7", "10.41.73.1"), ("10.41.73.17", "192.168.1.24"), ("fe80::1", "fe80::2")] {
            assert!(!is_way(peer, own), "{peer} {own}");
        }
    }
}
