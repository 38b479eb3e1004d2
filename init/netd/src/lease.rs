//! What a DHCP server's answer means for this machine.

use std::fmt;
use std::net::Ipv4Addr;

use mozim::DhcpV4Lease;

/// The settings of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The address of the machine on it.
    pub(crate) address: Ipv4Addr,
    /// The bits of the address that all on this network have in common.
    pub(crate) prefix: u8,
    /// Who passes on what is for other networks.
    pub(crate) router: Option<Ipv4Addr>,
    /// Name servers, the best first.
    pub(crate) name_servers: Vec<Ipv4Addr>,
    /// How long this is valid, in seconds.
    pub(crate) seconds: u32,
}

impl Settings {
    /// Those of a lease. A default route among the classless routes counts before the routers (RFC 3442).
    pub(crate) fn of_lease(lease: &DhcpV4Lease) -> Self {
        let classless =
            lease.classless_routes.as_ref().and_then(|routes| routes.iter().find(|route| route.prefix_length == 0));
        let routers = || lease.gateways.as_ref().and_then(|routers| routers.first().copied());
        Self {
            address: lease.yiaddr,
            prefix: prefix(lease.subnet_mask),
            router: classless.map(|route| route.router).or_else(routers),
            name_servers: lease.dns_srvs.clone().unwrap_or_default(),
            seconds: lease.lease_time_sec,
        }
    }
}

/// `10.0.2.15/24 by way of 10.0.2.2`
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)?;
        self.router.map_or(Ok(()), |router| write!(f, " by way of {router}"))
    }
}

/// How many bits of a mask are set from the left; what comes behind a gap is not looked at.
fn prefix(mask: Ipv4Addr) -> u8 {
    u8::try_from(mask.to_bits().leading_ones()).unwrap_or(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_becomes_settings() {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2)]);
        lease.lease_time_sec = 60;
        let settings = Settings::of_lease(&lease);
        assert_eq!(settings.to_string(), "10.0.2.15/24 by way of 10.0.2.2");
        lease.gateways = None;
        assert_eq!(Settings::of_lease(&lease).to_string(), "10.0.2.15/24");
    }
}
