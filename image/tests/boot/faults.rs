//! What a machine does when a part of it is broken: its root, its data, PID 1 itself.

use serde_json::json;

use crate::machine::Machine;

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_root_that_was_changed_is_not_run() {
    let machine = Machine::new();
    // The superblock of erofs, which is read first of all.
    let byte = machine.peek("root-a", 1024 + 64, 1)[0];
    machine.poke("root-a", 1024 + 64, &[byte ^ 1]);
    let mut guest = machine.boot("", &[]);
    guest.says("dm-verity device corrupted");
    guest.ends();
    assert!(!guest.console().contains("verified"), "nothing of it ran");
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn without_its_data_a_machine_serves_and_says_so() {
    let machine = Machine::new();
    // A partition that holds something else is not ours to overwrite.
    let (_, length) = machine.partition("data");
    for at in (0..length).step_by(1 << 20) {
        machine.poke("data", at, &[0x5a; 8192]);
    }
    let before = machine.peek("data", 0, 1 << 20);
    let guest = machine.boot_to_ready("");
    assert!(guest.console().contains("running without them, nothing was changed"), "{}", guest.console());
    let status = guest.call_until_answered(&["system.status"]);
    assert!(status["data"].to_string().contains("cannot be used (e2fsck could not mend them)"), "{status}");
    guest.call(&["kv.set", "greeting", "hello"]).expect("kept until the end");
    guest.power_off();
    assert!(machine.peek("data", 0, 1 << 20) == before, "nothing was changed");
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_plug_that_is_pulled_costs_nothing_that_was_acknowledged() {
    let machine = Machine::new();
    let guest = machine.boot_to_ready("");
    guest.call_until_answered(&["kv.set", "greeting", "hello"]);
    drop(guest);
    let (code, _) = machine.check_data("-fn");
    assert_ne!(code, Some(0), "its journal was not closed");

    // The room that is left goes to one file.
    let (_, length) = machine.partition("data");
    let filler = vec![1; usize::try_from(length / 2).expect("small")];
    machine.check_data("-fy");
    machine.put(&filler, "/filler-1", "644");
    let guest = machine.boot_to_ready("");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    guest.power_off();
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_pid_1_that_hangs_is_reset_by_the_watchdog() {
    let machine = Machine::new();
    let mut guest = machine.boot("llmbasedos.hang=1", &["-action", "watchdog=reset"]);
    guest.says("PID 1 hangs from now on");
    guest.ends();
    assert!(!guest.console().contains("Power down"), "it was not PID 1 that ended it");
}
