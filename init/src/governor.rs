//! What is done when memory runs short: a pure state machine. No clock, no system call; what is to be done is returned.
//!
//! ```text
//!         short for 1 s: freeze the greediest        still short after 5 s: stop it
//! Calm ─────────────────────────────────────▶ Frozen ─────────────────────────────▶ Calm, and the next one, if need be
//!   ▲                                            │
//!   └────────────── not short for 5 s: thaw ─────┘
//! ```
//!
//! A frozen service allocates nothing, loses nothing, and is thawed or stopped within [`LONGEST_FROZEN`]: who waits for its
//! answer hears it, or that it failed. One that was thawed a moment ago and is the greediest again is stopped at once.
//!
//! That memory is short is what the kernel says (PSI: Linux, `Documentation/accounting/psi.rst`) of the time in which
//! somebody waits for it, in windows of a second.

use crate::sys::Millis;

/// So long there must be pressure before anything is done. Starting a program is felt as well.
const SUSTAINED: Millis = 1_000;
/// Pressure is over when a window and a half passed without it.
const GAP: Millis = 1_500;
/// So long a service is frozen before it is stopped because that did not help.
const STOP_AFTER: Millis = 5_000;
/// So long there must be no pressure before it is thawed.
const RELIEF: Millis = 5_000;
/// No service is frozen for longer.
pub(crate) const LONGEST_FROZEN: Millis = STOP_AFTER + RELIEF;
/// One that is the greediest again within so long after it was thawed is stopped.
const RELAPSE: Millis = 60_000;
/// The machine is short of memory when less than this part of it is available. Where it is not, those are slow who have
/// come to their own bound: the kernel sees to them.
const SHORT_PART: u64 = 10;

/// A service that may be frozen: everything that is not needed to reach and to steer the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) service: u32,
    /// What it uses, in bytes.
    pub(crate) used: u64,
}

/// The memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
}

/// What is to be done, to which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Let its processes do nothing.
    Freeze(u32),
    /// Let them go on.
    Thaw(u32),
    /// End them.
    Stop(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frozen {
    service: u32,
    since: Millis,
}

/// The state of the governor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Governor {
    /// Since when there is pressure, and when it was felt last.
    pressure: Option<(Millis, Millis)>,
    frozen: Option<Frozen>,
    /// Who was thawed last, and when.
    thawed: Option<Frozen>,
}

impl Governor {
    /// Pressure is felt. `subjects` are those that could be frozen now.
    pub(crate) fn pressed(&mut self, now: Millis, memory: Memory, subjects: &[Subject]) -> Option<Deed> {
        let since = match self.pressure {
            Some((since, last)) if now.saturating_sub(last) <= GAP => since,
            _ => now,
        };
        self.pressure = Some((since, now));
        if let Some(frozen) = self.frozen {
            return (now.saturating_sub(frozen.since) >= STOP_AFTER).then(|| self.stop(frozen.service));
        }
        if now.saturating_sub(since) < SUSTAINED {
            return None;
        }
        let service = greediest(memory, subjects)?;
        let has_relapsed = |thawed: Frozen| thawed.service == service && now.saturating_sub(thawed.since) < RELAPSE;
        if self.thawed.is_some_and(has_relapsed) {
            return Some(self.stop(service));
        }
        self.frozen = Some(Frozen { service, since: now });
        Some(Deed::Freeze(service))
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now: Millis) -> Option<Deed> {
        let frozen = self.frozen?;
        if self.deadline().is_some_and(|deadline| now < deadline) {
            return None;
        }
        self.frozen = None;
        self.pressure = None;
        self.thawed = Some(Frozen { since: now, ..frozen });
        Some(Deed::Thaw(frozen.service))
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let frozen = self.frozen?;
        let calm = self.pressure.map_or(frozen.since, |(_, last)| last).saturating_add(RELIEF);
        Some(calm.min(frozen.since.saturating_add(LONGEST_FROZEN)))
    }

    /// A service is asked to stop, or is gone: it is frozen no more. Answers whether it was.
    pub(crate) fn release(&mut self, service: u32) -> bool {
        let is_it = |frozen: &Frozen| frozen.service == service;
        self.thawed = self.thawed.filter(|thawed| !is_it(thawed));
        self.frozen.take_if(|frozen| is_it(frozen)).is_some()
    }

    /// The next one is not looked for before there was pressure for as long again: what is stopped takes a moment to be gone.
    fn stop(&mut self, service: u32) -> Deed {
        self.release(service);
        self.pressure = None;
        Deed::Stop(service)
    }
}

