//! The state sector: which of the two systems on a disk the boot loader starts.
//!
//! It is one sector of 512 bytes, because a disk writes a sector whole or not at all; a copy of it, the backup, is
//! read where it is broken. Its form is GRUB's environment block (GRUB manual, "Environment block"), because GRUB counts
//! in it: lines `key=value`, then `#` to the end.
//!
//! | key | what |
//! | --- | --- |
//! | `pri` | the slot that is tried first: `a`, `b` |
//! | `a_ok`, `b_ok` | whether the slot has been confirmed: `0`, `1` |
//! | `a_left`, `b_left` | how many tries it has left until it is: `0` to `3` |
//! | `end` | `llmb1`: the form that this is, and that it is whole |
//!
//! A slot that is not confirmed is on trial: the boot loader writes down each try before it makes it, and without tries
//! left it takes the other slot. A confirmed one costs the boot loader no write. Its trial is begun by PID 1, as the
//! first thing that it does, and ended by PID 1 once the machine is healthy; so whatever goes wrong in between, three
//! times, brings the other slot. Where neither can be taken the loader tries both all the same, and each of them asks
//! for the other as it begins; so they take turns until one is healthy.

use super::Slot;
use crate::values::InvalidValue;

/// The name (in the partition table) of the partition with the two sectors, a FAT file system: GRUB writes to files
/// alone.
pub const STATE_PARTITION: &str = "state";
/// The size of the state sector, in bytes.
pub const SECTOR: usize = 512;
/// Where the file `state` lies in its partition, in bytes. The 4 KiB about it, which some disks write at once, hold
/// nothing else.
pub const STATE_OFFSET: u64 = 8 << 10;
/// The same of the file `backup`, far from the other: what flash erases at once is not larger.
pub const BACKUP_OFFSET: u64 = STATE_OFFSET + (64 << 10);
/// How often a slot is tried before the other one is.
pub const TRIES: u8 = 3;

/// What an environment block begins with.
const SIGNATURE: &str = "# GRUB Environment Block\n";
/// What `end` says.
const END: &str = "llmb1";

/// Whether a slot may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is known to work.
    Confirmed,
    /// It has so many tries left to show that, at the most [`TRIES`].
    OnTrial(u8),
}

/// What a state sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootState {
    preferred: Slot,
    a: Standing,
    b: Standing,
}

/// What the boot loader assumes where it can read neither sector.
impl Default for BootState {
    fn default() -> Self {
        Self { preferred: Slot::A, a: Standing::Confirmed, b: Standing::Confirmed }
    }
}

impl BootState {
    /// That of a disk on which nothing but `slot` has been written.
    #[must_use]
    pub fn only(slot: Slot) -> Self {
        let empty = Standing::OnTrial(0);
        Self { preferred: slot, a: empty, b: empty }.with(slot, Standing::Confirmed)
    }

    /// The slot that is tried first.
    #[must_use]
    pub fn preferred(&self) -> Slot {
        self.preferred
    }

