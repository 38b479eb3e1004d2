//! The clock of Sentinels that wake again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kit::{Gateway, Host, Name, Result, Sentinel, Trigger};
use serde_json::json;
use time::OffsetDateTime;

use crate::memory;
use crate::tick::{Awake, Ticked};

/// How often is looked whether a Sentinel is due; also how soon a new file is seen.
const LOOK: Duration = Duration::from_secs(30);

/// Wakes each Sentinel that says `every` when it is due, one after the other, for ever.
pub(crate) async fn run(awake: Arc<Awake>, host: Host) {
    let mut turns: HashMap<Name, i64> = HashMap::new();
    let mut broken = Vec::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let shelf = awake.shelf();
        if shelf.broken != broken {
            shelf.log_broken();
            broken.clone_from(&shelf.broken);
        }
        for sentinel in shelf.sentinels {
            let Some(period) = period(&sentinel) else { continue };
            if let Err(error) = turn(host.gateway(), &sentinel.name, period, &mut turns).await {
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

/// Wakes the Sentinel `name` if it is due. `turns` spares the store: it is asked only when a turn may be due.
///
/// It is woken by a call of our own tool: so all it does is one run, which the gateway holds and writes down like any
/// other, and a tick that is under way is not disturbed.
async fn turn(gateway: &Gateway, name: &Name, period: Duration, turns: &mut HashMap<Name, i64>) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let due = |last: i64| is_due(last, period, now.unix_timestamp());
    if turns.get(name).is_some_and(|last| !due(*last)) {
        return Ok(());
    }
    match memory::last_turn(gateway, name).await? {
        // A Sentinel that is new has its first turn a period from now, also if the system is started anew meanwhile.
        None => memory::take_turn(gateway, name, now).await,
        Some(last) if due(last) => {
            let ticked: Ticked = gateway.tool("awake.tick", &json!({"sentinel": name})).await?;
            tracing::info!(sentinel = %name, triggered = ticked.triggered, "{}", ticked.reason);
            Ok(())
        }
        Some(last) => {
            turns.insert(name.clone(), last);
            Ok(())
        }
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
