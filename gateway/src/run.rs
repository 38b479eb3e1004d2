//! Runs: all calls that one wish of a person or a Sentinel led to, and what they have touched.
//!
//! A call from outside begins a run. An Arc that works on a call of a run may call further tools in that run, and
//! only as long as it does. A run is forgotten when nothing of it is in flight.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spec::caller::{RunId, Who, code};
use spec::{Label, Name};

use crate::message::Fault;

/// The runs that have calls in flight.
#[derive(Default)]
pub(crate) struct Runs {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<RunId, Run>,
    /// Makes ids that do not follow from one another.
    hasher: RandomState,
    count: u64,
}

#[derive(Default)]
struct Run {
    labels: BTreeSet<Label>,
    /// The Arcs that work on calls of this run, each as often as it does.
    workers: Vec<Name>,
    /// Calls in flight, also those that no Arc works on.
    calls: usize,
}

/// A call's place in its run, until dropped.
pub(crate) struct Place {
    runs: Arc<Runs>,
    id: RunId,
    worker: Option<Name>,
}

impl Runs {
    /// Enters a call by `who` that `worker` will work on (`None`: the gateway itself). `named` is the run that the
    /// caller says it calls in; without one a run begins.
    pub(crate) fn enter(
        self: &Arc<Self>,
        who: &Who,
        named: Option<&RunId>,
        worker: Option<&Name>,
    ) -> Result<Place, Fault> {
        let mut table = self.lock();
        let id = match named {
            Some(named) => {
                let known = table.by_id.get(named).is_some_and(|run| run.is_worked_on_by(who));
                known.then(|| named.clone()).ok_or_else(|| not_its_run(who, named))?
            }
            None => table.new_id(),
        };
        let run = table.by_id.entry(id.clone()).or_default();
        run.calls += 1;
        run.workers.extend(worker.cloned());
        drop(table);
        Ok(Place { runs: Arc::clone(self), id, worker: worker.cloned() })
    }

    /// The runs on whose calls `arc` works now.
    pub(crate) fn worked_on_by(&self, arc: &Name) -> Vec<RunId> {
        let table = self.lock();
        let mut runs: Vec<RunId> =
            table.by_id.iter().filter(|(_, run)| run.workers.contains(arc)).map(|(id, _)| id.clone()).collect();
        runs.sort_by(|a, b| a.0.cmp(&b.0));
        runs
    }

    /// What a run has touched so far.
    pub(crate) fn labels_of(&self, run: &RunId) -> BTreeSet<Label> {
        self.lock().by_id.get(run).map(|run| run.labels.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// `r-` and 12 hexadecimal digits, not in use.
    fn new_id(&mut self) -> RunId {
        loop {
            self.count += 1;
            let id = RunId(format!("r-{:012x}", self.hasher.hash_one(self.count) >> 16));
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Run {
    fn is_worked_on_by(&self, who: &Who) -> bool {
        matches!(who, Who::Arc(name) if self.workers.contains(name))
    }
}

fn not_its_run(who: &Who, run: &RunId) -> Fault {
    let shown: String = run.0.chars().take(40).collect();
    let message = match who {
        Who::Arc(name) => format!("{name} works on no call of run {shown:?} now, so it cannot call in that run"),
        Who::Owner => format!("run {shown:?} cannot be joined from outside: leave it out, and a new one begins"),
    };
    Fault::new(code::PERMISSION, message)
}

impl Place {
    pub(crate) fn id(&self) -> &RunId {
        &self.id
    }

    /// What the run has touched so far.
    pub(crate) fn labels(&self) -> BTreeSet<Label> {
        self.runs.labels_of(&self.id)
    }

    /// The run has touched data with `label`.
    pub(crate) fn touch(&self, label: Label) {
        if let Some(run) = self.runs.lock().by_id.get_mut(&self.id) {
            run.labels.insert(label);
        }
    }

    /// Puts `label` on the run when what it returns is dropped.
    pub(crate) fn touch_at_end(&self, label: Label) -> Touched<'_> {
        Touched { place: self, label }
    }
}

/// A label that a run gets when this is dropped.
pub(crate) struct Touched<'p> {
    place: &'p Place,
    label: Label,
}

impl Drop for Touched<'_> {
    fn drop(&mut self) {
        self.place.touch(self.label);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.runs.lock();
        let Some(run) = table.by_id.get_mut(&self.id) else { return };
        run.calls -= 1;
        let at = self.worker.as_ref().and_then(|worker| run.workers.iter().position(|other| other == worker));
        if let Some(at) = at {
            run.workers.swap_remove(at);
        }
        if run.calls == 0 {
            table.by_id.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn an_arc_calls_in_a_run_only_while_it_works_on_a_call_of_it() {
        let runs = Arc::new(Runs::default());
        let (awake, kv) = (Who::Arc(name("awake")), Who::Arc(name("kv")));
        let outer = runs.enter(&Who::Owner, None, Some(&name("awake"))).expect("a new run");
        let id = outer.id().clone();
        assert!(runs.enter(&kv, Some(&id), None).is_err(), "kv works on nothing");
        assert!(runs.enter(&Who::Owner, Some(&id), None).is_err(), "a person begins runs");
        let inner = runs.enter(&awake, Some(&id), Some(&name("kv"))).expect("awake works on it");
        inner.touch(Label::Untrusted);
        assert_eq!(outer.labels(), BTreeSet::from([Label::Untrusted]), "labels are the run's");
        assert!(runs.enter(&kv, Some(&id), None).is_ok());
        drop(inner);
        assert!(runs.enter(&kv, Some(&id), None).is_err());
        drop(outer);
        assert!(runs.enter(&awake, Some(&id), None).is_err(), "the run is over");
        assert!(runs.lock().by_id.is_empty());
    }

    #[test]
    fn runs_are_told_apart() {
        let runs = Arc::new(Runs::default());
        let places: Vec<_> = (0..100).filter_map(|_| runs.enter(&Who::Owner, None, None).ok()).collect();
        let ids: BTreeSet<&str> = places.iter().map(|place| place.id().0.as_str()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 14 && id.starts_with("r-")));
    }
}
