//! The state sector on the disk (`spec::boot::BootState`): PID 1 begins the trial of the slot that it runs from, and ends
//! it once the machine is healthy. The first stage begins it ([`Slots::begin`]), the second ends it ([`Trial`]).
//!
//! GRUB has chosen the slot and counted the try. The firmware of a Raspberry Pi can neither: there the slot that is started
//! usually chooses, counts, and has the machine restarted into the other one if it is that one's turn. It is written down
//! before that how the other one stands then; so each restart brings the next try, even if nothing comes of it.

use std::io;

use spec::boot::{
    BACKUP_OFFSET, BootState, CONFIG_PARTITION, Loader, SECTOR, STATE_OFFSET, STATE_PARTITION, Slot, Standing,
};

use super::autoboot::AutobootFile;
use super::disk::{self, Partition};
use super::say;
use super::sectors::{Device, Sectors};
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
    pub(super) fn of(slot: Slot, loader: Loader, partitions: &[Partition], disk: &str) -> io::Result<Self> {
        Ok(Self { slots: Slots::open(loader, partitions, disk)?, slot, well_since: None })
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

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// That of the slot that runs; so it stood.
    Own(Standing),
    /// That of the other one, into which the machine is to be restarted.
    Others,
}

/// The state sector and its backup; and where the loader cannot count, what it goes by.
#[derive(Debug)]
pub(super) struct Slots<D = Device> {
    state: D,
    autoboot: Option<AutobootFile<D>>,
}

impl Slots {
    /// Those of a disk, as the kernel calls it.
    pub(super) fn open(loader: Loader, partitions: &[Partition], disk: &str) -> io::Result<Self> {
        let open = |name: &str| {
            let none = || io::Error::other(format!("{disk} has no partition named {name}"));
            Device::open(&disk::on_disk(partitions, disk, name).ok_or_else(none)?.device)
        };
        let state = open(STATE_PARTITION)?;
        let autoboot = match loader {
            Loader::Grub => None,
            Loader::RaspberryPi => open(CONFIG_PARTITION)
                .and_then(AutobootFile::find)
                .map_err(|error| say(&format!("which slot is started cannot be changed: {error}")))
                .ok(),
        };
        Ok(Self { state, autoboot })
    }
}

impl<D: Sectors> Slots<D> {
    /// Begins the trial of the slot that runs, before anything that can fail, or says that it is the other's turn.
    pub(super) fn begin(&self, slot: Slot) -> io::Result<Turn> {
        let state = self.state();
        let (chosen, state) = if self.chooses(slot) { state.choose() } else { (slot, state) };
        self.write(STATE_OFFSET, state.begun(chosen))?;
        Ok(if chosen == slot { Turn::Own(state.standing(slot)) } else { Turn::Others })
    }

    /// Ends it well: the machine is healthy.
    pub(super) fn confirm(&self, slot: Slot) -> io::Result<()> {
        let state = self.state().confirmed(slot);
        self.write(STATE_OFFSET, state)?;
        // Only now, so that one of the two is whole at any moment.
        self.write(BACKUP_OFFSET, state)?;
        // Should the power fail before this: the slot that is started then finds in the state that it is not its turn.
        self.autoboot.as_ref().map_or(Ok(()), |autoboot| autoboot.set_usual(slot))
    }

    /// Whether it is for this slot to choose: it is the one that is started usually. The other one runs because it was
    /// chosen.
    fn chooses(&self, slot: Slot) -> bool {
        self.autoboot.as_ref().is_some_and(|autoboot| autoboot.usual().is_ok_and(|usual| usual == slot))
    }

    /// What the boot loader has read.
    fn state(&self) -> BootState {
        let read = |offset| BootState::parse(&self.state.read(sector(offset)).ok()?).ok();
        read(STATE_OFFSET).or_else(|| read(BACKUP_OFFSET)).unwrap_or_default()
    }

    fn write(&self, offset: u64, state: BootState) -> io::Result<()> {
        self.state.change(sector(offset), &state.to_sector())
    }
}

