//! What a machine does when a part of it is broken: its root, PID 1 itself.

use std::fs;

use spec::boot::{
    BootState, DATA_PARTITION, ROOT_BLOCK, RootImage, SECTOR, STATE_OFFSET, STATE_PARTITION, Slot, Standing, TRIES,
};

use crate::guest::Guest;
use crate::machine::{Machine, built};

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

    // And by which it is told from another system's.
    let machine = Machine::new();
    spoil_hash_tree(&machine);
    let mut guest = machine.boot("", &[]);
    guest.says("is not the root that this kernel belongs to: waiting for another");
    guest.says("dm-verity device corrupted");
    guest.ends();
}

/// Changes the block by which a root is known.
fn spoil_hash_tree(machine: &Machine) {
    let command_line = fs::read_to_string(built("command-line")).expect("an image was built");
    let root = RootImage::of_command_line(&command_line).expect("it names its root");
    let tree = root.blocks * u64::from(ROOT_BLOCK);
    let byte = machine.peek("root-a", tree, 1)[0];
    machine.poke("root-a", tree, &[byte ^ 1]);
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_disk_with_another_system_of_ours_is_neither_booted_nor_written_to() {
    let machine = Machine::new();
    spoil_hash_tree(&machine);
    // To begin a trial or to end one would change it.
    let state = BootState::only(Slot::A).trying(Slot::B);
    machine.poke(STATE_PARTITION, STATE_OFFSET, &state.to_sector());
    let kept = |machine: &Machine| {
        [(STATE_PARTITION, STATE_OFFSET, SECTOR), (DATA_PARTITION, 0, 1 << 20)]
            .map(|(partition, offset, length)| machine.peek(partition, offset, length))
    };
    let before = kept(&machine);

    let stick = Machine::new();
    let guest = boot_beside(&machine, &stick);
    guest.says("(slot A, verified)");
    guest.says("  claim ");
    guest.call_until_answered(&["kv.set", r#"["greeting", "hello"]"#]);
    guest.power_off();
    assert!(before == kept(&machine), "the other disk is as it was");
    let guest = stick.boot_to_ready("");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), "hello");
    guest.power_off();
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_damaged_root_is_tried_on_the_disk_with_its_kernel_and_on_no_other() {
    let (machine, stick) = (Machine::new(), Machine::new());
    let confirmed = BootState::only(Slot::A).to_sector();
    for one in [&machine, &stick] {
        spoil_hash_tree(one);
        one.poke(STATE_PARTITION, STATE_OFFSET, &confirmed);
    }
    let kernel = Slot::A.boot_partition();
    stick.poke(kernel, 0, &vec![0; usize::try_from(stick.partition(kernel).1).expect("small")]);
    let state = |machine: &Machine| machine.peek(STATE_PARTITION, STATE_OFFSET, SECTOR);

    // The other disk is the first that the kernel lists.
    let mut guest = boot_beside(&stick, &machine);
    guest.says("dm-verity device corrupted");
    guest.ends();
    let begun = BootState::parse(state(&machine)[..].try_into().expect("a sector")).expect("sound");
    assert_eq!(begun.standing(Slot::A), Standing::OnTrial(TRIES - 1), "so that the other slot's turn comes");
    assert_eq!(state(&stick), confirmed);

    let mut guest = stick.boot("", &[]);
    guest.says("no disk has the root-a that this kernel belongs to");
    guest.ends();
    assert_eq!(state(&stick), confirmed);
}

/// Boots a machine with another's disk beside its own.
fn boot_beside<'m>(machine: &'m Machine, other: &Machine) -> Guest<'m> {
    let drive = format!("if=none,id=other,format=raw,file={}", other.disk().display());
    machine.boot("", &["-drive", &drive, "-device", "virtio-blk-pci,drive=other"])
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