    /// Whether a slot may be started.
    #[must_use]
    pub fn standing(&self, slot: Slot) -> Standing {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// `slot` has been written and is to be tried first.
    #[must_use]
    pub fn trying(self, slot: Slot) -> Self {
        Self { preferred: slot, ..self }.with(slot, Standing::OnTrial(TRIES))
    }

    /// The slot that the boot loader takes, and what it writes before that. A slot that is not there at all it passes by,
    /// which is not told here.
    #[must_use]
    pub fn choose(self) -> (Slot, Self) {
        for slot in [self.preferred, self.preferred.other()] {
            match self.standing(slot) {
                Standing::Confirmed => return (slot, self),
                Standing::OnTrial(0) => {}
                Standing::OnTrial(left) => return (slot, self.with(slot, Standing::OnTrial(left - 1))),
            }
        }
        (self.preferred, self)
    }

    /// `slot` has been started: what PID 1 writes as the first thing that it does.
    ///
    /// A confirmed slot is on trial from now on, and this is its first try. One without tries left asks for the other
    /// slot: should this try fail as well, that one is next.
    #[must_use]
    pub fn begun(self, slot: Slot) -> Self {
        match self.standing(slot) {
            Standing::Confirmed => self.with(slot, Standing::OnTrial(TRIES - 1)),
            Standing::OnTrial(0) => Self { preferred: slot.other(), ..self },
            Standing::OnTrial(_) => self,
        }
    }

    /// `slot` runs and is healthy. It is the one to be started from now on, unless the other waits to be tried.
    #[must_use]
    pub fn confirmed(self, slot: Slot) -> Self {
        let other_waits = matches!(self.standing(slot.other()), Standing::OnTrial(1..));
        let preferred = if other_waits { self.preferred } else { slot };
        Self { preferred, ..self }.with(slot, Standing::Confirmed)
    }

    fn with(mut self, slot: Slot, standing: Standing) -> Self {
        match slot {
            Slot::A => self.a = standing,
            Slot::B => self.b = standing,
        }
        self
    }

    /// Reads a sector as the boot loader does: what it does not know is passed by, and of two values of a key the later
    /// one counts.
    ///
    /// # Errors
    /// The sector is no environment block, or one of the keys is missing or has no value that it can have.
    pub fn parse(sector: &[u8; SECTOR]) -> Result<Self, InvalidValue> {
        let text = String::from_utf8_lossy(sector);
        let block = text.strip_prefix(SIGNATURE);
        let block = block.ok_or_else(|| InvalidValue("the state sector is no environment block".to_owned()))?;
        let value = |key: &str| {
            let of_line = |line: &'_ str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
            let last = block.lines().filter_map(of_line).next_back();
            last.ok_or_else(|| InvalidValue(format!("the state sector has no {key}")))
        };
        let wrong = |key: &str, value: &str| InvalidValue(format!("the state sector has {key}={value:?}"));
        if value("end")? != END {
            return Err(wrong("end", &value("end")?));
        }
        let preferred = value("pri")?.parse()?;
        let standing = |slot: Slot| {
            let (ok, left) = (format!("{}_ok", slot.letter()), format!("{}_left", slot.letter()));
            let tries = match value(&left)?.as_str() {
                "0" => 0,
                "1" => 1,
                "2" => 2,
                "3" => TRIES,
                other => return Err(wrong(&left, other)),
            };
            match value(&ok)?.as_str() {
                "0" => Ok(Standing::OnTrial(tries)),
                "1" => Ok(Standing::Confirmed),
                other => Err(wrong(&ok, other)),
            }
        };
        Ok(Self { preferred, a: standing(Slot::A)?, b: standing(Slot::B)? })
    }

    /// The sector that says this.
    #[must_use]
    pub fn to_sector(self) -> [u8; SECTOR] {
        let mut text = format!("{SIGNATURE}pri={}\n", self.preferred.letter());
        for slot in [Slot::A, Slot::B] {
            let (ok, left) = match self.standing(slot) {
                Standing::Confirmed => (1, 0),
                Standing::OnTrial(left) => (0, left),
            };
            let letter = slot.letter();
            text += &format!("{letter}_ok={ok}\n{letter}_left={left}\n");
        }
        text += &format!("end={END}\n");
        let mut sector = [b'#'; SECTOR];
        sector.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        sector
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_slot() -> impl Strategy<Value = Slot> {
        prop_oneof![Just(Slot::A), Just(Slot::B)]
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        prop_oneof![Just(Standing::Confirmed), (0..=TRIES).prop_map(Standing::OnTrial)]
    }

    fn any_state() -> impl Strategy<Value = BootState> {
        (any_slot(), any_standing(), any_standing()).prop_map(|(preferred, a, b)| BootState { preferred, a, b })
    }

    /// How far a boot comes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum End {
        BeforePid1,
        BeforeHealthy,
        Healthy,
    }

    /// A boot: the slot, and what is written when it is over.
    fn boot(state: BootState, end: impl Fn(Slot) -> End) -> (Slot, BootState) {
        let (slot, tried) = state.choose();
        let after = match end(slot) {
            End::BeforePid1 => tried,
            End::BeforeHealthy => tried.begun(slot),
            End::Healthy => tried.begun(slot).confirmed(slot),
        };
        (slot, after)
    }

    /// The slots of so many boots that all end like this.
    fn boots(mut state: BootState, count: usize, end: End) -> Vec<Slot> {
        let one = |_| {
            let (slot, after) = boot(state, |_| end);
            state = after;
            slot
        };
        (0..count).map(one).collect()
    }

    fn sector(text: &str) -> [u8; SECTOR] {
        let mut sector = [b'#'; SECTOR];
        sector[..text.len()].copy_from_slice(text.as_bytes());
        sector
    }

    #[test]
    fn a_sector_is_what_grub_writes() {
        let state = BootState::only(Slot::A).trying(Slot::B);
        let expected = "# GRUB Environment Block\npri=b\na_ok=1\na_left=0\nb_ok=0\nb_left=3\nend=llmb1\n####";
        assert!(state.to_sector().starts_with(expected.as_bytes()));
        assert_eq!(BootState::parse(&state.to_sector()), Ok(state));
    }

    #[test]
    fn what_the_loader_passes_by_is_passed_by() {
        let text = "# GRUB Environment Block\n# a word\nb_left=1\nnew=1\npri=a\na_ok=1\na_left=2\nb_ok=0\nb_left=2\nend=llmb1\n";
        let expected = BootState { preferred: Slot::A, a: Standing::Confirmed, b: Standing::OnTrial(2) };
        assert_eq!(BootState::parse(&sector(text)), Ok(expected));
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let whole = "# GRUB Environment Block\npri=a\na_ok=1\na_left=0\nb_ok=0\nb_left=0\nend=llmb1\n";
        assert!(BootState::parse(&sector(whole)).is_ok());
        for (from, to, why) in [
            ("# GRUB", "# grub", "no environment block"),
            ("pri=a", "pri=c", "must be a or b"),
            ("a_ok=1", "a_ok=2", "a_ok=\"2\""),
            ("b_left=0", "b_left=4", "b_left=\"4\""),
            ("b_ok=0\n", "", "no b_ok"),
            ("end=llmb1\n", "", "no end"),
            ("llmb1", "llmb2", "end=\"llmb2\""),
        ] {
            let InvalidValue(said) = BootState::parse(&sector(&whole.replace(from, to))).expect_err(to);
            assert!(said.contains(why), "{to}: {said}");
        }
    }

    #[test]
    fn three_boots_that_never_get_healthy_bring_the_other_slot() {
        use Slot::{A, B};
        let both = BootState::default();
        assert_eq!(boots(both, 7, End::BeforeHealthy), [A, A, A, B, B, B, A]);
        assert_eq!(boots(both.trying(B), 4, End::BeforeHealthy), [B, B, B, A]);
        assert_eq!(boots(both.trying(B), 5, End::BeforePid1), [B, B, B, A, A]);
        assert_eq!(boots(BootState::only(A), 5, End::BeforeHealthy), [A, A, A, B, A], "B is passed by: there is none");
    }

    #[test]
    fn a_slot_that_was_fallen_back_to_stays() {
        let ends = |slot| if slot == Slot::A { End::Healthy } else { End::BeforeHealthy };
        let mut state = BootState::only(Slot::A).trying(Slot::B);
        for _ in 0..TRIES + 1 {
            (_, state) = boot(state, ends);
        }
        let expected = BootState { preferred: Slot::A, a: Standing::Confirmed, b: Standing::OnTrial(0) };
        assert_eq!(state, expected);
    }

    #[test]
    fn a_slot_is_written_while_the_other_is_confirmed() {
        let state = BootState::only(Slot::A).begun(Slot::A).trying(Slot::B).confirmed(Slot::A);
        assert_eq!(state.choose().0, Slot::B, "it waits to be tried");
    }

    proptest! {
        #[test]
        fn any_state_is_read_back(state in any_state()) {
            prop_assert_eq!(BootState::parse(&state.to_sector()), Ok(state));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), SECTOR), state in any_state(), from in 0..SECTOR) {
            let random: [u8; SECTOR] = bytes.try_into().expect("a sector");
            prop_assert!(BootState::parse(&random).is_err());
            // With a head that is sound, what is behind it counts.
            let mut torn = state.to_sector();
            torn[from..].copy_from_slice(&random[from..]);
            if let Ok(read) = BootState::parse(&torn) {
                prop_assert_eq!(BootState::parse(&read.to_sector()), Ok(read));
            }
        }

        #[test]
        fn a_healthy_boot_is_followed_by_the_same_slot(state in any_state()) {
            let (slot, after) = boot(state, |_| End::Healthy);
            let other_waits = matches!(after.standing(slot.other()), Standing::OnTrial(1..));
            prop_assert!(other_waits || after.choose() == (slot, after));
        }

        #[test]
        fn whichever_slot_works_is_found_and_kept(state in any_state(), works in any_slot()) {
            let ends = |slot| if slot == works { End::Healthy } else { End::BeforeHealthy };
            let mut state = state;
            for _ in 0..2 * (TRIES + 1) {
                (_, state) = boot(state, ends);
            }
            prop_assert_eq!(state.choose(), (works, state));
        }
    }
}
