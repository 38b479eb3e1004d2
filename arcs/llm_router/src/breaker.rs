//! A circuit breaker: a backend that failed several times in a row is left alone for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many failures in a row open it.
const FAILURES: u32 = 3;

/// How long it stays open before one call may try again.
const PAUSE: Duration = Duration::from_secs(30);

/// Closed, open since the last failure, or half open: one call is trying.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    is_probed: bool,
}

/// The right to one try. Dropped without a word (the caller went away), it says nothing about the backend.
#[derive(Debug)]
pub(crate) struct Pass<'b> {
    breaker: &'b Breaker,
}

/// The backend is being left alone for so long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) remaining: Duration,
}

impl Breaker {
    /// Asks to try the backend.
    pub(crate) fn admit(&self) -> Result<Pass<'_>, Open> {
        let mut state = self.state();
        if let Some(until) = state.open_until {
            let remaining = until.saturating_duration_since(Instant::now());
            if !remaining.is_zero() || state.is_probed {
                return Err(Open { remaining });
            }
            state.is_probed = true;
        }
        Ok(Pass { breaker: self })
    }

    /// Tries the backend though it is being left alone.
    pub(crate) fn insist(&self) -> Pass<'_> {
        Pass { breaker: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The backend answered.
    pub(crate) fn succeeded(self) {
        *self.breaker.state() = State::default();
    }

    /// The backend is unwell.
    pub(crate) fn failed(self) {
        let mut state = self.breaker.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open_until = Some(Instant::now() + PAUSE);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.breaker.state().is_probed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker) {
        breaker.admit().expect("admitted").failed();
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_it_for_thirty_seconds() {
        let breaker = Breaker::default();
        fail(&breaker);
        fail(&breaker);
        breaker.admit().expect("still closed").succeeded();
        (0..3).for_each(|_| fail(&breaker));
        assert_eq!(breaker.admit().expect_err("open"), Open { remaining: PAUSE });
        tokio::time::advance(PAUSE).await;
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_one_try_and_its_result_decides() {
        let breaker = Breaker::default();
        (0..3).for_each(|_| fail(&breaker));
        tokio::time::advance(PAUSE).await;
        let probe = breaker.admit().expect("the probe");
        assert!(breaker.admit().is_err(), "only one at a time");
        probe.failed();
        assert!(breaker.admit().is_err(), "open again");
        tokio::time::advance(PAUSE).await;
        drop(breaker.admit().expect("a caller who goes away"));
        breaker.admit().expect("the next probe").succeeded();
        let _first = breaker.admit().expect("closed");
        assert!(breaker.admit().is_ok());
    }
}
