//! A machine with a radio, and the other side of the air: two radios that the kernel simulates (mac80211_hwsim), of which the
//! hand of the tests takes the second into a network of its own. What they say to each other goes through the air alone.

use serde_json::json;

use crate::guest::{Guest, Hand, until};
use crate::machine::{Architecture, Machine, TOKEN};

const PASSPHRASE: &str = "correct horse battery";
const SHELL: &str = "/usr/lib/air/busybox";

/// The other side: a network called `home` with an address for whoever joins it.
const ROUTER: &str = "b=/usr/lib/air/busybox; \
    printf 'network={\\n ssid=\"home\"\\n mode=2\\n frequency=2412\\n key_mgmt=WPA-PSK\\n proto=RSN\\n pairwise=CCMP\\n \
    psk=\"correct horse battery\"\\n}\\n' > /tmp/home.conf; \
    printf 'start 10.88.0.20\\nend 10.88.0.30\\ninterface wlan1\\nlease_file /tmp/home.leases\\noption subnet 255.255.255.0\\n' \
    > /tmp/dhcp.conf; $b touch /tmp/home.leases; $b ip link set lo up; \
    wpa_supplicant -B -i wlan1 -D nl80211 -c /tmp/home.conf && $b ip address add 10.88.0.1/24 dev wlan1 && \
    $b udhcpd -S /tmp/dhcp.conf";

#[track_caller]
fn air(hand: &mut Hand, script: &str) -> String {
    let said = hand.does(&format!("air {script}"));
    eprintln!("air: {script}\n     {said}");
    let (status, output) = said.split_once(' ').unwrap_or((&said, ""));
    assert_eq!(status, "0", "{script}: {said}");
    output.to_owned()
}

fn network(guest: &Guest<'_>) -> String {
    guest.call(&["system.status"]).map(|status| status["network"].to_string()).unwrap_or_default()
}

#[test]
#[ignore = "boots the image with radios: scripts/test boot"]
fn a_network_of_the_owners_file_is_joined_and_what_is_wrong_is_said() {
    let machine = Machine::of(Architecture::Radios).with_hand();
    machine.settings(&format!(
        "[gateway]\ntokens = [\"{TOKEN}\"]\n[network.wifi]\nssid = \"home\"\npassphrase = \"{PASSPHRASE}\"\n"
    ));
    let guest = machine.boot_to_ready("");
    let log = guest.call_until_answered(&["system.logs", "{\"name\": \"init\"}"]).to_string();
    assert!(log.contains("moved to the secrets store: wifi_home_"), "{log}");
    let mut hand = guest.hand();
    air(&mut hand, ROUTER);
    let line = until("the machine is in the network", || {
        Some(network(&guest)).filter(|line| line.contains("wlan0 10.88.0.") && line.contains(" in home"))
    });
    let words = line.split_ascii_whitespace();
    let address = words.skip_while(|word| *word != "wlan0").nth(1).expect("an address").to_owned();
    assert!(network(&guest).starts_with("\"eth0 10.0.2.15"), "the cable comes first: {}", network(&guest));
    // Through the air: the two sides share nothing else.
    air(&mut hand, &format!("{SHELL} ping -c 1 -w 20 {address}"));
    let page = air(&mut hand, &format!("{SHELL} wget -q -O - http://{address}/"));
    assert!(page.contains("llmbasedos"), "{page}");

    let seen = guest.call(&["system.wifi_scan"]).expect("the radio hears");
    let home = &seen.as_array().expect("a list")[0];
    assert_eq!((&home["ssid"], &home["secured"]), (&json!("home"), &json!(true)), "{seen}");
    let join = |ssid: &str, passphrase: &str| {
        let arguments = json!({ "ssid": ssid, "passphrase": passphrase }).to_string();
        guest.call_for("100s", &["system.wifi_join", &arguments]).expect_err("it is not joined")
    };
    let why = join("home", "wrong horse battery");
    assert!(why.contains("passphrase"), "{why}");
    let why = join("elsewhere", PASSPHRASE);
    assert!(why.contains("there is no network elsewhere in reach"), "{why}");
    let why = join("home", "short");
    assert!(why.contains("must be 8 to 63 ASCII characters"), "{why}");
    until("the machine is in its network again", || {
        Some(network(&guest)).filter(|line| line.contains(&format!("wlan0 {address} in home")))
    });
    assert!(!guest.console().contains(PASSPHRASE), "a passphrase is on no screen");
    assert_eq!(guest.service("wifi")["state"], "running");
    guest.power_off();
}

#[test]
#[ignore = "boots the image with radios: scripts/test boot"]
fn without_a_cable_and_a_network_the_machine_opens_one_for_its_set_up() {
    let machine = Machine::of(Architecture::Radios).with_hand();
    let guest = machine.boot_to_ready("");
    let mut hand = guest.hand();
    air(&mut hand, &format!("{SHELL} ip link set lo up"));
    let cable = air(&mut hand, &format!("{SHELL} readlink /sys/class/net/eth0/device"));
    let cable = cable.rsplit('/').next().expect("a name").trim().to_owned();
    air(&mut hand, &format!("echo {cable} > /sys/bus/virtio/drivers/virtio_net/unbind"));

    let line = guest.says("set-up: join the Wi-Fi llmbasedos-");
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let after = |word: &str| words.iter().skip_while(|other| **other != word).nth(1).copied().expect("a word");
    let (ssid, passphrase) = (after("Wi-Fi"), after("with").trim_end_matches(','));
    assert!(line.contains("open http://10.41.73.1"), "{line}");
    let guest_of_it = |passphrase: &str| {
        format!(
            "printf 'network={{\\n ssid=\"{ssid}\"\\n psk=\"{passphrase}\"\\n}}\\n' > /tmp/guest.conf; \
             wpa_supplicant -B -P /tmp/guest.pid -i wlan1 -D nl80211 -c /tmp/guest.conf"
        )
    };
    air(&mut hand, &guest_of_it(passphrase));
    let lease = air(&mut hand, &format!("{SHELL} udhcpc -i wlan1 -n -q -t 20 -T 3 -s /usr/lib/air/lease"));
    assert!(lease.contains("bound 10.41.73.10 router 10.41.73.1 dns 10.41.73.1"), "{lease}");
    let page = air(&mut hand, &format!("{SHELL} wget -q -O - http://10.41.73.1/"));
    assert!(page.contains("llmbasedos"), "{page}");
    let name = air(&mut hand, &format!("{SHELL} nslookup -type=a example.com 10.41.73.1"));
    assert!(name.contains("10.41.73.1"), "{name}");

    air(&mut hand, &format!("echo {cable} > /sys/bus/virtio/drivers/virtio_net/bind"));
    until("the cable counts again", || Some(network(&guest)).filter(|line| line.contains("eth0 10.0.2.15")));
    until("the own network is closed", || Some(network(&guest)).filter(|line| !line.contains(ssid)));
    guest.power_off();
}