/// Who uses the most of the machine's memory. Where the machine has enough, nobody is to pay: who stalls there has come to
/// its own bound, at which the kernel ends it alone.
fn greediest(memory: Memory, subjects: &[Subject]) -> Option<u32> {
    let is_short = memory.available < memory.total / SHORT_PART;
    let greediest = subjects.iter().max_by_key(|subject| subject.used).filter(|_| is_short);
    greediest.map(|subject| subject.service)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SHORT: Memory = Memory { total: 512, available: 10 };
    const ENOUGH: Memory = Memory { total: 512, available: 300 };
    const SUBJECTS: [Subject; 3] =
        [Subject { service: 1, used: 40 }, Subject { service: 2, used: 300 }, Subject { service: 3, used: 62 }];

    /// What is done in each second in which there is pressure, or none.
    fn seconds(governor: &mut Governor, memory: Memory, begin: u64, pressure: &str) -> Vec<(u64, Deed)> {
        let mut deeds = Vec::new();
        for (second, felt) in (begin..).zip(pressure.bytes()) {
            let now = second * 1000;
            deeds.extend(governor.tick(now).map(|deed| (second, deed)));
            if felt == b'!' {
                deeds.extend(governor.pressed(now, memory, &SUBJECTS).map(|deed| (second, deed)));
            }
        }
        deeds
    }

    #[test]
    fn the_greediest_is_frozen_and_then_stopped() {
        let mut governor = Governor::default();
        let deeds = seconds(&mut governor, SHORT, 0, "!!!!!!!!!!!");
        assert_eq!(deeds, [(1, Deed::Freeze(2)), (6, Deed::Stop(2)), (8, Deed::Freeze(2))]);
    }

    #[test]
    fn a_moment_of_pressure_changes_nothing() {
        let mut governor = Governor::default();
        assert_eq!(seconds(&mut governor, SHORT, 0, "!..!..!...!..!"), []);
    }

    #[test]
    fn when_it_is_over_what_was_frozen_goes_on_and_has_one_chance() {
        let mut governor = Governor::default();
        let deeds = seconds(&mut governor, SHORT, 0, "!!!!.......!!!");
        assert_eq!(deeds, [(1, Deed::Freeze(2)), (8, Deed::Thaw(2)), (12, Deed::Stop(2))]);
        let deeds = seconds(&mut governor, SHORT, 100, "!!!");
        assert_eq!(deeds, [(101, Deed::Freeze(2))], "what came of it is another process");
    }

    #[test]
    fn where_the_machine_has_enough_nobody_pays() {
        let mut governor = Governor::default();
        assert_eq!(seconds(&mut governor, ENOUGH, 0, "!!!!!!!!"), []);
        assert_eq!(greediest(SHORT, &[]), None);
    }

    #[test]
    fn one_that_is_asked_to_stop_is_not_frozen_any_more() {
        let mut governor = Governor::default();
        assert_eq!(seconds(&mut governor, SHORT, 0, "!!"), [(1, Deed::Freeze(2))]);
        assert!(governor.release(2) && !governor.release(2));
        assert_eq!(governor.deadline(), None);
    }

    proptest! {
        /// Whatever the kernel says and whenever: at most one is frozen, none for too long, and only one that was chosen
        /// is thawed.
        #[test]
        fn nobody_is_frozen_for_ever(steps in prop::collection::vec((0_u64..3_000, any::<bool>(), 0_u32..4, any::<bool>()), 1..300)) {
            let mut governor = Governor::default();
            let mut frozen: BTreeSet<u32> = BTreeSet::new();
            let (mut now, mut since) = (0, 0);
            for (pause, felt, gone, is_gone) in steps {
                let until = now + pause;
                let mut deeds = Vec::new();
                // Time passes as the loop has it: no deadline is missed.
                while let Some(deadline) = governor.deadline().filter(|deadline| *deadline <= until) {
                    now = now.max(deadline);
                    deeds.extend(governor.tick(now));
                }
                now = until;
                if is_gone && governor.release(gone) {
                    prop_assert!(frozen.remove(&gone) || deeds.contains(&Deed::Thaw(gone)));
                }
                for deed in &deeds {
                    if let Deed::Thaw(service) = deed {
                        prop_assert!(frozen.remove(service));
                    }
                }
                if felt {
                    let memory = if pause % 2 == 0 { SHORT } else { ENOUGH };
                    match governor.pressed(now, memory, &SUBJECTS) {
                        Some(Deed::Freeze(service)) => {
                            prop_assert!(frozen.is_empty());
                            frozen.insert(service);
                            since = now;
                        }
                        Some(Deed::Stop(service)) => {
                            frozen.remove(&service);
                        }
                        Some(Deed::Thaw(_)) => prop_assert!(false, "pressure thaws nobody"),
                        None => {}
                    }
                }
                prop_assert_eq!(frozen.is_empty(), governor.deadline().is_none());
                prop_assert!(frozen.is_empty() || now - since <= LONGEST_FROZEN);
            }
        }
    }
}
