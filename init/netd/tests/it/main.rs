//! The real `netd` on a small network of its own: a cable (veth(4)) between two network namespaces, netd at one end and
//! the test at the other, with the servers that a household has.
//!
//! Nobody outside is reached, and the clock of this machine cannot be set: whoever has rights in a user namespace alone
//! has none over the clock. Where namespaces cannot be made, each test says that it was skipped and why.

mod lan;
mod servers;

use std::net::Ipv4Addr;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};

use lan::{Lan, on_a_lan};
use servers::{Dhcp, ask_name, time_server};

const STATIC: &str = r#"
hostname = "attic"
[network]
link = "eth0"
address = "10.77.0.2/24"
gateway = "10.77.0.1"
dns = ["10.77.0.1"]
"#;

#[test]
fn a_static_address_stays_while_cables_come_and_go() {
    on_a_lan("a_static_address_stays_while_cables_come_and_go", || {
        let mut lan = Lan::start(&format!("{STATIC}time_servers = []"));
        lan.hears("STATUS=there is no link eth0");
        lan.plug_in();
        lan.hears("STATUS=eth0 10.77.0.2");
        assert!(lan.reaches(Ipv4Addr::new(10, 77, 0, 2)));
        assert_eq!(lan.file_of_netd("root/run/network/resolv.conf"), "nameserver 10.77.0.1\n");
        // Link, network 0.0.0.0, gateway 10.77.0.1 as the kernel writes it.
        let routes = lan.file_of_netd("net/route");
        assert!(routes.contains("eth0\t00000000\t01004D0A\t"), "{routes}");

        lan.pull_cable();
        lan.hears("STATUS=eth0 has no cable");
        lan.put_cable_back();
        lan.hears("STATUS=eth0 10.77.0.2");
        assert!(lan.reaches(Ipv4Addr::new(10, 77, 0, 2)));

        lan.take_adapter_away();
        lan.hears("STATUS=there is no link eth0");
        lan.plug_in();
        lan.hears("STATUS=eth0 10.77.0.2");
        assert!(lan.reaches(Ipv4Addr::new(10, 77, 0, 2)));
    });
}

#[test]
fn a_lease_is_asked_for_again_when_the_cable_is_back() {
    on_a_lan("a_lease_is_asked_for_again_when_the_cable_is_back", || {
        let mut lan = Lan::start("[network]\nlink = \"eth0\"\ntime_servers = []");
        lan.plug_in();
        lan.hears("STATUS=eth0 waits for an address");
        let dhcp = Dhcp::start();
        dhcp.offer(50);
        lan.hears("STATUS=eth0 10.77.0.50");
        assert!(lan.reaches(Ipv4Addr::new(10, 77, 0, 50)));
        assert_eq!(lan.file_of_netd("root/run/network/resolv.conf"), "nameserver 10.77.0.1\n");

        lan.pull_cable();
        lan.hears("STATUS=eth0 has no cable");
        dhcp.offer(51);
        lan.put_cable_back();
        lan.hears("STATUS=eth0 10.77.0.51");
        assert!(lan.reaches(Ipv4Addr::new(10, 77, 0, 51)));
        let addresses = lan.file_of_netd("net/fib_trie");
        assert!(addresses.contains("10.77.0.51") && !addresses.contains("10.77.0.50"), "{addresses}");
    });
}

#[test]
fn an_offer_that_no_machine_can_use_is_refused() {
    on_a_lan("an_offer_that_no_machine_can_use_is_refused", || {
        let mut lan = Lan::start("[network]\nlink = \"eth0\"\ntime_servers = []");
        lan.plug_in();
        let dhcp = Dhcp::start();
        dhcp.offer(255);
        lan.reads("the DHCP server offers what cannot be used: must be an address of one machine: 10.77.0.255/24");
        dhcp.offer(52);
        lan.hears("STATUS=eth0 10.77.0.52");
    });
}

