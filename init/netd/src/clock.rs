//! What a time server's answer means for the clock of the machine, and doing it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustix::time::{ClockId, Timespec, clock_settime};

/// A clock that is off by less is moved to the right time bit by bit, so that it never runs back; one that is off by
/// more is set (`STEPT` of RFC 5905, appendix A.5.5).
const STEP: Duration = Duration::from_millis(128);
/// A clock that is off by less is right.
const RIGHT: Duration = Duration::from_millis(5);
/// No answer over a network tells the time more exactly than this.
const MEASURED: Duration = Duration::from_millis(1);
/// An image is not used for so long after it was built (systemd's `CLOCK_VALID_RANGE_USEC_MAX`): a time after that is
/// as wrong as one before it was built.
const AGE_OF_AN_IMAGE: Duration = Duration::from_secs(15 * 365 * 24 * 3600);

/// By how much, and whereto, a clock has to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    /// The clock is slow.
    Forward(Duration),
    /// The clock is fast.
    Back(Duration),
}

impl Shift {
    /// That of so many seconds, `None` where that is no number of seconds that can be.
    pub(crate) fn of_seconds(seconds: f64) -> Option<Self> {
        let by = Duration::try_from_secs_f64(seconds.abs()).ok()?;
        Some(if seconds < 0.0 { Self::Back(by) } else { Self::Forward(by) })
    }

    fn by(self) -> Duration {
        match self {
            Self::Forward(by) | Self::Back(by) => by,
        }
    }

    fn applied_to(self, time: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Forward(by) => time.checked_add(by),
            Self::Back(by) => time.checked_sub(by),
        }
    }
}

/// `forward by 12.3 s`
impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whereto = match self {
            Self::Forward(_) => "forward",
            Self::Back(_) => "back",
        };
        write!(f, "{whereto} by {}", span(self.by()))
    }
}

/// A span of time as people say it: `42 ms`, `12.3 s`, `400 days`.
fn span(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.as_millis()),
        1..172_800 => format!("{:.1} s", span.as_secs_f64()),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What is done to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Correction {
    /// Nothing: it is right to within this.
    Leave(Duration),
    /// It is moved bit by bit.
    Slew(Shift),
    /// It is set.
    Step(Shift),
}

impl Correction {
    /// Does it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn apply(self) -> anyhow::Result<()> {
        match self {
            Self::Leave(_) => Ok(()),
            Self::Slew(shift) => slew(shift).context("cannot move the clock"),
            Self::Step(shift) => step(shift).context("cannot set the clock"),
        }
    }

    /// What was done, in words: `clock set forward by 12.3 s by SERVER`.
    pub(crate) fn told(self, server: &str) -> String {
        match self {
            Self::Leave(within) => format!("clock right to within {} by {server}", span(within)),
            Self::Slew(shift) => format!("clock moved {shift} bit by bit by {server}"),
            Self::Step(shift) => format!("clock set {shift} by {server}"),
        }
    }
}

/// The times that can be: from when the image was built, which every file in it bears, until it is too old to be used.
pub(crate) fn plausible() -> RangeInclusive<SystemTime> {
    let own_file = std::env::current_exe().and_then(|file| file.metadata()?.modified());
    let built = own_file.unwrap_or_else(|_| SystemTime::now());
    built..=built.checked_add(AGE_OF_AN_IMAGE).unwrap_or(built)
}

/// What an answer means that says the clock has to be moved by `shift`, give or take `uncertainty`.
///
/// # Errors
/// It says a time that cannot be.
pub(crate) fn decide(
    shift: Shift,
    uncertainty: Duration,
    now: SystemTime,
    plausible: &RangeInclusive<SystemTime>,
) -> anyhow::Result<Correction> {
    let told = shift.applied_to(now).context("its time is beyond all clocks")?;
    if let Ok(before) = plausible.start().duration_since(told) {
        anyhow::ensure!(before.is_zero(), "its time is {} before this image was built", span(before));
    }
    if let Ok(after) = told.duration_since(*plausible.end()) {
        anyhow::ensure!(after.is_zero(), "its time is {} after what this image can live to see", span(after));
    }
    Ok(match shift.by() {
        by if by <= uncertainty.max(RIGHT) => Correction::Leave(uncertainty.max(by).max(MEASURED)),
        by if by < STEP => Correction::Slew(shift),
        _ => Correction::Step(shift),
    })
}

