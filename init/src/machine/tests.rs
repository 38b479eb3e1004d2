use proptest::prelude::*;
use spec::control::ServiceState::{self, Backoff, Failed, Listening, Running, Starting, Stopped, Stopping, Waiting};

use super::*;

fn rules(activation: Activation, restart: Restart) -> Rules {
    Rules {
        activation,
        restart,
        ready: Ready::Notify,
        start_timeout: 30_000,
        stop_timeout: 10_000,
        watchdog: None,
        per_connection: false,
    }
}

fn at(now: Millis) -> At {
    At { now, jitter_percent: 0 }
}

/// Feeds `events` and answers the states and actions on the way: `starting+Spawn`.
fn way(rules: &Rules, events: &[(Millis, Event)]) -> Vec<String> {
    let mut machine = Machine::new(rules);
    let mut way = Vec::new();
    for (now, event) in events {
        let (next, action) = step(machine, event.clone(), at(*now), rules);
        machine = next;
        let action = action.map(|action| format!("+{action:?}")).unwrap_or_default();
        way.push(format!("{:?}{action}", machine.state()));
    }
    way
}

fn ended(clean: bool) -> Event {
    Event::Ended { clean, reason: "exited with code 1".to_owned() }
}

/// A machine that has come up.
fn running(rules: &Rules) -> Machine {
    [Event::Start, Event::DependenciesReady, Event::Spawned, Event::Ready]
        .into_iter()
        .fold(Machine::new(rules), |machine, event| step(machine, event, at(0), rules).0)
}

#[test]
fn an_arc_starts_at_a_call_exits_when_idle_and_starts_again() {
    let rules = rules(Activation::OnDemand, Restart::OnFailure);
    let events = [
        (0, Event::Demand),
        (0, Event::DependenciesReady),
        (0, Event::Spawned),
        (5, Event::Ready),
        (900, ended(true)),
        (901, Event::Demand),
    ];
    assert_eq!(way(&rules, &events), ["Waiting", "Starting+Spawn", "Starting", "Running", "Listening", "Waiting"]);
}

#[test]
fn what_is_not_expected_to_say_that_it_is_ready_is_ready_at_once() {
    let rules = Rules { ready: Ready::Exec, ..rules(Activation::Boot, Restart::Always) };
    let events = [(0, Event::DependenciesReady), (0, Event::Spawned)];
    assert_eq!(way(&rules, &events), ["Starting+Spawn", "Running"]);
}

#[test]
fn a_service_that_does_not_get_ready_is_stopped_then_killed_then_tried_again() {
    let rules = rules(Activation::Boot, Restart::Always);
    let events = [
        (0, Event::DependenciesReady),
        (0, Event::Spawned),
        (29_999, Event::Tick),
        (30_000, Event::Tick),
        (39_999, Event::Tick),
        (40_000, Event::Tick),
        (40_001, Event::Tick),
        (40_002, ended(false)),
        (40_102, Event::Tick),
    ];
    let expected = [
        "Starting+Spawn",
        "Starting",
        "Starting",
        "Stopping+Terminate",
        "Stopping",
        "Stopping+Kill",
        "Stopping",
        "Backoff",
        "Waiting",
    ];
    assert_eq!(way(&rules, &events), expected);
}

#[test]
fn pauses_double_up_to_a_bound_and_begin_anew_after_a_good_run() {
    let rules = rules(Activation::Boot, Restart::Always);
    let mut machine = running(&rules);
    let mut now = 0;
    let mut pauses = Vec::new();
    for run in [59_000; 11].into_iter().chain([60_000]) {
        now += run;
        machine = step(machine, ended(false), at(now), &rules).0;
        let until = machine.deadline().expect("a pause");
        pauses.push(until - now);
        now = until;
        for event in [Event::Tick, Event::DependenciesReady, Event::Spawned, Event::Ready] {
            machine = step(machine, event, at(now), &rules).0;
        }
    }
    let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 100];
    assert_eq!(pauses, expected);
    assert_eq!(machine.restarts(), 12);
}

#[test]
fn jitter_is_a_fifth_at_most() {
    let rules = rules(Activation::Boot, Restart::Always);
    let pause = |jitter_percent| {
        let (machine, _) = step(running(&rules), ended(false), At { now: 0, jitter_percent }, &rules);
        machine.deadline().expect("a pause")
    };
    assert_eq!([pause(-20), pause(0), pause(20), pause(127)], [80, 100, 120, 120]);
}

