//! How much one service may write down: pure.

use crate::sys::Millis;

/// What may be written at once, in bytes of the log file.
const BURST: u64 = 1024 * 1024;
/// What may be written in a second after that.
const PER_SECOND: u64 = 64 * 1024;
/// What a line costs beside its text: its time and its end.
const LINE_COST: u64 = 26;

/// What a service may still write down. One that has used it up is silent for a second at least, so that a flood is
/// some lines of each second and not single lines with gaps between all of them.
#[derive(Debug)]
pub(crate) struct Rate {
    left: u64,
    at: Millis,
    is_closed: bool,
}

impl Rate {
    /// What follows the number of lines that were not admitted.
    pub(crate) const WORDS: &'static str = "lines were dropped: more than 64 KiB in a second";

    pub(crate) fn new(now: Millis) -> Self {
        Self { left: BURST, at: now, is_closed: false }
    }

    /// Whether lines are written down.
    pub(crate) fn is_open(&mut self, now: Millis) -> bool {
        let gained = now.saturating_sub(self.at).saturating_mul(PER_SECOND) / 1000;
        if gained > 0 {
            self.at = now;
            self.left = self.left.saturating_add(gained).min(BURST);
        }
        self.is_closed &= self.left < PER_SECOND;
        !self.is_closed
    }

    /// Whether a line of this length is written down.
    pub(crate) fn admits(&mut self, length: usize, now: Millis) -> bool {
        if !self.is_open(now) {
            return false;
        }
        let cost = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(LINE_COST);
        self.is_closed = cost > self.left;
        if !self.is_closed {
            self.left -= cost;
        }
        !self.is_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_thinned() {
        let mut rate = Rate::new(0);
        let admitted = |rate: &mut Rate, now| (0..20_000).filter(|_| rate.admits(74, now)).count();
        assert_eq!(admitted(&mut rate, 0), 10_485);
        assert_eq!(admitted(&mut rate, 900), 0, "silent for a second");
        assert_eq!(admitted(&mut rate, 1000), 656);
        assert_eq!(admitted(&mut rate, 1_000_000), 10_485, "and well again after a while");
    }

    #[test]
    fn what_is_gained_in_small_steps_is_not_lost() {
        let mut rate = Rate::new(0);
        while rate.admits(1000, 0) {}
        let opened = (1..).find(|&now| rate.is_open(now));
        assert!(opened.is_some_and(|now| (980..=1010).contains(&now)), "{opened:?}");
    }
}
