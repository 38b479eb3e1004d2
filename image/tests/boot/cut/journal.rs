//! All that a machine did to its disk, in order, and what the disk holds if the power goes in the middle of that.
//!
//! The disk has a write cache that is lost with the power. What a flush covers is on the medium: that is all writes that
//! were answered before the flush was sent, and no others. Of the rest each sector is on the medium or not, in any order.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::disk::{Disk, split};

/// One thing that the machine did to the disk. They are numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Whole sectors were written; `through` the cache, if it was asked to (forced unit access).
    Write { offset: u64, data: Vec<u8>, through: bool },
    /// The cache was flushed: the events below this number had been answered before.
    Flush { covers: usize },
}

/// What a disk's word is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// What it says it has flushed is on the medium.
    Honest,
    /// It ignores flushes and writes through: so many events may be lost at any time.
    Lies { holds: usize },
}

/// What a machine did to a disk.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// The disk before.
    pub(crate) disk: Disk,
    pub(crate) events: Vec<Event>,
}

impl Journal {
    /// The disk after a power cut when so many events had reached it. `seed` decides what becomes of the writes that
    /// were not on the medium: each is dropped, kept or torn, and those that are kept take any order.
    pub(crate) fn cut(&self, at: usize, honesty: Honesty, seed: u64) -> Disk {
        let events = &self.events[..at];
        let covered = covered(events, honesty);
        let (mut safe, mut pending) = (BTreeMap::new(), Vec::new());
        for (number, event) in events.iter().enumerate() {
            match event {
                Event::Write { offset, data, through }
                    if number < covered || (*through && honesty == Honesty::Honest) =>
                {
                    safe.extend(split(*offset, data).map(|(sector, content)| (sector, (number, content))));
                }
                Event::Write { offset, data, .. } => pending.push((number, *offset, data)),
                Event::Flush { .. } => {}
            }
        }
        let mut disk = self.disk.clone();
        safe.iter().for_each(|(sector, (_, content))| disk.write_sector(*sector, **content));
        let mut random = Rng::with_seed(seed);
        random.shuffle(&mut pending);
        // Some cuts lose everything, some nothing, some tear all that they keep.
        let (lost, torn) = ([0.0, 0.25, 0.5, 0.75, 1.0][random.usize(..5)], [0.0, 0.5, 1.0][random.usize(..3)]);
        for (number, offset, data) in pending {
            let (is_lost, is_torn) = (random.f64() < lost, random.f64() < torn);
            for (sector, content) in split(offset, data) {
                // A cache never lets what is older get over what it has written through.
                let is_stale = safe.get(&sector).is_some_and(|(newer, _)| *newer > number);
                let is_dropped = is_lost || (is_torn && random.bool());
                if !is_dropped && !is_stale {
                    disk.write_sector(sector, *content);
                }
            }
        }
        disk
    }

    /// How many writes are not on the medium when so many events had reached the disk.
    pub(crate) fn pending(&self, at: usize) -> usize {
        let events = &self.events[..at];
        let rest = &events[covered(events, Honesty::Honest)..];
        rest.iter().filter(|event| matches!(event, Event::Write { through: false, .. })).count()
    }
}

