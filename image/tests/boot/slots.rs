//! The two slots of a machine that firmware starts, as it does in a PC: which is taken, and what brings the other.

use std::fs;

use sha2::{Digest, Sha256};
use spec::boot::{BACKUP_OFFSET, BootState, SECTOR, STATE_OFFSET, STATE_PARTITION, Slot, Standing};

use crate::guest::until;
use crate::machine::{Machine, built, tool};

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn firmware_starts_a_machine_whatever_its_state_sector_holds() {
    let machine = Machine::new();
    let guest = machine.boot_by_firmware();
    guest.says("(slot A, verified)");
    assert_eq!(state(&machine, STATE_OFFSET).standing(Slot::A), Standing::OnTrial(2), "while it has yet to be well");
    until("the slot is confirmed", || Some(()).filter(|()| state(&machine, STATE_OFFSET) == BootState::only(Slot::A)));
    assert_eq!(state(&machine, BACKUP_OFFSET), BootState::only(Slot::A));
    guest.power_off();

    for offset in [STATE_OFFSET, BACKUP_OFFSET] {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(SECTOR).collect();
        machine.poke(STATE_PARTITION, offset, &noise);
    }
    let guest = machine.boot_by_firmware();
    guest.says("(slot A, verified)");
    guest.call_until_answered(&["kv.get", "nothing"]);
    guest.power_off();
    assert_eq!(state(&machine, STATE_OFFSET).standing(Slot::A), Standing::Confirmed, "it is written anew");
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_slot_that_fails_three_times_gives_way_to_the_other() {
    let machine = Machine::new();
    machine.overwrite("boot-b", &built("work/boot-b.img"));
    machine.overwrite("root-b", &built("work/root.img"));
    let both = BootState::only(Slot::A).confirmed(Slot::B).confirmed(Slot::A);

    eprintln!("slot B is cut short");
    set_state(&machine, BootState::only(Slot::A).trying(Slot::B));
    for left in [2, 1, 0] {
        let guest = machine.boot_by_firmware();
        guest.says(&format!("slot B has yet to come up well; {left} more tries are left"));
    }
    let guest = machine.boot_by_firmware();
    guest.says("(slot A, verified)");
    guest.power_off();

    eprintln!("slot A panics");
    let at = 1024 + 64;
    let byte = machine.peek("root-a", at, 1)[0];
    machine.poke("root-a", at, &[byte ^ 1]);
    set_state(&machine, both);
    let guest = machine.boot_by_firmware();
    guest.says("(slot B, verified)");
    assert_eq!(guest.console().matches("dm-verity device corrupted").count(), 3, "so often it was tried");
    guest.power_off();
    machine.poke("root-a", at, &[byte]);

    eprintln!("slot B hangs");
    tell_kernel_of_b(&machine, "llmbasedos.hang=1");
    set_state(&machine, BootState::only(Slot::A).trying(Slot::B));
    let guest = machine.boot_by_firmware();
    guest.says("(slot A, verified)");
    assert_eq!(guest.console().matches("PID 1 hangs from now on").count(), 3, "so often it was tried");
    guest.power_off();
}

fn state(machine: &Machine, offset: u64) -> BootState {
    let sector = machine.peek(STATE_PARTITION, offset, SECTOR);
    BootState::parse(sector.first_chunk().expect("a sector")).expect("a state")
}

fn set_state(machine: &Machine, state: BootState) {
    for offset in [STATE_OFFSET, BACKUP_OFFSET] {
        machine.poke(STATE_PARTITION, offset, &state.to_sector());
    }
}

/// Puts a word onto the command line that the kernel of slot B carries, in the place of one that does not matter here.
fn tell_kernel_of_b(machine: &Machine, word: &str) {
    const UNUSED: &str = "cryptomgr.notests=1";
    let folder = tempfile::tempdir().expect("a folder");
    let (kernel, sum) = (folder.path().join("uki.efi"), folder.path().join("uki.sum"));
    let at = format!("{}@@{}", machine.disk().display(), machine.partition("boot-b").0);
    let copy = |from: &str, to: &str| tool("mcopy", &["-o", "-i", &at, from, to]);
    copy("::/uki.efi", &kernel.display().to_string());
    let mut bytes = fs::read(&kernel).expect("copied");
    let place = bytes.windows(UNUSED.len()).position(|window| window == UNUSED.as_bytes()).expect("on the line");
    let word = format!("{word:<width$}", width = UNUSED.len());
    bytes[place..place + UNUSED.len()].copy_from_slice(word.as_bytes());
    fs::write(&kernel, &bytes).expect("written");
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&sum, format!("{digest}  /uki.efi\n")).expect("written");
    copy(&kernel.display().to_string(), "::/uki.efi");
    copy(&sum.display().to_string(), "::/uki.sum");
}
