//! `image bench`: the figures of a running system, each beside what it is a ratio to.
//!
//! Reads go through the gateway and straight to the Arc in turns, so that a machine whose speed drifts does not tell a
//! tale. Everything is said in one table on standard output.

mod caller;
mod memory;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spec::paths;

use self::caller::{Caller, Door};
use crate::failure::Failure;

/// How long each measurement lasts.
const ROUND: Duration = Duration::from_secs(2);

/// How often the two ways are measured in turn.
const ROUNDS: usize = 3;

/// The key that is read and written.
const KEY: &str = "bench:key";

/// Measures the system that runs on `data`.
pub(crate) fn run(data: &Path) -> Result<(), Failure> {
    let sockets = Sockets::of(&data.join("run"));
    let mut setter = Caller::connect(&sockets.gateway, Door::Gateway)?;
    setter.call("kv", "set", &format!(r#"{{"key":"{KEY}","value":"world"}}"#))?;
    say("kv.get                       p50 µs   p99 µs   calls/s");
    for callers in [1, 32] {
        let mut direct = Samples::default();
        let mut through = Samples::default();
        for _ in 0..ROUNDS {
            direct.join(measure(&sockets.kv, Door::Arc, callers, get)?);
            through.join(measure(&sockets.gateway, Door::Gateway, callers, get)?);
        }
        report(&format!("direct, {callers} callers"), &mut direct);
        report(&format!("gateway, {callers} callers"), &mut through);
        let added = through.percentile(50).saturating_sub(direct.percentile(50));
        say(&format!("  added at p50: {} µs; calls/s: {:.2} of direct", micros(added), through.rate() / direct.rate()));
    }
    say("kv.set, durable              p50 µs   p99 µs   calls/s");
    for callers in [1, 64] {
        let mut samples = measure(&sockets.gateway, Door::Gateway, callers, set)?;
        report(&format!("gateway, {callers} callers"), &mut samples);
    }
    memory::report(&paths::init_socket(&data.join("run")))
}

struct Sockets {
    gateway: PathBuf,
    kv: PathBuf,
}

impl Sockets {
    fn of(run: &Path) -> Self {
        Self { gateway: paths::gateway_socket(run), kv: paths::arc_socket(run, "kv") }
    }
}

fn get(caller: &mut Caller, _turn: u64) -> Result<(), Failure> {
    caller.call("kv", "get", &format!(r#"{{"key":"{KEY}"}}"#))
}

fn set(caller: &mut Caller, turn: u64) -> Result<(), Failure> {
    caller.call("kv", "set", &format!(r#"{{"key":"{KEY}:{}","value":{turn}}}"#, turn % 100))
}

/// The times of many calls, and over how long they were made.
#[derive(Default)]
struct Samples {
    times: Vec<Duration>,
    elapsed: Duration,
}

impl Samples {
    fn join(&mut self, other: Self) {
        self.times.extend(other.times);
        self.elapsed += other.elapsed;
    }

    fn percentile(&mut self, percent: usize) -> Duration {
        self.times.sort_unstable();
        self.times.get(self.times.len() * percent / 100).copied().unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Lets `callers` call as fast as they are answered, each on a connection of its own.
fn measure(
    socket: &Path,
    door: Door,
    callers: usize,
    call: fn(&mut Caller, u64) -> Result<(), Failure>,
) -> Result<Samples, Failure> {
    let connections = (0..callers).map(|_| Caller::connect(socket, door)).collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    let one = |mut caller: Caller| {
        let mut times = Vec::new();
        while started.elapsed() < ROUND {
            let before = Instant::now();
            call(&mut caller, times.len() as u64)?;
            times.push(before.elapsed());
        }
        Ok(times)
    };
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = connections.into_iter().map(|caller| scope.spawn(|| one(caller))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new())))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Samples { times: times.concat(), elapsed: started.elapsed() })
}

fn report(name: &str, samples: &mut Samples) {
    let (middle, high) = (samples.percentile(50), samples.percentile(99));
    say(&format!("  {name:<24} {:>9} {:>8} {:>9.0}", micros(middle), micros(high), samples.rate()));
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}

#[expect(clippy::print_stdout, reason = "the figures are this command's result")]
fn say(line: &str) {
    println!("{line}");
}