#[test]
fn the_clock_is_compared_with_the_first_server_whose_time_can_be() {
    on_a_lan("the_clock_is_compared_with_the_first_server_whose_time_can_be", || {
        let mut lan = Lan::start(&format!("{STATIC}time_servers = [\"10.77.0.9\", \"10.77.0.3\", \"10.77.0.1\"]"));
        lan.plug_in();
        let years = Duration::from_secs(40 * 365 * 24 * 3600);
        time_server(Ipv4Addr::new(10, 77, 0, 3), years);
        time_server(Ipv4Addr::new(10, 77, 0, 1), Duration::ZERO);
        // Nobody has the first address.
        lan.reads("10.77.0.9: ");
        lan.reads("days before this image was built");
        let line = lan.reads("clock right to within ");
        assert!(line.ends_with(" by 10.77.0.1"), "{line}");
    });
}

#[test]
fn without_a_time_server_the_clock_is_left_alone() {
    on_a_lan("without_a_time_server_the_clock_is_left_alone", || {
        let mut lan = Lan::start(&format!("{STATIC}time_servers = [\"no.such.example\"]"));
        lan.plug_in();
        let line = lan.reads("the clock is left alone");
        assert!(line.contains("no.such.example"), "{line}");
        lan.hears("STATUS=eth0 10.77.0.2");
    });
}

#[test]
fn the_name_and_the_web_page_are_found() {
    on_a_lan("the_name_and_the_web_page_are_found", || {
        let listen = "[listen]\ngateway = \"0.0.0.0:8080\"\nhttps = \"0.0.0.0:8443\"";
        let mut lan = Lan::start(&format!("{STATIC}time_servers = []\n{listen}"));
        lan.plug_in();
        lan.hears("STATUS=eth0 10.77.0.2");
        ask_name("attic.local", servers::A, &[0, 4, 10, 77, 0, 2]);
        ask_name("_http._tcp.local", servers::PTR, b"\x05attic");
        // Priority, weight, port.
        for (service, port) in [("_http._tcp", 8080_u16), ("_https._tcp", 8443)] {
            let port = port.to_be_bytes();
            ask_name(&format!("attic.{service}.local"), servers::SRV, &[0, 0, 0, 0, port[0], port[1]]);
        }
        assert!(lan.ends_when_asked());
    });
}

#[test]
fn another_name_is_taken_where_the_own_is_taken() {
    on_a_lan("another_name_is_taken_where_the_own_is_taken", || {
        let mut lan = Lan::start(&format!("{STATIC}time_servers = []"));
        lan.make_cable();
        let other = ServiceDaemon::new().expect("a responder");
        let events = other.monitor().expect("its events");
        other.disable_interface(IfKind::All).expect("none");
        other.enable_interface("lan").expect("one");
        let service =
            ServiceInfo::new("_ssh._tcp.local.", "other", "attic.local.", "10.77.0.1", 22, None).expect("sound");
        other.register(service).expect("registered");
        while !matches!(events.recv_timeout(lan::PATIENCE), Ok(DaemonEvent::Announce(..))) {}

        lan.hand_over_cable();
        lan.hears("STATUS=eth0 10.77.0.2 · its own name is taken, so attic-2.local");
        ask_name("attic-2.local", servers::A, &[0, 4, 10, 77, 0, 2]);
    });
}

#[test]
fn settings_that_are_broken_are_said_and_stop_nothing() {
    on_a_lan("settings_that_are_broken_are_said_and_stop_nothing", || {
        let mut lan = Lan::start("[network]\naddress = \"10.77.0.2\"\nlinks = \"eth0\"");
        lan.reads(":2: network.address: must be \"dhcp\" or an address with its prefix");
        lan.reads(":3: network.links: unknown key. Close to it: link");
        lan.reads("going on with DHCP on every link");
        // What a program made is no link of the machine.
        lan.plug_in();
        lan.hears("STATUS=there is no wired link");
    });
}