#[test]
fn five_failures_within_a_minute_are_the_end_until_a_person_starts_it() {
    let rules = rules(Activation::Boot, Restart::OnFailure);
    let mut machine = Machine::new(&rules);
    let mut states = Vec::new();
    for round in 0..5 {
        for event in [Event::Tick, Event::DependenciesReady, Event::Spawned, ended(false)] {
            machine = step(machine, event, at(round * 10_000), &rules).0;
        }
        states.push(machine.state());
    }
    assert_eq!(states, [Backoff, Backoff, Backoff, Backoff, Failed]);
    let expected = "failed 5 times within 60 s; the last time: exited with code 1, before it was ready";
    assert_eq!(machine.reason(), Some(expected));
    let (machine, _) = step(machine, Event::Start, at(50_000), &rules);
    assert_eq!((machine.state(), machine.reason()), (Waiting, None));
    let (machine, _) = step(machine, Event::DependenciesReady, at(50_000), &rules);
    let (machine, _) = step(machine, ended(false), at(50_000), &rules);
    assert_eq!(machine.state(), Backoff, "the count began anew");
}

#[test]
fn the_restart_policy_says_what_an_end_means() {
    let after = |activation, restart, clean| {
        let rules = rules(activation, restart);
        step(running(&rules), ended(clean), at(10), &rules).0.state()
    };
    use Activation::{Boot, OnDemand};
    use Restart::{Always, Never, OnFailure};
    let cases = [(Boot, Always), (Boot, OnFailure), (Boot, Never), (OnDemand, OnFailure), (OnDemand, Never)];
    let clean: Vec<ServiceState> =
        cases.iter().map(|(activation, restart)| after(*activation, *restart, true)).collect();
    let failed: Vec<ServiceState> =
        cases.iter().map(|(activation, restart)| after(*activation, *restart, false)).collect();
    assert_eq!(clean, [Backoff, Stopped, Stopped, Listening, Listening]);
    assert_eq!(failed, [Backoff, Backoff, Failed, Backoff, Failed]);
}

#[test]
fn one_that_falls_silent_is_killed_and_started_again() {
    let rules = Rules { watchdog: Some(5_000), ..rules(Activation::Boot, Restart::OnFailure) };
    let (alive, _) = step(running(&rules), Event::Alive, at(4_000), &rules);
    let (alive, action) = step(alive, Event::Tick, at(8_999), &rules);
    assert_eq!((alive.state(), action, alive.deadline()), (Running, None, Some(9_000)));
    let (silent, action) = step(alive, Event::Tick, at(9_000), &rules);
    assert_eq!((silent.state(), action), (Stopping, Some(Action::Kill)));
    let (gone, _) = step(silent, ended(false), at(9_001), &rules);
    let reason = "did not say that it is alive (WATCHDOG=1) for 5 s";
    assert_eq!((gone.state(), gone.reason()), (Backoff, Some(reason)));
}

#[test]
fn what_a_person_wants_last_counts() {
    let rules = rules(Activation::Boot, Restart::Always);
    let (machine, action) = step(running(&rules), Event::Stop, at(0), &rules);
    assert_eq!(action, Some(Action::Terminate));
    let (machine, action) = step(machine, Event::Start, at(1), &rules);
    assert_eq!((machine.state(), action), (Stopping, None));
    let (machine, _) = step(machine, ended(true), at(2), &rules);
    assert_eq!(machine.state(), Waiting);
    let (machine, _) = step(machine, Event::Stop, at(3), &rules);
    assert_eq!(machine.state(), Stopped);
    let (machine, action) = step(machine, Event::Demand, at(4), &rules);
    assert_eq!((machine.state(), action), (Stopped, None), "only a person starts it again");
}

#[test]
fn a_second_kill_does_nothing() {
    let rules = rules(Activation::Boot, Restart::Always);
    let (machine, action) = step(running(&rules), Event::Kill, at(0), &rules);
    assert_eq!(action, Some(Action::Kill));
    let (machine, action) = step(machine, Event::Kill, at(0), &rules);
    assert_eq!((machine.state(), action), (Stopping, None));
}

