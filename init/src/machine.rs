//! The life of one service: a pure state machine. No clock, no system call; what is to be done is returned.
//!
//! ```text
//!            demand, start                ready for it            says that it is ready
//! Listening ──────────────▶ Waiting ──────────────────▶ Starting ───────────────────────▶ Running
//!     ▲                        ▲                           │ ends, or takes too long          │ ends
//!     │ ends cleanly           │ pause is over             ▼                                  ▼
//!     └──────────────────── Backoff ◀──────────── failed: fewer than five times in a minute? ─┘
//!                                                          │ no
//! Stopping ── ends ──▶ Stopped                             ▼
//!                                                       Failed
//! ```
//!
//! There is a process in `Starting`, `Running` and `Stopping`, and in no other state. [`Action::Spawn`] is answered at
//! once with [`Event::Spawned`] or [`Event::SpawnFailed`], before any other event. [`Event::Ended`] is told once nothing
//! of the service is left, its process and all that it started; so there are never two of it.

use std::time::Duration;

use spec::control::ServiceState;
use spec::{Activation, Manifest, Ready, Restart, Transport};

use crate::sys::Millis;

/// The first pause before a failed service is started again; each further one is twice as long.
const FIRST_PAUSE: Millis = 100;
/// The longest pause.
const LONGEST_PAUSE: Millis = 30_000;
/// A service that ran this long was well: the next pause is the first again.
const RAN_WELL: Millis = 60_000;
/// This many clean ends …
const END_LIMIT: usize = 20;
/// … within so long, and it is given up: it does not take what it is woken for.
const END_LIMIT_TIME: Millis = 2000;

/// This many failures …
const START_LIMIT: usize = 5;
/// … within this time, and it is given up.
const START_LIMIT_TIME: Millis = 60_000;

/// What a manifest says of a service's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) activation: Activation,
    pub(crate) restart: Restart,
    pub(crate) ready: Ready,
    pub(crate) start_timeout: Millis,
    pub(crate) stop_timeout: Millis,
    /// Once ready, it says that it is alive at least this often.
    pub(crate) watchdog: Option<Millis>,
    /// It serves one connection on its standard input and output: only a connection can start it.
    pub(crate) per_connection: bool,
}

impl Rules {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let millis = |time: Duration| Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX);
        let per_connection = manifest.transport == Transport::Stdio;
        Self {
            activation: if per_connection { Activation::OnDemand } else { manifest.activation },
            restart: manifest.restart,
            ready: manifest.ready,
            start_timeout: millis(manifest.start_timeout),
            stop_timeout: millis(manifest.stop_timeout),
            watchdog: manifest.watchdog.map(millis),
            per_connection,
        }
    }
}

/// Everything that can happen to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its turn has come: what it comes after is there, or will not be.
    DependenciesReady,
    /// A connection waits at its socket.
    Demand,
    /// Its program was executed.
    Spawned,
    /// Its program was not executed; `for_good` when a second try would fare the same.
    SpawnFailed { reason: String, for_good: bool },
    /// It said that it is ready.
    Ready,
    /// It said that it is alive.
    Alive,
    /// Its process and everything that it started is gone. `clean`: by itself, without complaint.
    Ended { clean: bool, reason: String },
    /// Nobody is at the other end of its standard input and output any more.
    Abandoned,
    /// It lives but is of no use any more.
    Unwell(String),
    /// Its processes do nothing until it is thawed: memory is short.
    Frozen,
    /// Its processes go on.
    Thawed,
    /// It must not go on: it has to be gone now, and that is a failure.
    Condemned(String),
    /// It cannot be started as it stands.
    Unstartable(String),
    /// A person wants it started.
    Start,
    /// A person, or the end of the system, wants it stopped.
    Stop,
    /// A person wants it stopped and started.
    Restart,
    /// It has to be gone now.
    Kill,
    /// Time passed.
    Tick,
}

/// What is to be done for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Execute its program.
    Spawn,
    /// Ask its process to stop.
    Terminate,
    /// Kill all its processes.
    Kill,
}

