//! How far work is, in words: `62 % · 18 MB/s · 10 s left`.

use std::time::Duration;

const MEGABYTE: u64 = 1_000_000;

/// Nothing is said about the rate before this: it would jump.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Progress of a transfer: `had` bytes were there when it began, `elapsed` ago; now `have` of `total` are.
pub(crate) fn of_bytes(had: u64, have: u64, total: u64, elapsed: Duration) -> String {
    let percent = percent(have, total);
    let came = have.saturating_sub(had);
    if came == 0 || elapsed < SETTLED_AFTER {
        return format!("{percent} % of {} MB", total / MEGABYTE);
    }
    let rate = u128::from(came) * 1000 / elapsed.as_millis().max(1);
    let left = u128::from(total.saturating_sub(have)) / rate.max(1);
    format!("{percent} % · {} MB/s · {} left", rate / u128::from(MEGABYTE), span(left))
}

/// Time as people say it: `42 s`, `3 min`.
pub(crate) fn span(seconds: u128) -> String {
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) }
}

fn percent(have: u64, total: u64) -> u64 {
    (have.min(total) * 100).checked_div(total).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_says_rate_and_time_left() {
        let text = of_bytes(100 * MEGABYTE, 200 * MEGABYTE, 500 * MEGABYTE, Duration::from_secs(10));
        assert_eq!(text, "40 % · 10 MB/s · 30 s left");
    }

    #[test]
    fn it_says_less_before_it_knows() {
        assert_eq!(of_bytes(0, 1, 100 * MEGABYTE, Duration::from_millis(10)), "0 % of 100 MB");
    }
}
