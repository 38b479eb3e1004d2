//! What a machine does when a part of it is broken: its root, PID 1 itself.

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
fn a_first_stage_that_hangs_is_reset_by_the_watchdog() {
    let machine = Machine::new();
    let mut guest = machine.boot("llmbasedos.hang=first-stage", &["-action", "watchdog=reset"]);
    guest.says("PID 1 hangs from now on");
    guest.ends();
    assert!(!guest.console().contains("verified"), "it had not come further");
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
