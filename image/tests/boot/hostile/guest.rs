//! In a booted machine: every row, with what it sends written down, and a secret that is looked for everywhere.

use std::fs::File;
use std::io::Read;

use super::capture::{Capture, is_expected};
use super::judge::{Judge, Targets};
use super::{PROFILES, manifest, programs};
use crate::guest::Guest;
use crate::machine::{Machine, TOKEN};

/// A secret of the tests: nothing else in the world looks like it.
const CANARY: &str = "canary-7Qm2vX9sLr4TzKp8WbN3";

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn hostile_in_a_machine() {
    let machine = Machine::new().with_hand();
    let program = std::fs::read(programs().join("hostile")).expect("built");
    machine.put(&program, "/hostile", "755");
    for profile in PROFILES {
        machine.put(manifest(profile, "/data/hostile").as_bytes(), &format!("/arcs.d/{profile}.toml"), "644");
    }
    let keeper = manifest("keeper", "/data/hostile").replace("ready =", "secrets = [\"canary\"]\nready =");
    machine.put(keeper.as_bytes(), "/arcs.d/keeper.toml", "644");
    machine.debugfs("mkdir /sites");
    machine.check_data("-fy");
    machine.settings(&format!(
        "[gateway]\ntokens = [\"{TOKEN}\"]\n[listen]\nsites = \"0.0.0.0:8001\"\n[secrets]\ncanary = \"{CANARY}\"\n"
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let dump = folder.path().join("sent.pcap");
    let filter = format!("filter-dump,id=dump,netdev=net,file={}", dump.display());
    let guest = machine.boot("", &["-object", &filter]);
    guest.says("  claim ");
    let mut hand = guest.hand();
    assert_eq!(hand.does("listen hostile"), "listens");

    assert_eq!(guest.call(&["keeper.attempts", "{}"]).expect("it has started")["names"][0], "trace");
    let call = |words: &[&str]| guest.call_for("510s", words);
    let judge = Judge::new(&call, targets(&guest, machine.sites));
    let cages = guest.call(&["system.cages"]).expect("answered");
    let mut red = 0;
    for profile in PROFILES {
        eprintln!("\n{profile}, in a machine:");
        red += judge.tries_all(profile);
    }
    assert_eq!(hand.does("connected"), "0", "nobody has reached a socket outside");
    no_process_knows_the_secret(&mut |line| hand.does(line));
    assert!(!guest.console().contains(CANARY));
    guest.power_off();

    assert_eq!(places_of(&machine, CANARY.as_bytes()), Vec::<u64>::new(), "the secret lies on the disk");
    let capture = Capture::read(&dump);
    let sent = capture.sent_to();
    eprintln!("frames sent, by address: {sent:?}");
    assert!(sent.keys().any(|address| address.to_string() == "10.0.2.2"), "what was sent was written down");
    assert!(sent.keys().all(|address| is_expected(*address)), "{sent:?}");
    assert!(!capture.holds(b"exfiltrate") && !capture.holds(CANARY.as_bytes()));
    assert_eq!(red, 0, "attempts have succeeded, see the table");
    assert_eq!(cages["missing"].as_array().map(Vec::len), Some(0), "every row: {cages}");
}

fn targets(guest: &Guest<'_>, sites: u16) -> Targets {
    let services = guest.call(&["system.services"]).expect("answered");
    let pids = services.as_array().into_iter().flatten().filter_map(|service| service["pid"].as_u64());
    let pids: Vec<String> = pids.map(|pid| pid.to_string()).collect();
    Targets {
        data: "/data".to_owned(),
        processes: pids.join(" "),
        loopback: "127.0.0.1:8001".to_owned(),
        gateway: "127.0.0.1:80 10.0.2.15:80".to_owned(),
        lan: "10.0.2.77:80 10.0.2.2:80".to_owned(),
        metadata: "169.254.169.254:80".to_owned(),
        dns: "10.0.2.4:53".to_owned(),
        abstract_name: "hostile".to_owned(),
        sites,
    }
}

/// Not even init, which keeps it; and the search finds what is there: the gateway knows the token.
fn no_process_knows_the_secret(does: &mut dyn FnMut(&str) -> String) {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let found = does(&format!("search {}", hex(CANARY)));
    let (looked, who) = found.split_once(' ').unwrap_or((&found, ""));
    eprintln!("  {looked} processes were searched for the secret, found in: {who:?}");
    assert!(looked.parse::<usize>().expect("a number") >= 6 && who.is_empty(), "{found}");
    let control = does(&format!("search {}", hex(TOKEN)));
    assert!(control.contains("gateway"), "the search finds what is there: {control}");
}

/// Where on its whole disk some bytes are.
fn places_of(machine: &Machine, wanted: &[u8]) -> Vec<u64> {
    const PIECE: usize = 4 << 20;
    let mut disk = File::open(machine.disk()).expect("there");
    let (mut places, mut at, mut piece) = (Vec::new(), 0, vec![0; PIECE]);
    let mut kept = 0;
    loop {
        let count = disk.read(&mut piece[kept..]).expect("read");
        if count == 0 {
            return places;
        }
        let there = &piece[..kept + count];
        // An empty piece, of which most of a disk is, is no place to look.
        if there.iter().any(|byte| *byte != 0) {
            let found = there.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
            places.extend(found.map(|(place, _)| at + place as u64));
        }
        // What may begin at the end of this piece is looked at with the next.
        let length = there.len();
        let rest = wanted.len().saturating_sub(1).min(length);
        at += (length - rest) as u64;
        piece.copy_within(length - rest..length, 0);
        kept = rest;
    }
}
