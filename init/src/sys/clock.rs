//! Time and chance.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_settime};

/// Milliseconds since init started, on a clock that never goes back.
pub(crate) type Millis = u64;

/// The clock of the supervisor.
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Millis {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// A number from −20 to 20, by which a pause differs from the last one, so that what failed together does not
    /// try again together. `std`'s hasher keys are the random source: chance is wanted here, not secrecy.
    pub(crate) fn jitter_percent(&self) -> i8 {
        let chance = RandomState::new().hash_one(self.now()) % 41;
        i8::try_from(chance).map_or(0, |chance| chance - 20)
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sets the machine's clock.
pub(crate) fn set_clock(time: SystemTime) -> io::Result<()> {
    let since = time.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(clock_settime(ClockId::CLOCK_REALTIME, since.into())?)
}

/// `2026-11-23T05:59:32.123Z` of milliseconds since 1970.
pub(crate) fn date_and_time(unix_millis: u64) -> String {
    let (seconds, millis) = (unix_millis / 1000, unix_millis % 1000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The other way round; `None` for a text of another form.
pub(crate) fn parse_date_and_time(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, millis) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let days = days(year, month, day)?;
    let parsed = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis;
    // What is out of its bounds or stands between the numbers shows here.
    (date_and_time(parsed) == text).then_some(parsed)
}

/// The number of days since 1970: `days_from_civil` of the same source as [`civil`].
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted_year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Year, month and day of a number of days since 1970: `civil_from_days` of Howard Hinnant's "chrono-Compatible
/// Low-Level Date Algorithms", for days after 1970 alone.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date_and_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_and_time(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(date_and_time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date_and_time(1_795_413_572_123), "2026-11-23T05:59:32.123Z");
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        for millis in [0, 951_782_399_999, 951_782_400_000, 1_795_413_572_123, 4_102_444_799_999] {
            assert_eq!(parse_date_and_time(&date_and_time(millis)), Some(millis));
        }
        for text in [
            "",
            "2026-02-30T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-11-23 05:59:32.123Z",
            "1969-12-31T23:59:59.999Z",
            "yesterday, I say, and so",
        ] {
            assert_eq!(parse_date_and_time(text), None, "{text}");
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_differs() {
        let clock = Clock::start();
        let drawn: Vec<i8> = (0..200).map(|_| clock.jitter_percent()).collect();
        assert!(drawn.iter().all(|percent| (-20..=20).contains(percent)));
        assert!(drawn.iter().any(|&percent| Some(&percent) != drawn.first()));
    }
}