fn step(shift: Shift) -> anyhow::Result<()> {
    let time = shift.applied_to(SystemTime::now()).context("beyond all clocks")?;
    let since = time.duration_since(UNIX_EPOCH)?;
    let time = Timespec { tv_sec: since.as_secs().try_into()?, tv_nsec: since.subsec_nanos().into() };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// adjtime(3): half a millisecond in each second, in place of what is left of the last time.
#[expect(unsafe_code, reason = "no crate that netd has calls adjtime")]
fn slew(shift: Shift) -> anyhow::Result<()> {
    let micros = i64::try_from(shift.by().as_micros())?;
    let micros = if matches!(shift, Shift::Back(_)) { -micros } else { micros };
    let delta = libc::timeval { tv_sec: micros / 1_000_000, tv_usec: micros % 1_000_000 };
    // SAFETY: the first pointer is to a value that outlives the call, which only reads it; the second may be null.
    let outcome = unsafe { libc::adjtime(&raw const delta, std::ptr::null_mut()) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DOUBT: Duration = Duration::from_millis(1);

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number * 86_400)
    }

    /// Of an image that was built on day 20,000 on a machine whose clock says that it is day 20,100.
    fn decided(seconds: f64, uncertainty: Duration) -> Result<Correction, String> {
        let shift = Shift::of_seconds(seconds).expect("a shift");
        let plausible = day(20_000)..=day(20_000) + AGE_OF_AN_IMAGE;
        decide(shift, uncertainty, day(20_100), &plausible).map_err(|error| error.to_string())
    }

    #[test]
    fn a_clock_that_is_right_is_left() {
        for seconds in [0.0, 0.004, -0.004] {
            assert!(matches!(decided(seconds, NO_DOUBT), Ok(Correction::Leave(_))), "{seconds}");
        }
        let doubtful = decided(0.9, Duration::from_secs(1));
        assert_eq!(doubtful, Ok(Correction::Leave(Duration::from_secs(1))), "a slow answer proves nothing");
    }

    #[test]
    fn a_clock_that_is_a_little_off_is_moved_bit_by_bit() {
        let by = Duration::from_millis(100);
        assert_eq!(decided(0.1, NO_DOUBT), Ok(Correction::Slew(Shift::Forward(by))));
        assert_eq!(decided(-0.1, NO_DOUBT), Ok(Correction::Slew(Shift::Back(by))));
    }

    #[test]
    fn a_clock_that_is_far_off_is_set_even_back() {
        assert_eq!(decided(12.3, NO_DOUBT), Ok(Correction::Step(Shift::Forward(Duration::from_secs_f64(12.3)))));
        let days = Duration::from_secs(99 * 86_400);
        assert_eq!(decided(-99.0 * 86_400.0, NO_DOUBT), Ok(Correction::Step(Shift::Back(days))));
    }

    #[test]
    fn a_time_that_cannot_be_is_refused() {
        let before = decided(-103.0 * 86_400.0, NO_DOUBT).expect_err("before the image was built");
        assert_eq!(before, "its time is 3 days before this image was built");
        let after = decided(20.0 * 365.0 * 86_400.0, NO_DOUBT).expect_err("too late");
        assert!(after.ends_with("days after what this image can live to see"), "{after}");
        assert!(decided(-1e12, NO_DOUBT).is_err() && decided(1e18, NO_DOUBT).is_err());
        assert_eq!((Shift::of_seconds(f64::NAN), Shift::of_seconds(f64::INFINITY)), (None, None));
    }

    #[test]
    fn what_was_done_is_one_line() {
        let line = |seconds| decided(seconds, NO_DOUBT).expect("plausible").told("ntp.example.com");
        assert_eq!(line(12.34), "clock set forward by 12.3 s by ntp.example.com");
        assert_eq!(line(-0.5), "clock set back by 500 ms by ntp.example.com");
        assert_eq!(line(0.05), "clock moved forward by 50 ms bit by bit by ntp.example.com");
        assert_eq!(line(0.001), "clock right to within 1 ms by ntp.example.com");
        assert_eq!(line(40.0 * 86_400.0), "clock set forward by 40 days by ntp.example.com");
    }

    #[test]
    fn this_program_was_built_before_now_and_can_still_be_used() {
        assert!(plausible().contains(&SystemTime::now()));
    }
}
