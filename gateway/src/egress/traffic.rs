//! How much an Arc may move: connections at once and a minute, bytes a second and a day.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spec::Traffic;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The traffic of one Arc.
pub(crate) struct Meter {
    limits: Traffic,
    seats: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    /// When the minute and the day that are counted began.
    minute: Instant,
    connections: u32,
    day: Instant,
    bytes: u64,
    /// The bytes that may be moved at once, and when that was true.
    tokens: u64,
    at: Instant,
}

/// The key of the manifest that bounds what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted(pub(crate) &'static str);

/// What one read moves at the most; less than any rate that can be set in a second.
pub(crate) const PIECE: usize = 64 << 10;

impl Meter {
    pub(crate) fn new(limits: Traffic) -> Self {
        let now = Instant::now();
        let state = State { minute: now, connections: 0, day: now, bytes: 0, tokens: limits.rate.0, at: now };
        let seats = Arc::new(Semaphore::new(usize::try_from(limits.connections).unwrap_or(0)));
        Self { limits, seats, state: Mutex::new(state) }
    }

    pub(crate) fn limits(&self) -> &Traffic {
        &self.limits
    }

    /// A new connection; it ends where the permit is dropped.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Exhausted> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(state.minute) >= MINUTE {
            (state.minute, state.connections) = (now, 0);
        }
        if now.duration_since(state.day) >= DAY {
            (state.day, state.bytes) = (now, 0);
        }
        if state.bytes >= self.limits.per_day.0 {
            return Err(Exhausted("per_day"));
        }
        if state.connections >= self.limits.per_minute {
            return Err(Exhausted("per_minute"));
        }
        let permit = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| Exhausted("connections"))?;
        state.connections += 1;
        Ok(permit)
    }

    /// Counts bytes that were moved, and waits as long as that is too fast.
    pub(crate) async fn moved(&self, bytes: usize) -> Result<(), Exhausted> {
        let wait = self.count(u64::try_from(bytes).unwrap_or(u64::MAX))?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn count(&self, bytes: u64) -> Result<Duration, Exhausted> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.bytes = state.bytes.saturating_add(bytes);
        if state.bytes > self.limits.per_day.0 {
            return Err(Exhausted("per_day"));
        }
        let rate = self.limits.rate.0.max(1);
        let gained =
            now.saturating_duration_since(state.at).as_nanos().saturating_mul(u128::from(rate)) / 1_000_000_000;
        state.tokens = state.tokens.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)).min(rate);
        state.at = state.at.max(now);
        match state.tokens.checked_sub(bytes) {
            Some(rest) => {
                state.tokens = rest;
                Ok(Duration::ZERO)
            }
            None => {
                // What is missing is paid by waiting for it.
                let missing = bytes - state.tokens;
                let nanos = u128::from(missing) * 1_000_000_000 / u128::from(rate);
                let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                state.tokens = 0;
                state.at += wait;
                Ok(state.at.saturating_duration_since(now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use spec::ByteSize;

    use super::*;

    fn meter(connections: u32, per_minute: u32, rate: u64, per_day: u64) -> Meter {
        Meter::new(Traffic { connections, per_minute, rate: ByteSize(rate), per_day: ByteSize(per_day) })
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_bounded_at_once_and_a_minute() {
        let meter = meter(2, 3, 1 << 20, 1 << 30);
        let first = meter.admit().expect("the first");
        let _second = meter.admit().expect("the second");
        assert_eq!(meter.admit().err(), Some(Exhausted("connections")));
        drop(first);
        drop(meter.admit().expect("in the place of the first"));
        assert_eq!(meter.admit().err(), Some(Exhausted("per_minute")));
        tokio::time::advance(MINUTE).await;
        drop(meter.admit().expect("in the next minute"));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_take_the_time_that_their_rate_says() {
        let meter = meter(1, 1, 1000, 1 << 30);
        let begun = Instant::now();
        for _ in 0..10 {
            meter.moved(500).await.expect("in time");
        }
        // The first second's worth was free.
        assert_eq!(begun.elapsed().as_millis(), 4000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_has_an_end() {
        let meter = meter(1, 10, 1 << 30, 1000);
        meter.moved(1000).await.expect("all of it");
        assert_eq!(meter.moved(1).await, Err(Exhausted("per_day")));
        assert_eq!(meter.admit().err(), Some(Exhausted("per_day")));
        tokio::time::advance(DAY).await;
        drop(meter.admit().expect("the next day"));
    }
}
