//! The clock of Sentinels that wake again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kit::{Gateway, Host, Name, Result, Sentinel, Trigger};
use time::OffsetDateTime;

use crate::memory;
use crate::tick::{Awake, wake};

/// How often is looked whether a Sentinel is due; also how soon a new file is seen.
const LOOK: Duration = Duration::from_secs(30);

/// Wakes each Sentinel that says `every` when it is due, one after the other, for ever.
pub(crate) async fn run(awake: Arc<Awake>, host: Host) {
    let mut turns: HashMap<Name, i64> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        for sentinel in awake.shelf().sentinels {
            let Some(period) = period(&sentinel) else { continue };
            if let Err(error) = turn(&awake, host.gateway(), &sentinel, period, &mut turns).await {
                tracing::error!(sentinel = %sentinel.name, "its turn failed: {error}");
            }
        }
    }
}

fn period(sentinel: &Sentinel) -> Option<Duration> {
    sentinel.triggers.iter().find_map(|trigger| match trigger {
        Trigger::Every(period) => Some(*period),
        Trigger::Tick => None,
    })
}

/// Wakes `sentinel` if it is due. `turns` spares the store: it is asked once for each Sentinel.
async fn turn(
    awake: &Awake,
    gateway: &Gateway,
    sentinel: &Sentinel,
    period: Duration,
    turns: &mut HashMap<Name, i64>,
) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let last = match turns.get(&sentinel.name) {
        Some(last) => Some(*last),
        None => memory::last_turn(gateway, &sentinel.name).await?,
    };
    turns.insert(sentinel.name.clone(), last.unwrap_or_else(|| now.unix_timestamp()));
    match last {
        // A Sentinel that is new has its first turn a period from now, also if the system is started anew meanwhile.
        None => memory::take_turn(gateway, &sentinel.name, now).await,
        Some(last) if is_due(last, period, now.unix_timestamp()) => {
            let _turn = awake.turn.lock().await;
            // Before it begins: one that fails waits for its next turn as well.
            turns.insert(sentinel.name.clone(), now.unix_timestamp());
            let ticked = wake(gateway, sentinel, now).await?;
            tracing::info!(sentinel = %sentinel.name, triggered = ticked.triggered, "{}", ticked.reason);
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// Whether a period has gone by since `last`; also when the clock was set back to before it.
fn is_due(last: i64, period: Duration, now: i64) -> bool {
    let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
    now < last || now - last >= period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_due_a_period_after_the_last_one() {
        let hour = Duration::from_secs(3600);
        assert!(!is_due(1000, hour, 1000));
        assert!(!is_due(1000, hour, 4599));
        assert!(is_due(1000, hour, 4600));
        assert!(is_due(1000, hour, 10));
        assert!(!is_due(1000, Duration::MAX, i64::MAX / 2));
    }
}