fn sector(offset: u64) -> u64 {
    offset / SECTOR as u64
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use proptest::prelude::*;
    use spec::boot::{Autoboot, TRIES};

    use super::*;
    use crate::boot::sectors::Bytes;

    /// A partition that both sectors say this on.
    fn slots(state: BootState) -> Slots {
        let device = tempfile::tempfile().expect("a file");
        device.set_len(1 << 20).expect("made");
        let slots = Slots { state: Device::of(device), autoboot: None };
        slots.write(STATE_OFFSET, state).expect("written");
        slots.write(BACKUP_OFFSET, state).expect("written");
        slots
    }

    fn read(slots: &Slots, offset: u64) -> BootState {
        BootState::parse(&slots.state.read(sector(offset)).expect("read")).expect("a state")
    }

    #[test]
    fn a_confirmed_slot_is_on_trial_while_it_boots() {
        let before = BootState::only(Slot::A);
        let slots = slots(before);
        assert_eq!(slots.begin(Slot::A).expect("written"), Turn::Own(Standing::Confirmed));
        assert_eq!(read(&slots, STATE_OFFSET).standing(Slot::A), Standing::OnTrial(TRIES - 1));
        assert_eq!(read(&slots, BACKUP_OFFSET), before);
        slots.confirm(Slot::A).expect("written");
        assert_eq!((read(&slots, STATE_OFFSET), read(&slots, BACKUP_OFFSET)), (before, before));
    }

    #[test]
    fn a_new_slot_is_kept_in_both_sectors_once_it_is_healthy() {
        let slots = slots(BootState::only(Slot::A).trying(Slot::B));
        assert_eq!(slots.begin(Slot::B).expect("nothing to write"), Turn::Own(Standing::OnTrial(TRIES)));
        slots.confirm(Slot::B).expect("written");
        for offset in [STATE_OFFSET, BACKUP_OFFSET] {
            assert_eq!(read(&slots, offset), BootState::default().confirmed(Slot::B));
        }
    }

    #[test]
    fn a_broken_sector_is_mended_from_the_other_one() {
        let state = BootState::only(Slot::B);
        let slots = slots(state);
        slots.state.write(sector(STATE_OFFSET), &[0xa5; SECTOR]).expect("written");
        slots.begin(Slot::B).expect("written");
        assert_eq!(read(&slots, STATE_OFFSET), state.begun(Slot::B));
        for offset in [STATE_OFFSET, BACKUP_OFFSET] {
            slots.state.write(sector(offset), &[0xa5; SECTOR]).expect("written");
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
        let error = Slots::open(Loader::Grub, &[], "vda").expect_err("there is none").to_string();
        assert_eq!(error, "vda has no partition named state");
    }
    const AUTOBOOT_AT: u64 = 99;

    /// The card of a Raspberry Pi: its state partition and its first one.
    #[derive(Debug, Clone)]
    struct Card {
        sectors: Rc<RefCell<BTreeMap<(&'static str, u64), Bytes>>>,
        /// So many writes are done before the power fails.
        writes_left: Rc<Cell<u32>>,
        partition: &'static str,
    }

    impl Sectors for Card {
        fn read(&self, number: u64) -> io::Result<Bytes> {
            Ok(self.sectors.borrow().get(&(self.partition, number)).copied().unwrap_or([0; SECTOR]))
        }

        fn write(&self, number: u64, bytes: &Bytes) -> io::Result<()> {
            let left = self.writes_left.get().checked_sub(1).ok_or(io::Error::other("the power has failed"))?;
            self.writes_left.set(left);
            self.sectors.borrow_mut().insert((self.partition, number), *bytes);
            Ok(())
        }
    }

    impl Card {
        /// One on which all sectors say this, and whose power fails after so many writes.
        fn new(state: BootState, usual: Slot, writes: u32) -> Self {
            let sectors = [
                ((STATE_PARTITION, sector(STATE_OFFSET)), state.to_sector()),
                ((STATE_PARTITION, sector(BACKUP_OFFSET)), state.to_sector()),
                ((CONFIG_PARTITION, AUTOBOOT_AT), Autoboot { usual }.to_sector()),
            ];
            let sectors = Rc::new(RefCell::new(sectors.into()));
            Self { sectors, writes_left: Rc::new(Cell::new(writes)), partition: STATE_PARTITION }
        }

        fn slots(&self) -> Slots<Self> {
            let first = Self { partition: CONFIG_PARTITION, ..self.clone() };
            Slots { state: self.clone(), autoboot: Some(AutobootFile::at(first, AUTOBOOT_AT)) }
        }

        fn usual(&self) -> Slot {
            self.slots().autoboot.and_then(|autoboot| autoboot.usual().ok()).expect("never torn")
        }

        /// Switches the machine on, and on again after each power cut, until a slot is well. Firmware starts a slot as
        /// `autoboot.txt` says; `knows_tryboot`: also for one restart.
        fn boot(&self, is_well: impl Fn(Slot) -> bool, knows_tryboot: bool) -> Option<Slot> {
            let mut tryboot = false;
            for _ in 0..40 {
                let slot = if tryboot { self.usual().other() } else { self.usual() };
                tryboot = false;
                let slots = self.slots();
                let outcome = match slots.begin(slot) {
                    Ok(Turn::Others) => {
                        tryboot = knows_tryboot;
                        continue;
                    }
                    Ok(Turn::Own(_)) if is_well(slot) => slots.confirm(slot),
                    Ok(Turn::Own(_)) => continue,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(()) => return Some(slot),
                    Err(_) => self.writes_left.set(u32::MAX),
                }
            }
            None
        }

        fn state(&self) -> BootState {
            self.slots().state()
        }
    }

    #[test]
    fn a_new_slot_is_tried_by_one_restart_and_is_the_usual_one_once_it_is_well() {
        let card = Card::new(BootState::only(Slot::A).trying(Slot::B), Slot::A, u32::MAX);
        assert_eq!(card.slots().begin(Slot::A).expect("written"), Turn::Others);
        assert_eq!(card.state().standing(Slot::B), Standing::OnTrial(TRIES - 1));
        assert_eq!(card.slots().begin(Slot::B).expect("written"), Turn::Own(Standing::OnTrial(TRIES - 1)));
        assert_eq!(card.usual(), Slot::A, "it has yet to show that it works");
        card.slots().confirm(Slot::B).expect("written");
        assert_eq!((card.usual(), card.boot(|_| true, true)), (Slot::B, Some(Slot::B)));
    }

    #[test]
    fn a_new_slot_that_is_never_well_is_tried_three_times() {
        let card = Card::new(BootState::only(Slot::A).trying(Slot::B), Slot::A, u32::MAX);
        let tries = Cell::new(0);
        let is_well = |slot| {
            tries.set(tries.get() + u32::from(slot == Slot::B));
            slot == Slot::A
        };
        assert_eq!((card.boot(is_well, true), tries.get()), (Some(Slot::A), u32::from(TRIES)));
        assert_eq!((card.usual(), card.state().preferred()), (Slot::A, Slot::A));
    }

    #[test]
    fn what_somebody_else_has_written_to_autoboot_is_left_alone() {
        let card = Card::new(BootState::only(Slot::A).trying(Slot::B), Slot::A, u32::MAX);
        let theirs = [b'#'; SECTOR];
        card.sectors.borrow_mut().insert((CONFIG_PARTITION, AUTOBOOT_AT), theirs);
        assert!(matches!(card.slots().begin(Slot::A), Ok(Turn::Own(_))), "whoever runs goes on");
        assert!(card.slots().confirm(Slot::A).is_err());
        assert_eq!(card.sectors.borrow().get(&(CONFIG_PARTITION, AUTOBOOT_AT)), Some(&theirs));
    }

    fn any_state() -> impl Strategy<Value = BootState> {
        let standing = || prop_oneof![Just(None), (0..=TRIES).prop_map(Some)];
        (any::<bool>(), standing(), standing()).prop_map(|(is_a, a, b)| {
            let preferred = if is_a { Slot::A } else { Slot::B };
            let [a, b] = [("a", a), ("b", b)].map(|(name, left)| {
                format!("{name}_ok={}\n{name}_left={}\n", u8::from(left.is_none()), left.unwrap_or(0))
            });
            let text = format!("# GRUB Environment Block\npri={}\n{a}{b}end=llmb1\n", preferred.letter());
            let mut sector = [b'#'; SECTOR];
            sector.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
            BootState::parse(&sector).expect("sound")
        })
    }

    proptest! {
        #[test]
        fn wherever_the_power_fails_the_slot_that_works_is_found_and_kept(
            state in any_state(),
            usual_is_a in any::<bool>(),
            works in 1_u8..4,
            writes in 0_u32..12,
        ) {
            let is_well = |slot: Slot| works & (1 << u8::from(slot == Slot::B)) != 0;
            let card = Card::new(state, if usual_is_a { Slot::A } else { Slot::B }, writes);
            let found = card.boot(is_well, true);
            prop_assert!(found.is_some_and(is_well), "{:?}", card.state());
            card.writes_left.set(u32::MAX);
            let again = card.boot(is_well, true).expect("found");
            prop_assert!(is_well(again));
            prop_assert_eq!((card.boot(is_well, true), card.usual()), (Some(again), again));
        }

        #[test]
        fn where_restarts_lead_back_to_the_same_slot_it_runs_in_the_end(
            state in any_state(),
            usual_is_a in any::<bool>(),
            writes in 0_u32..12,
        ) {
            let usual = if usual_is_a { Slot::A } else { Slot::B };
            let card = Card::new(state, usual, writes);
            prop_assert_eq!(card.boot(|slot| slot == usual, false), Some(usual));
        }
    }
}