/// All writes below this number are on the medium.
fn covered(events: &[Event], honesty: Honesty) -> usize {
    let covered = |event: &Event| match event {
        Event::Flush { covers } => Some(*covers),
        Event::Write { .. } => None,
    };
    match honesty {
        Honesty::Honest => events.iter().filter_map(covered).max().unwrap_or_default(),
        Honesty::Lies { holds } => events.len().saturating_sub(holds),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::disk::SECTOR;
    use super::*;

    const SECTORS: u64 = 8;

    fn disk() -> Disk {
        let image = tempfile::NamedTempFile::new().expect("a file");
        Disk::open(image.path(), SECTORS * SECTOR as u64).expect("opened")
    }

    /// The number in each sector of the disk; the events write theirs plus one.
    fn read(disk: &Disk) -> Vec<usize> {
        let mut bytes = vec![0; disk.size.try_into().expect("small")];
        disk.read(0, &mut bytes).expect("read");
        let (sectors, _) = bytes.as_chunks::<SECTOR>();
        sectors.iter().map(|sector| usize::from(sector[0]) + usize::from(sector[1]) * 256).collect()
    }

    fn write(number: usize, first: u64, count: usize, through: bool) -> Event {
        let mut sector = [0; SECTOR];
        sector[..2].copy_from_slice(&u16::try_from(number + 1).expect("few").to_le_bytes());
        Event::Write { offset: first * SECTOR as u64, data: sector.repeat(count), through }
    }

    fn journal(events: &[Event]) -> Journal {
        Journal { disk: disk(), events: events.to_vec() }
    }

    /// What each sector held at one time or another among the first `at` events, with the number of the event plus one.
    fn history(events: &[Event], sector: u64) -> Vec<usize> {
        let covers = |event: &Event| match event {
            Event::Write { offset, data, .. } => split(*offset, data).any(|(number, _)| number == sector),
            Event::Flush { .. } => false,
        };
        let writers = events.iter().enumerate().filter(|(_, event)| covers(event)).map(|(number, _)| number + 1);
        std::iter::once(0).chain(writers).collect()
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let step = (0_u8..10, 0..SECTORS, 1_usize..4, 0_usize..4);
        proptest::collection::vec(step, 0..40).prop_map(|steps| {
            let events = steps.into_iter().enumerate().map(|(number, (kind, first, count, unanswered))| match kind {
                0 | 1 => Event::Flush { covers: number.saturating_sub(unanswered) },
                kind => {
                    let room = usize::try_from(SECTORS - first).expect("small");
                    write(number, first, count.min(room), kind == 2)
                }
            });
            events.collect()
        })
    }

    proptest! {
        #[test]
        fn what_was_flushed_is_there_and_nothing_that_was_never_written(
            events in events(), seed: u64, cut in any::<prop::sample::Index>(),
        ) {
            let at = cut.index(events.len() + 1);
            let journal = journal(&events);
            let happened = &events[..at];
            let covered = covered(happened, Honesty::Honest);
            for (sector, found) in (0..).zip(read(&journal.cut(at, Honesty::Honest, seed))) {
                let history = history(happened, sector);
                let through = |writer: &usize| matches!(happened[writer - 1], Event::Write { through: true, .. });
                let is_safe = |writer: &&usize| **writer > 0 && (**writer <= covered || through(writer));
                let newest_safe = history.iter().filter(is_safe).max().copied().unwrap_or_default();
                prop_assert!(history.contains(&found), "sector {sector} holds {found}, which nobody wrote there");
                prop_assert!(found >= newest_safe, "sector {sector} holds {found}, but {newest_safe} was flushed");
            }
        }

        #[test]
        fn a_cut_is_the_same_for_the_same_seed(events in events(), seed: u64) {
            let journal = journal(&events);
            let cut = || read(&journal.cut(events.len(), Honesty::Honest, seed));
            prop_assert_eq!(cut(), cut());
        }
    }

    /// What a disk may hold after a cut at the end, over many seeds.
    fn outcomes(events: &[Event], honesty: Honesty) -> std::collections::BTreeSet<Vec<usize>> {
        let journal = journal(events);
        (0..1000).map(|seed| read(&journal.cut(events.len(), honesty, seed))[..3].to_vec()).collect()
    }

    #[test]
    fn pending_writes_are_dropped_kept_torn_and_reordered() {
        let events = [write(0, 0, 2, false), write(1, 1, 2, false)];
        let all = outcomes(&events, Honesty::Honest);
        for (first, second, third) in [
            (0, 0, 0), // both dropped
            (1, 2, 2), // both kept, in their order
            (1, 1, 2), // both kept, the other way round
            (0, 2, 2), // the first dropped
            (1, 1, 0), // the second dropped
            (1, 0, 0), // the first torn, the second dropped
            (0, 1, 2), // both torn
        ] {
            assert!(all.contains(&vec![first, second, third]), "never {first} {second} {third}: {all:?}");
        }
    }

    #[test]
    fn a_flush_covers_what_was_answered_before_it_was_sent() {
        let answered = [write(0, 0, 3, false), Event::Flush { covers: 1 }];
        assert_eq!(outcomes(&answered, Honesty::Honest), [vec![1, 1, 1]].into());
        let not_yet_answered = [write(0, 0, 3, false), Event::Flush { covers: 0 }];
        assert!(outcomes(&not_yet_answered, Honesty::Honest).contains(&vec![0, 0, 0]));
    }

    #[test]
    fn what_was_written_through_stays_before_what_is_older() {
        let events = [write(0, 0, 1, false), write(1, 0, 1, true)];
        assert_eq!(outcomes(&events, Honesty::Honest), [vec![2, 0, 0]].into());
    }

    #[test]
    fn a_disk_that_lies_loses_what_it_said_it_had_flushed() {
        let events = [write(0, 0, 1, false), Event::Flush { covers: 1 }, write(2, 1, 1, true)];
        assert!(outcomes(&events, Honesty::Lies { holds: 3 }).contains(&vec![0, 0, 0]));
        let safe: Vec<usize> = outcomes(&events, Honesty::Lies { holds: 2 }).iter().map(|all| all[0]).collect();
        assert!(safe.iter().all(|first| *first == 1), "it has written what is older by now");
    }

    #[test]
    fn what_is_pending_is_counted() {
        let journal = journal(&[write(0, 0, 1, false), write(1, 0, 1, false), Event::Flush { covers: 1 }]);
        assert_eq!([0, 1, 2, 3].map(|at| journal.pending(at)), [0, 1, 2, 1]);
    }
}
