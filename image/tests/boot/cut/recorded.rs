//! A boot that was written down, and what would have come of it had the power gone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread;

use serde_json::Value;

use super::disk::Disk;
use super::journal::{Honesty, Journal};
use super::replay::Recovered;
use super::server::Server;
use super::workload::{Kept, lost};
use crate::guest::Guest;
use crate::machine::Machine;

/// A boot, all of whose writes were written down.
pub(crate) struct Recorded {
    pub(crate) journal: Journal,
    /// What was acknowledged, in terms of this boot's events.
    pub(crate) kept: Vec<Kept>,
    /// How many events had reached the disk when the first call was answered.
    pub(crate) up: usize,
}

/// A power cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    /// How many events had reached the disk.
    pub(crate) at: usize,
    /// Decides over what was not on the medium by then.
    pub(crate) seed: u64,
}

/// What a power cut came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) cut: Cut,
    /// How many writes could be lost.
    pub(crate) pending: usize,
    /// What the key-value store holds at the next start.
    pub(crate) entries: BTreeMap<String, Value>,
    /// What had been acknowledged, and what of that is not there.
    pub(crate) acknowledged: usize,
    pub(crate) lost: Vec<Kept>,
    /// How many calls are written down in the file that nobody flushes.
    pub(crate) recorded: usize,
    /// Whether it took a full check to mend the data.
    pub(crate) by_full_check: bool,
    /// Of the data partition, in bytes.
    pub(crate) size: u64,
    /// Whether a full check would find something that was not mended.
    pub(crate) is_unsound: bool,
    /// Why the data could not be used, or the store not be opened.
    pub(crate) trouble: Option<String>,
}

impl Recorded {
    /// Boots a machine on a disk; it has ended, or was dropped, when `used` answers what was acknowledged.
    pub(crate) fn boot(machine: &Machine, disk: Disk, used: impl FnOnce(Guest<'_>, &Server) -> Vec<Kept>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(disk, &folder.path().join("disk.sock")).expect("started");
        let guest = machine.boot_from(&server.drive(), "", &[]);
        guest.call_until_answered(&["kv.get", "nothing"]);
        let up = server.happened();
        let kept = used(guest, &server);
        Self { journal: server.finish().expect("no trouble with the disk"), kept, up }
    }

    /// The number of events: a cut there is one at the very end.
    pub(crate) fn end(&self) -> usize {
        self.journal.events.len()
    }

    /// The disk that a cut leaves.
    pub(crate) fn disk_after(&self, cut: Cut, honesty: Honesty) -> Disk {
        self.journal.cut(cut.at, honesty, cut.seed)
    }

    /// Cuts the power, and looks what is there at the next start.
    pub(crate) fn cut(&self, cut: Cut, honesty: Honesty) -> Outcome {
        let folder = tempfile::tempdir().expect("a folder");
        let mut outcome = Outcome { cut, pending: self.journal.pending(cut.at), ..Outcome::default() };
        match Recovered::of(&self.disk_after(cut, honesty), folder.path()) {
            Ok(recovered) => outcome.read(&recovered),
            Err(why) => outcome.trouble = Some(why),
        }
        outcome.acknowledged = self.kept.iter().filter(|kept| kept.at <= cut.at).count();
        outcome.lost = lost(&self.kept, cut.at, &outcome.entries).cloned().collect();
        outcome
    }

    /// The same for many cuts, on all processors; in the order of the cuts.
    pub(crate) fn cut_each(&self, cuts: &[Cut], honesty: Honesty) -> Vec<Outcome> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let share = |of: usize| cuts.iter().skip(of).step_by(processors);
        let work = |of: usize| share(of).map(|&cut| self.cut(cut, honesty)).collect::<Vec<_>>();
        let mut outcomes: Vec<Outcome> = thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..processors).map(|of| scope.spawn(move || work(of))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no trouble with a cut")).collect()
        });
        outcomes.sort_by_key(|outcome| outcome.cut);
        outcomes
    }
}

impl Cut {
    /// Cuts at each of some events, with so many seeds.
    pub(crate) fn each(events: Range<usize>, seeds: u64) -> Vec<Self> {
        events.flat_map(|at| (0..seeds).map(move |seed| Self { at, seed: seed + at as u64 * seeds })).collect()
    }
}

impl Outcome {
    fn read(&mut self, recovered: &Recovered) {
        match recovered.entries() {
            Ok(entries) => self.entries = entries,
            Err(why) => self.trouble = Some(why),
        }
        self.recorded = recovered.recorded("kv.set");
        (self.by_full_check, self.is_unsound, self.size) =
            (recovered.by_full_check, recovered.is_unsound, recovered.size);
    }

    /// Whether something that was acknowledged is not there, or nothing can be told.
    pub(crate) fn is_loss(&self) -> bool {
        self.trouble.is_some() || !self.lost.is_empty()
    }
}
