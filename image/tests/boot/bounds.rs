//! What a service cannot take from the others: the disk, the memory.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::caged::{logs, put};
use crate::guest::Guest;
use crate::machine::{Machine, tool};

/// Of `disk_max`.
const BOUND_KIB: u64 = 8 << 10;

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn no_service_fills_the_disk() {
    let machine = Machine::new();
    // An older machine has files that are in no quota yet, and among them what leads elsewhere.
    machine.debugfs("mkdir /arcs");
    machine.debugfs("mkdir /arcs/inmate");
    machine.put(&vec![1; 1 << 20], "/arcs/inmate/old/file", "644");
    machine.debugfs("symlink /arcs/inmate/old/link /data/secrets");
    let cage = "[cage]\ndisk_max = \"8M\"\nmounts = [{ path = \"/data/shared\", mode = \"rw\" }]\n";
    put(&machine, &["fill", "/data/arcs/inmate", "/data/shared"], cage);
    machine.check_data("-fy");

    let guest = machine.boot_to_ready("");
    let said = |guest: &Guest<'_>, words: &str| {
        let line = logs(guest, "inmate", words);
        assert!(line.ends_with("then QuotaExceeded"), "{line}");
        line.split_ascii_whitespace().find_map(|word| word.parse::<u64>().ok()).expect("a number")
    };
    let own = said(&guest, "/data/arcs/inmate: ");
    assert!((BOUND_KIB - 1100..=BOUND_KIB - 1024).contains(&own), "what was there is counted: {own} KiB");
    let shared = said(&guest, "/data/shared: ");
    assert!((BOUND_KIB - 100..=BOUND_KIB).contains(&shared), "{shared} KiB");
    logs(&guest, "inmate", " files, then QuotaExceeded");
    logs(&guest, "inmate", "done");

    let cage = guest.call_until_answered(&["system.cage", "inmate"]);
    assert!(cage["may"].to_string().contains("of at most 8 MiB in /data/arcs/inmate"), "{cage}");
    assert!(cage["may"].to_string().contains("of at most 8 MiB in /data/shared"), "{cage}");
    assert_eq!(cage["missing"], json!([]), "this kernel gives all");
    guest.call(&["kv.set", "greeting", "hello"]).expect("there is room for everybody else");
    guest.call(&["fs.write", r#"{ "path": "/note", "content": "hello" }"#]).expect("there is room");
    guest.power_off();
    let (code, said) = machine.check_data("-fn");
    assert_eq!(code, Some(0), "the quotas add up: {said}");

    let guest = machine.boot_to_ready("");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    let again = guest.call_until_answered(&["system.cage", "inmate"]);
    assert!(again["may"].to_string().contains("of at most 8 MiB in /data/arcs/inmate"), "{again}");
    guest.power_off();
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_data_partition_without_quotas_is_said_and_runs_nothing_unbounded() {
    let machine = Machine::new();
    let (start, length) = machine.partition("data");
    let (at, disk) = (format!("offset={start}"), machine.disk().display().to_string());
    tool("mke2fs", &["-q", "-F", "-t", "ext4", "-E", &at, &disk, &format!("{}k", length >> 10)]);
    let guest = machine.boot("", &[]);
    guest.says("data: mounted without quotas, which the partition was not made with");
    guest.says("this kernel does not give it the disk quota, which its cage requires");
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn who_takes_the_memory_of_all_is_frozen_and_then_stopped() {
    let machine = Machine::new();
    put(&machine, &["devour"], "[cage]\nproc = true\nmemory_max = \"2G\"\n");
    machine.check_data("-fy");
    let guest = machine.boot_to_ready("");
    let (mut answers, mut longest) = (0, Duration::ZERO);
    let is_stopped = |guest: &Guest<'_>| logs_of_init(guest).contains("inmate: stopped: memory is short");
    while !is_stopped(&guest) {
        let begun = Instant::now();
        guest.call(&["kv.set", "count", "1"]).expect("the gateway and the Arcs answer all the time");
        answers += 1;
        longest = longest.max(begun.elapsed());
    }
    eprintln!("answered meanwhile: {answers}, the slowest after {longest:.2?}");
    let log = logs_of_init(&guest);
    let place = |words: &str| log.find(words).unwrap_or_else(|| panic!("no {words:?} in {log}"));
    assert!(place("inmate: frozen for up to 10 s: memory is short") < place("inmate: stopped: memory is short"));
    for essential in ["gateway", "logd", "netd"] {
        assert!(!log.contains(&format!("{essential}: frozen")), "{log}");
    }
    let is_said = |service: &Value| service["reason"].to_string().contains("stopped: memory is short");
    guest.service_comes_to("inmate", is_said);
    guest.call(&["system.stop", "inmate"]).expect("it can be stopped");
    assert!(!guest.console().contains("Out of memory"), "the kernel had to end nobody");
    guest.power_off();
}

fn logs_of_init(guest: &Guest<'_>) -> String {
    guest.call_until_answered(&["system.logs", "init"]).to_string()
}