/// The moment of an event, and chance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) now: Millis,
    /// −20 to 20: by how much a pause differs.
    pub(crate) jitter_percent: i8,
}

/// What becomes of a service once its process is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    Rest,
    Start,
    Fail(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Stopped,
    Listening,
    Waiting,
    Starting {
        until: Millis,
    },
    Running {
        since: Millis,
        /// When it must have said that it is alive.
        until: Option<Millis>,
    },
    Stopping {
        /// `None` once it was killed.
        kill_at: Option<Millis>,
        next: Next,
    },
    Backoff {
        until: Millis,
    },
    Failed,
}

/// The state of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    phase: Phase,
    /// When it failed, as far as that still counts towards the start limit.
    failures: Vec<Millis>,
    /// How often it failed without having been ready in between.
    unready: usize,
    /// When it ended cleanly, of late: an end that leaves its caller waiting wakes it at once.
    ends: Vec<Millis>,
    /// How many pauses there were since it last ran well.
    pauses: u32,
    restarts: u32,
    reason: Option<String>,
    /// Whether its processes do nothing: then no time runs out for them.
    is_frozen: bool,
}

impl Machine {
    /// A service that is new: it waits for its turn, or for a connection.
    pub(crate) fn new(rules: &Rules) -> Self {
        let phase = match rules.activation {
            Activation::Boot => Phase::Waiting,
            Activation::OnDemand => Phase::Listening,
        };
        let (failures, ends) = (Vec::new(), Vec::new());
        Self { phase, failures, unready: 0, ends, pauses: 0, restarts: 0, reason: None, is_frozen: false }
    }

    /// The state as others see it.
    pub(crate) fn state(&self) -> ServiceState {
        match self.phase {
            Phase::Stopped => ServiceState::Stopped,
            Phase::Listening => ServiceState::Listening,
            Phase::Waiting => ServiceState::Waiting,
            Phase::Starting { .. } => ServiceState::Starting,
            Phase::Running { .. } => ServiceState::Running,
            Phase::Stopping { .. } => ServiceState::Stopping,
            Phase::Backoff { .. } => ServiceState::Backoff,
            Phase::Failed => ServiceState::Failed,
        }
    }

    /// Whether there is a process.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. })
    }

    /// The last failure, or why it is not running.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether its processes do nothing.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// How often it was started again because it had failed.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When [`Event::Tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        match self.phase {
            _ if self.is_frozen => None,
            Phase::Starting { until } | Phase::Backoff { until } => Some(until),
            Phase::Stopping { kill_at, .. } => kill_at,
            Phase::Running { until, .. } => until,
            _ => None,
        }
    }

    fn enter(&mut self, phase: Phase) -> Option<Action> {
        self.phase = phase;
        None
    }

    /// Waits for its turn, or for the connection without which it cannot start.
    fn queue(&mut self, rules: &Rules) -> Option<Action> {
        self.enter(if rules.per_connection { Phase::Listening } else { Phase::Waiting })
    }

    fn stop(&mut self, next: Next, at: At, rules: &Rules) -> Option<Action> {
        self.phase = Phase::Stopping { kill_at: Some(at.now.saturating_add(rules.stop_timeout)), next };
        Some(Action::Terminate)
    }

    fn give_up(&mut self, reason: String) -> Option<Action> {
        self.reason = Some(reason);
        self.enter(Phase::Failed)
    }

    fn fail(&mut self, reason: String, at: At, rules: &Rules) -> Option<Action> {
        if rules.restart == Restart::Never {
            return self.give_up(reason);
        }
        self.failures.retain(|&failure| at.now.saturating_sub(failure) < START_LIMIT_TIME);
        self.failures.push(at.now);
        if self.failures.len() >= START_LIMIT {
            let seconds = START_LIMIT_TIME / 1000;
            return self.give_up(format!("failed {START_LIMIT} times within {seconds} s; the last time: {reason}"));
        }
        self.unready += 1;
        if self.unready >= START_LIMIT {
            return self.give_up(format!("failed {START_LIMIT} times and was never ready; the last time: {reason}"));
        }
        self.reason = Some(reason);
        if rules.per_connection {
            return self.enter(Phase::Listening);
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16)).min(LONGEST_PAUSE);
        let hundredths = u64::from(i16::from(at.jitter_percent.clamp(-20, 20)).saturating_add(100).unsigned_abs());
        self.pauses = self.pauses.saturating_add(1);
        self.enter(Phase::Backoff { until: at.now.saturating_add(pause * hundredths / 100) })
    }

    /// It ended by itself, after it had been ready.
    fn end(&mut self, since: Millis, clean: bool, reason: String, at: At, rules: &Rules) -> Option<Action> {
        if at.now.saturating_sub(since) >= RAN_WELL {
            self.pauses = 0;
        }
        match (clean, rules.activation, rules.restart) {
            (true, Activation::OnDemand, _) => {
                self.ends.retain(|&end| at.now.saturating_sub(end) < END_LIMIT_TIME);
                self.ends.push(at.now);
                if self.ends.len() >= END_LIMIT && !rules.per_connection {
                    let seconds = END_LIMIT_TIME / 1000;
                    return self.give_up(format!(
                        "{reason}, {END_LIMIT} times within {seconds} s, and its caller waits still"
                    ));
                }
                self.reason = None;
                self.enter(Phase::Listening)
            }
            (true, Activation::Boot, Restart::OnFailure | Restart::Never) => {
                self.reason = Some(reason);
                self.enter(Phase::Stopped)
            }
            _ => self.fail(reason, at, rules),
        }
    }

    fn run(&mut self, at: At, rules: &Rules) -> Option<Action> {
        self.unready = 0;
        self.live(at.now, at, rules)
    }

    fn live(&mut self, since: Millis, at: At, rules: &Rules) -> Option<Action> {
        let until = rules.watchdog.map(|patience| at.now.saturating_add(patience));
        self.enter(Phase::Running { since, until })
    }

    fn forget_failures(&mut self) {
        self.failures.clear();
        self.unready = 0;
        self.ends.clear();
        self.pauses = 0;
        self.reason = None;
    }
}

