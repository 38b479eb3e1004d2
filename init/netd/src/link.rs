//! The links that the machine has, as the kernel tells of them (rtnetlink(7), `RTM_NEWLINK`), and which are kept.

use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use spec::{AddressSource, NetworkSettings};

use crate::network::Purpose;

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

/// Those of `links`, in the order of their numbers, that the owner wants to be kept, each with its purpose: the one that
/// has a name; else each with a device. A static address can be on one alone: the first with a cable has it, or a radio
/// that was joined where there is no cable. Of radios `purpose_of_radio` tells what they are for, and those with none are
/// not kept; the own network of a machine is kept whatever the owner says of addresses.
pub(crate) fn chosen(
    links: Vec<Link>,
    settings: &NetworkSettings,
    is_radio: impl Fn(&Link) -> bool,
    purpose_of_radio: impl Fn(&Link) -> Option<Purpose>,
) -> Vec<(Link, Purpose)> {
    let is_static = settings.address != AddressSource::Dhcp;
    let is_wanted = |link: &Link| match &settings.link {
        Some(name) => link.name == name.as_str(),
        None => link.has_device,
    };
    let is_cable = |link: &&Link| is_wanted(link) && link.has_carrier && !is_radio(link);
    let first = links.iter().find(is_cable).map(|link| link.index);
    let is_taken = |link: &Link| is_static && first.is_some_and(|first| first != link.index);
    let purpose = |link: &Link| match is_radio(link) {
        true => purpose_of_radio(link).filter(|purpose| *purpose != Purpose::Member || !is_taken(link)),
        // One without a cable is kept all the same: it may get one.
        false => Some(Purpose::Member).filter(|_| !link.has_carrier || !is_taken(link)),
    };
    links.into_iter().filter(is_wanted).filter_map(|link| purpose(&link).map(|purpose| (link, purpose))).collect()
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
            let kept = chosen(links(), &settings(source), |link| link.name == "wlan0", |_| None);
            kept.into_iter().map(|(link, _)| link.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["eth0", "eth1"]);
        assert_eq!(names("address = \"10.0.0.2/24\""), ["eth0"]);
        assert_eq!(names("link = \"eth1\""), ["eth1"]);
        assert_eq!(names("link = \"veth0\"\naddress = \"10.0.0.2/24\""), ["veth0"]);
        assert!(names("link = \"eth7\"").is_empty());
    }

    #[test]
    fn a_radio_is_kept_for_what_it_is_used_for() {
        let parse = |source: &str| {
            let config = spec::SystemConfig::parse("c", &format!("[network]\n{source}")).expect("sound");
            config.network.expect("stated")
        };
        let own = spec::HostAddress::new([10, 41, 73, 1].into(), 24).expect("sound");
        let names = |source: &str, purpose: Option<Purpose>| {
            let links = vec![link("wlan0", 2, true), link("eth0", 3, true)];
            let kept = chosen(links, &parse(source), |link| link.name == "wlan0", |_| purpose);
            kept.into_iter().map(|(link, purpose)| (link.name, purpose)).collect::<Vec<_>>()
        };
        let (wifi, cable) = (|purpose| ("wlan0".to_owned(), purpose), ("eth0".to_owned(), Purpose::Member));
        assert_eq!(names("", None), std::slice::from_ref(&cable));
        assert_eq!(names("", Some(Purpose::Member)), [wifi(Purpose::Member), cable.clone()]);
        let fixed = "address = \"10.0.0.2/24\"";
        assert_eq!(names(fixed, Some(Purpose::Member)), std::slice::from_ref(&cable));
        assert_eq!(names(fixed, Some(Purpose::Host(own))), [wifi(Purpose::Host(own)), cable]);
        let named = format!("{fixed}\nlink = \"wlan0\"");
        assert_eq!(names(&named, Some(Purpose::Member)), [wifi(Purpose::Member)]);
        assert_eq!(names(&named, None), []);
    }

    #[test]
    fn a_static_address_is_where_a_cable_is_else_in_the_air() {
        let config = spec::SystemConfig::parse("c", "[network]\naddress = \"10.0.0.2/24\"").expect("sound");
        let settings = config.network.expect("stated");
        let kept = |has_cable: [bool; 2]| {
            let [first, second] = has_cable.map(|has_carrier| Link { has_carrier, ..link("", 0, true) });
            let first = Link { name: "eth0".to_owned(), index: 3, ..first };
            let second = Link { name: "eth1".to_owned(), index: 4, ..second };
            let links = vec![link("wlan0", 2, true), first, second];
            let kept = chosen(links, &settings, |link| link.name == "wlan0", |_| Some(Purpose::Member));
            kept.into_iter().map(|(link, _)| link.name).collect::<Vec<_>>()
        };
        assert_eq!(kept([true, true]), ["eth0"]);
        assert_eq!(kept([false, true]), ["eth0", "eth1"], "one without a cable is looked after for when it gets one");
        assert_eq!(kept([false, false]), ["wlan0", "eth0", "eth1"]);
    }
}
