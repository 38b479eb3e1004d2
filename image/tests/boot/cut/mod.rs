//! The power goes, at any write.
//!
//! A machine is booted on a disk that writes down all that is done to it ([`server`]), and told to keep values until it
//! is switched off. Then the power is cut at every event, offline: [`journal`] makes of what was written down the disk
//! that a cut leaves, and [`replay`] mends and reads its data as a machine would, in a fraction of a second. Some of these
//! disks are booted as well; what such a machine does to mend itself is written down and cut at every event again.
//!
//! Two controls show that a loss would be seen: the same cuts of a disk that lies about flushes, and a file that its
//! writer does not flush (the gateway's record of calls), on the same honest disk.

mod disk;
mod journal;
mod recorded;
mod replay;
mod server;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use crate::machine::Machine;
use disk::Disk;
use journal::Honesty;
use recorded::{Cut, Outcome, Recorded};
use workload::Kept;

/// How much larger than the image the disk is: the data grow into that at the first boot.
const GROWTH: u64 = 512 << 20;
/// A disk that lies about flushes, of moderate vice.
const LIES: Honesty = Honesty::Lies { holds: 64 };
/// With so many seeds the power is cut at each event of a start and an end.
const SEEDS: u64 = 2;

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn no_power_cut_loses_what_was_acknowledged() {
    let machine = Machine::new();
    let size = machine.disk().metadata().expect("there").len() + GROWTH;
    let disk = Disk::open(&machine.disk(), size).expect("opened");
    let first = Recorded::boot(&machine, disk, |guest, server| {
        let kept = workload::write(&guest, server);
        guest.power_off();
        kept
    });
    let told = first.kept.iter().map(|kept| kept.at).max().expect("values were kept");
    let mut verdict = Verdict::default();
    let mut cut = |when: &str, events: Range<usize>, seeds: u64| {
        let outcomes = first.cut_each(&Cut::each(events, seeds), Honesty::Honest);
        verdict.add(when, &outcomes);
        outcomes
    };
    let starting = cut("at the first boot", 0..first.up, SEEDS);
    let writing = cut("while values were written", first.up..told + 1, 1);
    let stopping = cut("while it was switched off", told + 1..first.end() + 1, SEEDS);
    let last = stopping.last().expect("a cut at the end");
    assert!(last.size > GROWTH, "the data did not grow into the larger disk: {} bytes", last.size);
    assert_eq!(last.recorded, first.kept.len(), "switched off in order, the machine has written down every call");

    assert_that_loss_is_seen(&first, &writing);

    let chosen = |outcomes: &[Outcome]| {
        let mended = outcomes.iter().find(|outcome| outcome.by_full_check);
        mended.or(outcomes.get(outcomes.len() / 2)).map(|outcome| outcome.cut).expect("there are cuts")
    };
    for cut in [chosen(&starting), chosen(&writing), chosen(&stopping)] {
        let when = format!("at the start after the cut at event {}", cut.at);
        verdict.add(&when, &start_and_cut_again(&machine, &first, cut));
    }

    eprintln!("{verdict}");
    assert!(verdict.with_pending >= 50, "too few cuts with anything to lose");
    assert_eq!(verdict.losing, 0, "power cuts lost something: see above");
    assert_eq!(verdict.unsound, 0, "power cuts left what a full check would mend");
}

/// The controls: where nothing is lost, these must lose.
fn assert_that_loss_is_seen(first: &Recorded, writing: &[Outcome]) {
    let is_acknowledgement = |outcome: &&Outcome| first.kept.iter().any(|kept| kept.at == outcome.cut.at);
    let honest: Vec<&Outcome> = writing.iter().filter(is_acknowledgement).collect();
    let cuts: Vec<Cut> = honest.iter().map(|outcome| outcome.cut).collect();
    let losing = first.cut_each(&cuts, LIES).iter().filter(|outcome| outcome.is_loss()).count();
    eprintln!("control: a disk that lies about flushes lost acknowledged writes in {losing} of {} cuts", cuts.len());
    assert!(losing * 2 > cuts.len(), "a disk that lies loses nothing: nothing is shown by one that does not");

    let losing = honest.iter().filter(|outcome| outcome.recorded < outcome.acknowledged).count();
    eprintln!("control: a file that is not flushed lost lines in {losing} of {} cuts", cuts.len());
    assert!(losing * 2 > cuts.len(), "what is not flushed is not lost: nothing is shown by what is");
}

/// Starts a machine on the disk that a cut left: it must hold what the replay says. Then cuts the power at every event of
/// that start.
fn start_and_cut_again(machine: &Machine, first: &Recorded, cut: Cut) -> Vec<Outcome> {
    let expected = first.cut(cut, Honesty::Honest);
    let before = first.kept.iter().filter(|kept| kept.at <= cut.at).map(Kept::before);
    let again = Recorded::boot(machine, first.disk_after(cut, Honesty::Honest), |guest, server| {
        let listing = guest.call(&["kv.list", r#"{ "limit": 1000 }"#]).expect("listed");
        let entries = listing["entries"].as_array().expect("a list").iter();
        let entry = |entry: &Value| (entry["key"].as_str().unwrap_or_default().to_owned(), entry["value"].clone());
        let entries: BTreeMap<String, Value> = entries.map(entry).collect();
        assert_eq!(entries, expected.entries, "the machine and the replay of {cut:?} differ");
        before.chain([workload::write_one(&guest, server, "after the cut", 1)]).collect()
    });
    let outcomes = again.cut_each(&Cut::each(0..again.end() + 1, 1), Honesty::Honest);
    assert!(outcomes.last().is_some_and(|last| last.size > GROWTH), "the data did not grow at the second start");
    outcomes
}

/// What many cuts came to.
#[derive(Debug, Default)]
struct Verdict {
    cuts: usize,
    /// Cuts when there were writes to lose.
    with_pending: usize,
    /// Acknowledged writes, each counted at every cut after it, and those of them that were lost.
    acknowledged: usize,
    lost: usize,
    full_checks: usize,
    /// Cuts after which a full check would find more than was mended.
    unsound: usize,
    /// Cuts that lost something, or after which the data could not be read.
    losing: usize,
}

impl Verdict {
    /// Adds cuts, and says what they came to.
    fn add(&mut self, when: &str, outcomes: &[Outcome]) {
        let mut part = Self::default();
        for outcome in outcomes {
            for one in [&mut part, &mut *self] {
                one.cuts += 1;
                one.with_pending += usize::from(outcome.pending > 0);
                one.acknowledged += outcome.acknowledged;
                one.lost += outcome.lost.len();
                one.full_checks += usize::from(outcome.by_full_check);
                one.unsound += usize::from(outcome.is_unsound);
                one.losing += usize::from(outcome.is_loss());
            }
        }
        eprintln!("{when}: {part}");
        for Outcome { cut, lost, trouble, .. } in outcomes.iter().filter(|outcome| outcome.is_loss()) {
            eprintln!("{cut:?}: lost {lost:?}: {}", trouble.as_deref().unwrap_or("it is not there"));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, with_pending, acknowledged, lost, full_checks, unsound, .. } = self;
        write!(
            f,
            "{cuts} cuts ({with_pending} with writes pending): {lost} of {acknowledged} acknowledged writes lost, \
             {full_checks} needed e2fsck -fy, {unsound} are not sound"
        )
    }
}