#[test]
fn one_that_serves_a_connection_only_starts_with_one() {
    let rules = Rules { per_connection: true, ready: Ready::Exec, ..rules(Activation::OnDemand, Restart::OnFailure) };
    let up = [Event::Demand, Event::DependenciesReady, Event::Spawned]
        .into_iter()
        .fold(Machine::new(&rules), |machine, event| step(machine, event, at(0), &rules).0);
    assert_eq!(up.state(), Running);
    let (failed, _) = step(up.clone(), ended(false), at(1), &rules);
    assert_eq!((failed.state(), failed.reason()), (Listening, Some("exited with code 1")));
    let (again, _) = step(up, Event::Restart, at(1), &rules);
    let (again, _) = step(again, ended(false), at(2), &rules);
    assert_eq!(again.state(), Listening);
}

#[test]
fn one_whose_connection_is_at_its_end_may_end_by_itself_and_is_killed_when_it_does_not() {
    let rules = Rules { per_connection: true, ready: Ready::Exec, ..rules(Activation::OnDemand, Restart::OnFailure) };
    let up = [(0, Event::Demand), (0, Event::DependenciesReady), (0, Event::Spawned), (1, Event::Abandoned)];
    let by_itself = [&up[..], &[(2, ended(false)), (3, Event::Demand)]].concat();
    assert_eq!(way(&rules, &by_itself)[2..], ["Running", "Stopping", "Listening", "Waiting"]);
    let deaf = [&up[..], &[(10_000, Event::Tick), (10_001, Event::Tick), (10_002, ended(false))]].concat();
    assert_eq!(way(&rules, &deaf)[3..], ["Stopping", "Stopping", "Stopping+Kill", "Listening"]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let text = Just("a reason".to_owned());
    prop_oneof![
        Just(Event::DependenciesReady),
        Just(Event::Demand),
        Just(Event::Spawned),
        (text.clone(), any::<bool>()).prop_map(|(reason, for_good)| Event::SpawnFailed { reason, for_good }),
        Just(Event::Ready),
        Just(Event::Alive),
        (text.clone(), any::<bool>()).prop_map(|(reason, clean)| Event::Ended { clean, reason }),
        Just(Event::Abandoned),
        text.clone().prop_map(Event::Unwell),
        text.clone().prop_map(Event::Condemned),
        text.prop_map(Event::Unstartable),
        Just(Event::Frozen),
        Just(Event::Thawed),
        Just(Event::Start),
        Just(Event::Stop),
        Just(Event::Restart),
        Just(Event::Kill),
        Just(Event::Tick),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let activation = prop_oneof![Just(Activation::Boot), Just(Activation::OnDemand)];
    let restart = prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)];
    let ready = prop_oneof![Just(Ready::Notify), Just(Ready::Exec)];
    let watchdog = proptest::option::of(1..50_000u64);
    (activation, restart, ready, 0..50_000u64, 0..50_000u64, watchdog, any::<bool>()).prop_map(
        |(activation, restart, ready, start_timeout, stop_timeout, watchdog, per_connection)| Rules {
            activation: if per_connection { Activation::OnDemand } else { activation },
            restart,
            ready,
            start_timeout,
            stop_timeout,
            watchdog,
            per_connection,
        },
    )
}

/// A world in which a service lives: it knows whether there is a process, and answers as the supervisor does.
struct World {
    rules: Rules,
    machine: Machine,
    now: Millis,
    has_process: bool,
    spawns: Vec<Millis>,
}

impl World {
    fn new(rules: Rules) -> Self {
        Self { machine: Machine::new(&rules), rules, now: 0, has_process: false, spawns: Vec::new() }
    }

    /// Lets an event happen if it can happen in this world, and answers a spawn as `spawn_fails` says.
    fn happen(&mut self, event: Event, spawn_fails: Option<bool>) {
        let needs_process = matches!(event, Event::Ready | Event::Ended { .. } | Event::Unwell(_));
        let only_answers = matches!(event, Event::Spawned | Event::SpawnFailed { .. });
        if only_answers || (needs_process && !self.has_process) {
            return;
        }
        if matches!(event, Event::Ended { .. }) {
            self.has_process = false;
        }
        let (machine, action) = step(self.machine.clone(), event, at(self.now), &self.rules);
        self.machine = machine;
        if action == Some(Action::Spawn) {
            assert!(!self.has_process, "a second process");
            self.spawns.push(self.now);
            self.has_process = spawn_fails.is_none();
            let answer = match spawn_fails {
                None => Event::Spawned,
                Some(for_good) => Event::SpawnFailed { reason: "no".to_owned(), for_good },
            };
            let (machine, action) = step(self.machine.clone(), answer, at(self.now), &self.rules);
            self.machine = machine;
            assert_eq!(action, None);
        }
        assert_eq!(self.machine.is_alive(), self.has_process, "in {:?}", self.machine.state());
    }
}

