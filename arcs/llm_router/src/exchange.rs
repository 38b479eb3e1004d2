//! One exchange with one backend: waiting for a free slot, trying again where that can help, within a time.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::backend::{Backend, Question, Reply};
use crate::failure::Failure;
use crate::router::Patience;
use crate::watcher::{Telling, Watcher};

/// How often a backend that is the last hope is tried again when nothing answers there: its supervisor may be starting
/// it anew, which takes a few seconds.
const RESTARTS: u32 = 4;

/// The bounds of an exchange.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) patience: Patience,
    /// When the caller no longer waits.
    pub(crate) deadline: Instant,
    /// Whether no other backend is left to ask.
    pub(crate) is_last: bool,
}

/// Asks a backend once, or again where that can help.
pub(crate) async fn exchange<W: Watcher>(
    backend: &Backend,
    question: &Question<'_>,
    bounds: &Bounds,
    telling: &mut Telling<'_, W>,
) -> Result<Reply, Failure> {
    let pass = match backend.breaker.admit() {
        Ok(pass) => pass,
        // It is left alone for as long as there are others. With none left, an error is the worst that can come of it.
        Err(_) if bounds.is_last => backend.breaker.insist(),
        Err(open) => return Err(Failure::Resting(open.remaining)),
    };
    let within = || backend.settings.timeout.min(bounds.deadline.saturating_duration_since(Instant::now()));
    let Ok(Ok(_slot)) = timeout(within(), backend.slots.acquire()).await else {
        drop(pass);
        let words = format!("its bound of {} at once is reached", backend.settings.parallel);
        return Err(Failure::Busy { words, retry_after: None });
    };
    // Its time begins when it is asked: who waited long for a slot learns nothing about it.
    let within = within();
    let mut last = Failure::TimedOut { what: "answer", within };
    let patient = repeat(backend, question, bounds, telling, &mut last);
    let result = match timeout(within, patient).await {
        Ok(result) => result,
        Err(_) => Err(last),
    };
    match &result {
        // A caller in a hurry says nothing about the backend.
        Err(Failure::TimedOut { .. }) if within < backend.settings.timeout => drop(pass),
        Err(failure) if failure.is_the_backends_fault() => pass.failed(),
        _ => pass.succeeded(),
    }
    result
}

async fn repeat<W: Watcher>(
    backend: &Backend,
    question: &Question<'_>,
    bounds: &Bounds,
    telling: &mut Telling<'_, W>,
    last: &mut Failure,
) -> Result<Reply, Failure> {
    let mut tries = 0;
    loop {
        let failure = match backend.ask(question, telling).await {
            Ok(reply) => return Ok(reply),
            Err(failure) => failure,
        };
        let Some(pause) = pause(&failure, tries, bounds) else { return Err(failure) };
        tracing::debug!(backend = backend.name, ?pause, "trying again: {failure}");
        *last = failure;
        tries += 1;
        sleep(pause).await;
    }
}

/// How long to wait before the next try; `None`: there is to be none.
fn pause(failure: &Failure, tries: u32, bounds: &Bounds) -> Option<Duration> {
    let patience = &bounds.patience;
    let grown = || jittered(patience.pause.saturating_mul(1 << tries.min(3)));
    match failure {
        // Ends with the time-out of the exchange.
        Failure::Loading => Some(grown()),
        Failure::Busy { retry_after, .. } if tries == 0 => {
            Some(retry_after.map_or_else(grown, |asked| asked.min(patience.longest_pause)))
        }
        Failure::Unreachable(_) | Failure::Cut | Failure::Broke { .. } if bounds.is_last && tries < RESTARTS => {
            Some(grown())
        }
        _ => None,
    }
}

/// From three to five quarters of `pause`, so that callers who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    // The keys of a RandomState are random: enough for jitter, and no dependency.
    let random = RandomState::new().build_hasher().finish() % 512;
    pause * 3 / 4 + pause.saturating_mul(u32::try_from(random).unwrap_or(0)) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(is_last: bool) -> Bounds {
        Bounds { patience: Patience::default(), deadline: Instant::now(), is_last }
    }

    #[test]
    fn the_wait_is_what_the_backend_asks_for_but_bounded() {
        let busy = |seconds| Failure::Busy { words: String::new(), retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(pause(&busy(2), 0, &bounds(false)), Some(Duration::from_secs(2)));
        assert_eq!(pause(&busy(3600), 0, &bounds(false)), Some(Patience::default().longest_pause));
        assert_eq!(pause(&busy(2), 1, &bounds(false)), None);
    }

    #[test]
    fn nobody_waits_for_a_dead_backend_while_another_is_left() {
        let refused = Failure::Unreachable(String::new());
        assert_eq!(pause(&refused, 0, &bounds(false)), None);
        assert!(pause(&refused, 0, &bounds(true)).is_some());
        assert_eq!(pause(&refused, RESTARTS, &bounds(true)), None);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            let pause = jittered(second);
            assert!(pause >= second * 3 / 4 && pause <= second * 5 / 4, "{pause:?}");
        }
    }
}
