//! The state sector on the disk (`spec::boot::BootState`): PID 1 begins the trial of the slot that it runs from, and ends
//! it once the machine is healthy. The first stage begins it ([`Slots::begin`]), the second ends it ([`Trial`]).
//!
//! The sector and its backup are read and written where they lie, past the file system that they are files of and past
//! the kernel's cache: a file system changes more than one sector, and the cache writes whole pages; either can be torn
//! by a power cut.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::libc::O_DIRECT;
use spec::boot::{BACKUP_OFFSET, BootState, SECTOR, STATE_OFFSET, STATE_PARTITION, Slot, Standing};

use super::disk::{self, Partition};
use super::say;
use crate::sys::Millis;

/// How long a machine must have been well to be healthy: above what a service takes that starts and fails again and
/// again.
const WELL_FOR: Millis = 10_000;

/// The trial of the slot that runs.
#[derive(Debug)]
pub(super) struct Trial {
    slots: Slots,
    slot: Slot,
    /// Since when the machine is well.
    well_since: Option<Millis>,
}

impl Trial {
    /// That of the slot that this system was booted from.
    pub(super) fn of(slot: Slot, partitions: &[Partition], disk: &str) -> io::Result<Self> {
        Ok(Self { slots: Slots::open(partitions, disk)?, slot, well_since: None })
    }

    /// When it may end well.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.well_since.map(|since| since.saturating_add(WELL_FOR))
    }

    /// Takes down whether the machine is well; answers whether the trial is over.
    pub(super) fn turn(&mut self, is_well: bool, now: Millis) -> bool {
        if !is_well {
            self.well_since = None;
            return false;
        }
        self.well_since.get_or_insert(now);
        let is_over = self.deadline().is_some_and(|at| now >= at);
        if is_over {
            self.pass();
        }
        is_over
    }

    /// The machine is ended by its owner: what was well until then is no failure.
    pub(super) fn end(&self) {
        if self.well_since.is_some() {
            self.pass();
        }
    }

    fn pass(&self) {
        if let Err(error) = self.slots.confirm(self.slot) {
            say(&format!("slot {} is well, which cannot be kept: {error}", self.slot));
        }
    }
}

/// The state sector and its backup.
#[derive(Debug)]
pub(super) struct Slots {
    device: File,
}

/// Memory that a device reads and writes directly: so aligned for all of them (open(2), `O_DIRECT`).
#[repr(align(4096))]
struct Block([u8; SECTOR]);

impl Slots {
    /// Those of a disk, as the kernel calls it.
    pub(super) fn open(partitions: &[Partition], disk: &str) -> io::Result<Self> {
        let partition = disk::on_disk(partitions, disk, STATE_PARTITION);
        let none = || io::Error::other(format!("{disk} has no partition named {STATE_PARTITION}"));
        let device = &partition.ok_or_else(none)?.device;
        let opened = File::options().read(true).write(true).custom_flags(O_DIRECT).open(device);
        let device = opened.map_err(|error| io::Error::other(format!("{}: {error}", device.display())))?;
        Ok(Self { device })
    }

    /// Begins the trial of the slot that runs, before anything that can fail; answers how it stood.
    pub(super) fn begin(&self, slot: Slot) -> io::Result<Standing> {
        let state = self.state();
        self.write(STATE_OFFSET, state.begun(slot))?;
        Ok(state.standing(slot))
    }

    /// Ends it well: the machine is healthy.
    pub(super) fn confirm(&self, slot: Slot) -> io::Result<()> {
        let state = self.state().confirmed(slot);
        self.write(STATE_OFFSET, state)?;
        // Only now, so that one of the two is whole at any moment.
        self.write(BACKUP_OFFSET, state)
    }

    /// What the boot loader has read.
    fn state(&self) -> BootState {
        let read = |offset| BootState::parse(&self.sector(offset).ok()?).ok();
        read(STATE_OFFSET).or_else(|| read(BACKUP_OFFSET)).unwrap_or_default()
    }

    fn sector(&self, offset: u64) -> io::Result<[u8; SECTOR]> {
        let mut block = Block([0; SECTOR]);
        self.device.read_exact_at(&mut block.0, offset)?;
        Ok(block.0)
    }

