//! The links that the machine has, as the kernel tells of them (rtnetlink(7), `RTM_NEWLINK`), and which are kept.

use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use spec::{AddressSource, NetworkSettings};

/// A link of Ethernet's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// `eth0`
    pub(crate) name: String,
    /// The kernel's number of it.
    pub(crate) index: u32,
    /// Its hardware address.
    pub(crate) address: [u8; 6],
    /// Whether there is a device behind it, so that it is neither loopback nor what a program made.
    pub(crate) has_device: bool,
    /// Whether it was told to work.
    pub(crate) is_up: bool,
    /// Whether there is a cable with somebody at its other end.
    pub(crate) has_carrier: bool,
    /// How often a cable was put in or pulled. It tells a cable that was elsewhere for a moment from one that stayed.
    pub(crate) carrier_changes: u32,
}

impl Link {
    /// The link that the kernel tells of; `None` where it is not of Ethernet's kind.
    pub(crate) fn of_message(message: &LinkMessage) -> Option<Self> {
        if message.header.link_layer_type != LinkLayerType::Ether {
            return None;
        }
        let mut link = Self {
            name: String::new(),
            index: message.header.index,
            address: [0; 6],
            has_device: false,
            is_up: message.header.flags.contains(LinkFlags::Up),
            has_carrier: false,
            carrier_changes: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.address = bytes.as_slice().try_into().ok()?,
                LinkAttribute::ParentDevName(_) => link.has_device = true,
                // What is down has no carrier, whatever its driver says.
                LinkAttribute::Carrier(carrier) => link.has_carrier = link.is_up && *carrier == 1,
                LinkAttribute::CarrierChanges(count) => link.carrier_changes = *count,
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// Those of `links`, in the order of their numbers, that the owner wants to be kept: the one that has a name; else for
/// DHCP each with a device, and the first of these for a static address, which can be on one alone. `is_radio` tells
/// links without a cable.
pub(crate) fn chosen(links: Vec<Link>, settings: &NetworkSettings, is_radio: impl Fn(&Link) -> bool) -> Vec<Link> {
    let most = match settings.address {
        AddressSource::Dhcp => usize::MAX,
        AddressSource::Static { .. } => 1,
    };
    let is_wanted = |link: &Link| match &settings.link {
        Some(name) => link.name == name.as_str(),
        None => link.has_device && !is_radio(link),
    };
    links.into_iter().filter(is_wanted).take(most).collect()
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkHeader;

    use super::*;

    fn link(name: &str, index: u32, has_device: bool) -> Link {
        let address = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        Link { name: name.to_owned(), index, address, has_device, is_up: true, has_carrier: true, carrier_changes: 2 }
    }

    fn message(flags: LinkFlags, layer: LinkLayerType) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header = LinkHeader { index: 2, flags, link_layer_type: layer, ..LinkHeader::default() };
        message.attributes = vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Address(vec![0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            LinkAttribute::Carrier(1),
            LinkAttribute::CarrierChanges(2),
            LinkAttribute::ParentDevName("virtio0".to_owned()),
        ];
        message
    }

    #[test]
    fn the_kernel_tells_of_a_link() {
        let told = message(LinkFlags::Up, LinkLayerType::Ether);
        assert_eq!(Link::of_message(&told), Some(link("eth0", 2, true)));
        let down = Link::of_message(&message(LinkFlags::empty(), LinkLayerType::Ether)).expect("a link");
        assert_eq!((down.is_up, down.has_carrier), (false, false));
        assert_eq!(Link::of_message(&message(LinkFlags::Up, LinkLayerType::Loopback)), None);
        let mut odd = message(LinkFlags::Up, LinkLayerType::Ether);
        odd.attributes.push(LinkAttribute::Address(vec![1; 20]));
        assert_eq!(Link::of_message(&odd), None);
    }

    #[test]
    fn the_owner_says_which_links_are_kept() {
        let settings = |source: &str| {
            let config = spec::SystemConfig::parse("c", &format!("[network]\n{source}")).expect("sound");
            config.network.expect("stated")
        };
        let links =
            || vec![link("wlan0", 2, true), link("eth0", 3, true), link("veth0", 4, false), link("eth1", 5, true)];
        let names = |source: &str| {
            let kept = chosen(links(), &settings(source), |link| link.name == "wlan0");
            kept.into_iter().map(|link| link.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["eth0", "eth1"]);
        assert_eq!(names("address = \"10.0.0.2/24\""), ["eth0"]);
        assert_eq!(names("link = \"eth1\""), ["eth1"]);
        assert_eq!(names("link = \"veth0\"\naddress = \"10.0.0.2/24\""), ["veth0"]);
        assert!(names("link = \"eth7\"").is_empty());
    }
}
