//! What a service cannot take from the others: the disk.

use serde_json::json;

use crate::caged::{logs, put};
use crate::machine::{Guest, Machine, tool};

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