    /// Writes a sector, unless it says the same already.
    fn write(&self, offset: u64, state: BootState) -> io::Result<()> {
        let block = Block(state.to_sector());
        if self.sector(offset).is_ok_and(|there| there == block.0) {
            return Ok(());
        }
        self.device.write_all_at(&block.0, offset)?;
        self.device.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use spec::boot::TRIES;

    use super::*;

    /// A partition that both sectors say this on.
    fn slots(state: BootState) -> Slots {
        let device = tempfile::tempfile().expect("a file");
        device.set_len(1 << 20).expect("made");
        let slots = Slots { device };
        slots.write(STATE_OFFSET, state).expect("written");
        slots.write(BACKUP_OFFSET, state).expect("written");
        slots
    }

    fn read(slots: &Slots, offset: u64) -> BootState {
        BootState::parse(&slots.sector(offset).expect("read")).expect("a state")
    }

    #[test]
    fn a_confirmed_slot_is_on_trial_while_it_boots() {
        let before = BootState::only(Slot::A);
        let slots = slots(before);
        assert_eq!(slots.begin(Slot::A).expect("written"), Standing::Confirmed);
        assert_eq!(read(&slots, STATE_OFFSET).standing(Slot::A), Standing::OnTrial(TRIES - 1));
        assert_eq!(read(&slots, BACKUP_OFFSET), before);
        slots.confirm(Slot::A).expect("written");
        assert_eq!((read(&slots, STATE_OFFSET), read(&slots, BACKUP_OFFSET)), (before, before));
    }

    #[test]
    fn a_new_slot_is_kept_in_both_sectors_once_it_is_healthy() {
        let slots = slots(BootState::only(Slot::A).trying(Slot::B));
        assert_eq!(slots.begin(Slot::B).expect("nothing to write"), Standing::OnTrial(TRIES));
        slots.confirm(Slot::B).expect("written");
        for offset in [STATE_OFFSET, BACKUP_OFFSET] {
            assert_eq!(read(&slots, offset), BootState::default().confirmed(Slot::B));
        }
    }

    #[test]
    fn a_broken_sector_is_mended_from_the_other_one() {
        let state = BootState::only(Slot::B);
        let slots = slots(state);
        slots.device.write_all_at(&[0xa5; SECTOR], STATE_OFFSET).expect("written");
        slots.begin(Slot::B).expect("written");
        assert_eq!(read(&slots, STATE_OFFSET), state.begun(Slot::B));
        for offset in [STATE_OFFSET, BACKUP_OFFSET] {
            slots.device.write_all_at(&[0xa5; SECTOR], offset).expect("written");
        }
        slots.confirm(Slot::A).expect("written");
        assert_eq!((read(&slots, STATE_OFFSET), read(&slots, BACKUP_OFFSET)), <(BootState, BootState)>::default());
    }

    #[test]
    fn a_trial_ends_well_once_the_machine_has_been_well_for_a_while() {
        let trial = || {
            let slots = slots(BootState::only(Slot::A));
            slots.begin(Slot::A).expect("written");
            Trial { slots, slot: Slot::A, well_since: None }
        };
        let is_confirmed = |trial: &Trial| read(&trial.slots, STATE_OFFSET).standing(Slot::A) == Standing::Confirmed;
        let mut one = trial();
        assert!(!one.turn(true, 1000) && !one.turn(true, 1000 + WELL_FOR - 1) && !one.turn(false, 1000 + WELL_FOR));
        assert!(!one.turn(true, 20_000) && !is_confirmed(&one));
        assert!(one.turn(true, 20_000 + WELL_FOR) && is_confirmed(&one));
        let mut ended = trial();
        ended.end();
        assert!(!is_confirmed(&ended), "it was not well when it was ended");
        ended.turn(true, 0);
        ended.end();
        assert!(is_confirmed(&ended));
    }

    #[test]
    fn a_disk_without_the_partition_is_told_of() {
        let error = Slots::open(&[], "vda").expect_err("there is none").to_string();
        assert_eq!(error, "vda has no partition named state");
    }
}
