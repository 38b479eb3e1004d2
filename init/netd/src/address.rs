//! What an address of a link is, from a DHCP server's answer or from the owner.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use mozim::DhcpV4Lease;
use spec::{HostAddress, InvalidValue};

/// The seconds of what does not end, for DHCP (RFC 2131, 3.3) as for the kernel (`INFINITY_LIFE_TIME`).
const FOR_EVER: u32 = u32::MAX;

/// What a link is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addressing {
    /// The address of the machine on it.
    pub(crate) own: HostAddress,
    /// Who passes on what is for other networks.
    pub(crate) router: Option<Ipv4Addr>,
    /// Name servers, the best first.
    pub(crate) name_servers: Vec<IpAddr>,
    /// How long this is valid, in seconds; `u32::MAX` is for ever.
    pub(crate) seconds: u32,
}

impl Addressing {
    /// That of a lease. The name servers of the owner count before those of the lease, and a default route among the
    /// classless routes before the routers (RFC 3442).
    ///
    /// # Errors
    /// The server offers what no machine can have.
    pub(crate) fn of_lease(lease: &DhcpV4Lease, owners_name_servers: &[IpAddr]) -> Result<Self, InvalidValue> {
        let is_host = |address: &Ipv4Addr| HostAddress::new(*address, 32).is_ok();
        let classless = lease.classless_routes.iter().flatten().find(|route| route.prefix_length == 0);
        let routers = classless.map(|route| route.router).into_iter().chain(lease.gateways.iter().flatten().copied());
        let servers = lease.dns_srvs.iter().flatten().copied().filter(is_host).map(IpAddr::V4);
        Ok(Self {
            own: HostAddress::new(lease.yiaddr, prefix(lease.subnet_mask))?,
            router: routers.into_iter().find(|router| is_host(router) && *router != lease.yiaddr),
            name_servers: if owners_name_servers.is_empty() { servers.collect() } else { owners_name_servers.to_vec() },
            seconds: lease.lease_time_sec,
        })
    }

    /// What the owner says.
    pub(crate) fn of_owner(own: HostAddress, router: Option<Ipv4Addr>, name_servers: &[IpAddr]) -> Self {
        Self { own, router, name_servers: name_servers.to_vec(), seconds: FOR_EVER }
    }
}

/// `10.0.2.15/24 by way of 10.0.2.2`
impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.own)?;
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

    fn lease() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2)]);
        lease.dns_srvs = Some(vec![Ipv4Addr::new(10, 0, 2, 3)]);
        lease.lease_time_sec = 60;
        lease
    }

    #[test]
    fn a_lease_is_an_address_with_its_router_and_name_servers() {
        let mut lease = lease();
        let given = Addressing::of_lease(&lease, &[]).expect("sound");
        assert_eq!(given.to_string(), "10.0.2.15/24 by way of 10.0.2.2");
        assert_eq!((given.seconds, given.name_servers), (60, vec![IpAddr::from([10, 0, 2, 3])]));
        lease.gateways = None;
        assert_eq!(Addressing::of_lease(&lease, &[]).expect("sound").to_string(), "10.0.2.15/24");
    }

    #[test]
    fn the_name_servers_of_the_owner_count_before_those_of_a_lease() {
        let owners = [IpAddr::from([192, 168, 7, 7])];
        assert_eq!(Addressing::of_lease(&lease(), &owners).expect("sound").name_servers, owners);
    }

    #[test]
    fn what_no_machine_can_have_is_not_taken_from_a_server() {
        for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 5], [10, 0, 2, 255]] {
            let mut lease = lease();
            lease.yiaddr = address.into();
            assert!(Addressing::of_lease(&lease, &[]).is_err(), "{address:?}");
        }
        let mut lease = lease();
        lease.gateways = Some(vec![Ipv4Addr::UNSPECIFIED, lease.yiaddr, Ipv4Addr::LOCALHOST]);
        lease.dns_srvs = Some(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST]);
        let given = Addressing::of_lease(&lease, &[]).expect("the address is sound");
        assert_eq!((given.router, given.name_servers), (None, Vec::new()));
    }

    #[test]
    fn an_address_of_the_owner_does_not_end() {
        let own = "192.168.1.20/24".parse().expect("sound");
        let given = Addressing::of_owner(own, Some(Ipv4Addr::new(192, 168, 1, 1)), &[]);
        assert_eq!((given.to_string().as_str(), given.seconds), ("192.168.1.20/24 by way of 192.168.1.1", u32::MAX));
    }
}