/// What becomes of a service when something happens to it, and what is to be done.
pub(crate) fn step(machine: Machine, event: Event, at: At, rules: &Rules) -> (Machine, Option<Action>) {
    let mut machine = machine;
    let action = match event {
        Event::Start | Event::Stop | Event::Restart | Event::Kill => wish(&mut machine, &event, at, rules),
        Event::Tick if machine.is_frozen => None,
        Event::Tick => tick(&mut machine, at, rules),
        Event::Frozen | Event::Thawed => freeze(&mut machine, event == Event::Frozen, at, rules),
        _ => happening(&mut machine, event, at, rules),
    };
    // Whoever is to stop has been thawed for that, and is given its time.
    machine.is_frozen &= matches!(machine.phase, Phase::Starting { .. } | Phase::Running { .. });
    (machine, action)
}

fn wish(machine: &mut Machine, event: &Event, at: At, rules: &Rules) -> Option<Action> {
    if matches!(event, Event::Start | Event::Restart) {
        machine.forget_failures();
    }
    match (machine.phase.clone(), event) {
        (Phase::Stopping { kill_at: None, .. }, Event::Kill) => None,
        (_, Event::Kill) if machine.is_alive() => {
            machine.phase = Phase::Stopping { kill_at: None, next: Next::Rest };
            Some(Action::Kill)
        }
        (Phase::Stopping { kill_at, .. }, _) => {
            let next = if *event == Event::Stop { Next::Rest } else { Next::Start };
            machine.enter(Phase::Stopping { kill_at, next })
        }
        (Phase::Starting { .. } | Phase::Running { .. } | Phase::Waiting, Event::Start) => None,
        (Phase::Starting { .. } | Phase::Running { .. }, Event::Stop) => machine.stop(Next::Rest, at, rules),
        (Phase::Starting { .. } | Phase::Running { .. }, Event::Restart) => machine.stop(Next::Start, at, rules),
        (_, Event::Start | Event::Restart) => machine.queue(rules),
        (_, _) => machine.enter(Phase::Stopped),
    }
}