proptest! {
    #[test]
    fn no_event_in_no_state_makes_it_panic(
        rules in any_rules(),
        events in proptest::collection::vec((any_event(), any::<u64>(), any::<i8>()), 0..60),
    ) {
        let mut machine = Machine::new(&rules);
        for (event, now, jitter_percent) in events {
            machine = step(machine, event, At { now, jitter_percent }, &rules).0;
        }
    }

    #[test]
    fn there_is_a_process_exactly_in_the_states_that_say_so_and_a_stop_always_ends(
        rules in any_rules(),
        events in proptest::collection::vec((any_event(), 0..20_000u64, proptest::option::of(any::<bool>())), 0..80),
    ) {
        let mut world = World::new(rules);
        for (event, pause, spawn_fails) in events {
            world.now += pause;
            world.happen(event, spawn_fails);
        }
        world.happen(Event::Stop, None);
        if world.has_process {
            prop_assert_eq!(world.machine.state(), Stopping);
            // A process that ignores SIGTERM is killed when its time is over.
            if let Some(deadline) = world.machine.deadline() {
                prop_assert!(deadline <= world.now + rules.stop_timeout);
                let (killed, action) = step(world.machine.clone(), Event::Tick, at(deadline), &rules);
                prop_assert_eq!(action, Some(Action::Kill));
                world.machine = killed;
            }
            world.happen(Event::Ended { clean: false, reason: String::new() }, None);
        }
        prop_assert_eq!(world.machine.state(), Stopped);
        prop_assert_eq!(world.machine.deadline(), None);
    }

    #[test]
    fn left_to_itself_a_service_that_always_fails_is_given_up(
        rules in any_rules(),
        life in 0..10_000u64,
        gets_ready in any::<bool>(),
    ) {
        let mut world = World::new(rules);
        for _ in 0..100 {
            let event = match world.machine.state() {
                Listening => Event::Demand,
                Waiting => Event::DependenciesReady,
                Starting if gets_ready && life < rules.start_timeout => Event::Ready,
                Starting | Running | Stopping => {
                    world.now += life;
                    Event::Ended { clean: false, reason: "no".to_owned() }
                }
                Backoff => {
                    world.now = world.machine.deadline().expect("a pause ends");
                    Event::Tick
                }
                Stopped | Failed => break,
            };
            world.happen(event, None);
        }
        prop_assert_eq!(world.machine.state(), Failed);
        prop_assert!(world.spawns.len() <= START_LIMIT, "{} starts", world.spawns.len());
    }
}

#[test]
fn for_a_frozen_service_no_time_runs_out() {
    let rules = Rules { watchdog: Some(1_000), ..rules(Activation::Boot, Restart::Always) };
    let mut machine = running(&rules);
    // It has said that it is alive just before; that is heard late.
    for (now, event) in [(100, Event::Frozen), (150, Event::Alive), (5_000, Event::Tick)] {
        machine = step(machine, event, at(now), &rules).0;
        assert_eq!((machine.state(), machine.deadline()), (Running, None));
    }
    let (machine, action) = step(machine, Event::Thawed, at(6_000), &rules);
    assert_eq!((action, machine.deadline()), (None, Some(7_000)), "it has all its time once more");

    let frozen = step(machine, Event::Frozen, at(6_100), &rules).0;
    let (stopping, action) = step(frozen, Event::Stop, at(6_200), &rules);
    assert_eq!((action, stopping.deadline()), (Some(Action::Terminate), Some(16_200)), "it can be stopped");
}

#[test]
fn a_condemned_service_is_killed_at_once_and_comes_back_after_a_pause() {
    let rules = rules(Activation::OnDemand, Restart::OnFailure);
    let machine = step(running(&rules), Event::Frozen, at(10), &rules).0;
    let (machine, action) = step(machine, Event::Condemned("too greedy".to_owned()), at(20), &rules);
    assert_eq!((machine.state(), action, machine.deadline()), (Stopping, Some(Action::Kill), None));
    let (machine, _) = step(machine, ended(false), at(30), &rules);
    assert_eq!((machine.state(), machine.reason()), (Backoff, Some("too greedy")));
}
