//! What a machine does when something is the matter with the partition that keeps everything.

use std::fs::File;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize::Lb512;
use serde_json::json;

use crate::guest::Guest;
use crate::machine::{Machine, tool};

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
    assert!(guest.console().contains("running without them, nothing is formatted"), "{}", guest.console());
    let status = guest.call_until_answered(&["system.status"]);
    assert!(status["data"].to_string().contains("cannot be used (e2fsck could not mend them)"), "{status}");
    guest.call(&["kv.set", "greeting", "hello"]).expect("kept until the end");
    guest.power_off();
    assert!(machine.peek("data", 0, 1 << 20) == before, "nothing was changed");
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_disk_without_the_partition_is_enough_to_serve() {
    let machine = Machine::new();
    repartition(&machine, |data| data.name = "photos".to_owned());
    let guest = machine.boot_to_ready("");
    assert_that_it_serves_without(&guest, "cannot be used (the disk has no partition of that name)");
    guest.power_off();
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_partition_that_holds_next_to_nothing_is_not_used() {
    const SIZE: u64 = 192 << 10;
    let machine = Machine::new();
    let (start, _) = machine.partition("data");
    repartition(&machine, |data| data.last_lba = data.first_lba + SIZE / 512 - 1);
    let at = format!("offset={start}");
    let disk = machine.disk().display().to_string();
    tool("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-N", "16", "-E", &at, &disk, "192k"]);
    let guest = machine.boot_to_ready("");
    assert_that_it_serves_without(&guest, "cannot be used (");
    guest.power_off();
    let (_, said) = machine.check_data("-n");
    assert!(said.contains(": clean,"), "what was mounted in vain was left clean: {said}");
}

/// Changes the data's entry in the table, and ends the disk behind them.
fn repartition(machine: &Machine, change: impl Fn(&mut gpt::partition::Partition)) {
    let config = || GptConfig::new().writable(true).logical_block_size(Lb512);
    let table = config().open(machine.disk()).expect("a table");
    let (guid, mut partitions) = (*table.guid(), table.partitions().clone());
    drop(table);
    let data = partitions.values_mut().find(|partition| partition.name == "data").expect("there");
    change(data);
    let end = (data.last_lba + 1 + 33) * 512;
    let disk = File::options().read(true).write(true).open(machine.disk()).expect("there");
    disk.set_len(end).expect("a smaller disk");
    let mut table = config().create_from_device(disk, Some(guid)).expect("a table");
    table.update_partitions(partitions).expect("sound");
    table.write().expect("written");
}

/// It keeps what it is told until it ends, and says that it will not be longer.
fn assert_that_it_serves_without(guest: &Guest<'_>, why: &str) {
    let status = guest.call_until_answered(&["system.status"]);
    assert!(status["data"].to_string().contains(why), "{status}");
    assert!(guest.console().contains("running without them"), "it is said on the screen");
    guest.call(&["kv.set", "greeting", "hello"]).expect("kept until the end");
    assert_eq!(guest.call(&["kv.get", "greeting"]), Ok(json!("hello")));
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn neither_a_pulled_plug_nor_a_full_disk_costs_what_was_acknowledged() {
    let machine = Machine::new().with_hand();
    let guest = machine.boot_to_ready("");
    guest.call_until_answered(&["kv.set", "greeting", "hello"]);
    drop(guest);
    assert!(machine.debugfs("features").contains("needs_recovery"), "its journal was not closed");

    let guest = machine.boot_to_ready("");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    let filled: u64 = guest.hand().does("fill /data/filler").parse().expect("a number of bytes");
    assert!(filled > 100 << 20, "{filled}");
    let large = |number: u32| json!({ "key": format!("large {number}"), "value": "x".repeat(100_000) }).to_string();
    let refused = (0..50).find_map(|number| guest.call(&["kv.set", &large(number)]).err());
    let refused = refused.expect("there is no room for all of them");
    assert!(refused.contains("full") || refused.contains("space"), "{refused}");
    assert_eq!(guest.call(&["kv.get", "greeting"]), Ok(json!("hello")), "what is there can be read");
    guest.power_off();

    let guest = machine.boot_to_ready("");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"), "it starts on a full disk");
    assert_eq!(guest.hand().does("remove /data/filler"), "Ok(())");
    guest.call_until_answered(&["kv.set", &large(50)]);
    guest.power_off();
    let (code, said) = machine.check_data("-fn");
    assert_eq!(code, Some(0), "{said}");
}