fn tick(machine: &mut Machine, at: At, rules: &Rules) -> Option<Action> {
    match machine.phase.clone() {
        Phase::Starting { until } if at.now >= until => {
            let reason = format!("was not ready after {}", Shown(rules.start_timeout));
            machine.stop(Next::Fail(reason), at, rules)
        }
        Phase::Stopping { kill_at: Some(kill_at), next } if at.now >= kill_at => {
            machine.phase = Phase::Stopping { kill_at: None, next };
            Some(Action::Kill)
        }
        Phase::Running { until: Some(until), .. } if at.now >= until => {
            // One that hangs does not hear that it is asked to stop.
            let patience = Shown(rules.watchdog.unwrap_or_default());
            let next = Next::Fail(format!("did not say that it is alive (WATCHDOG=1) for {patience}"));
            machine.phase = Phase::Stopping { kill_at: None, next };
            Some(Action::Kill)
        }
        Phase::Backoff { until } if at.now >= until => {
            machine.restarts = machine.restarts.saturating_add(1);
            machine.enter(Phase::Waiting)
        }
        _ => None,
    }
}

/// What was frozen has all its time before it once more.
fn freeze(machine: &mut Machine, is_frozen: bool, at: At, rules: &Rules) -> Option<Action> {
    let was_frozen = std::mem::replace(&mut machine.is_frozen, is_frozen);
    match machine.phase {
        Phase::Running { since, .. } if was_frozen && !is_frozen => machine.live(since, at, rules),
        Phase::Starting { .. } if was_frozen && !is_frozen => {
            machine.enter(Phase::Starting { until: at.now.saturating_add(rules.start_timeout) })
        }
        _ => None,
    }
}

fn happening(machine: &mut Machine, event: Event, at: At, rules: &Rules) -> Option<Action> {
    match (machine.phase.clone(), event) {
        (Phase::Listening, Event::Demand) => machine.enter(Phase::Waiting),
        (Phase::Waiting, Event::DependenciesReady) => {
            machine.phase = Phase::Starting { until: at.now.saturating_add(rules.start_timeout) };
            Some(Action::Spawn)
        }
        (Phase::Waiting | Phase::Listening, Event::Unstartable(reason)) => machine.give_up(reason),
        (Phase::Starting { .. }, Event::SpawnFailed { reason, for_good: true }) => machine.give_up(reason),
        (Phase::Starting { .. }, Event::SpawnFailed { reason, for_good: false }) => machine.fail(reason, at, rules),
        (Phase::Starting { .. }, Event::Spawned) if rules.ready == Ready::Exec => machine.run(at, rules),
        (Phase::Starting { .. }, Event::Ready) => machine.run(at, rules),
        (Phase::Starting { .. }, Event::Ended { reason, .. }) => {
            machine.fail(format!("{reason}, before it was ready"), at, rules)
        }
        (Phase::Running { since, .. }, Event::Alive) => machine.live(since, at, rules),
        (Phase::Running { since, .. }, Event::Ended { clean, reason }) => machine.end(since, clean, reason, at, rules),
        (Phase::Starting { .. } | Phase::Running { .. }, Event::Unwell(reason)) => {
            machine.stop(Next::Fail(reason), at, rules)
        }
        (Phase::Starting { .. } | Phase::Running { .. }, Event::Abandoned) => {
            // It hears that its input is at its end, which asks it to end (MCP 2025-11-25, basic/lifecycle, shutdown).
            machine.stop(Next::Start, at, rules);
            None
        }
        (Phase::Starting { .. } | Phase::Running { .. }, Event::Condemned(reason)) => {
            machine.phase = Phase::Stopping { kill_at: None, next: Next::Fail(reason) };
            Some(Action::Kill)
        }
        (Phase::Stopping { next, .. }, Event::Ended { .. }) => match next {
            Next::Rest => machine.enter(Phase::Stopped),
            Next::Start => machine.queue(rules),
            Next::Fail(reason) => machine.fail(reason, at, rules),
        },
        _ => None,
    }
}

/// A time span in words.
struct Shown(Millis);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{} s", self.0 / 1000) } else { write!(f, "{} ms", self.0) }
    }
}

#[cfg(test)]
mod tests;
