//! How often a wrong code may be entered: pure.
//!
//! All who try share the bound, from wherever they come. The first few cost nothing, as people mistype; then each is
//! followed by a pause that doubles, to five minutes at the most. So somebody who guesses has 288 tries a day, and half a
//! chance against a code of the machine's own after three million years. Somebody who only wants to disturb can keep the
//! owner waiting: a restart, which only who is at the machine can cause, gives the first few tries back.

use std::time::Duration;

use crate::sys::Millis;

/// What people may mistype.
const FREE: u32 = 5;
const FIRST_PAUSE: Millis = 10_000;
const LONGEST_PAUSE: Millis = 300_000;

/// The tries since the machine started or was claimed.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    /// When the next one is heard.
    next: Millis,
}

impl Tries {
    /// # Errors
    /// How long to wait before a code is heard.
    pub(super) fn check(&self, now: Millis) -> Result<(), Duration> {
        match self.next.saturating_sub(now) {
            0 => Ok(()),
            left => Err(Duration::from_millis(left)),
        }
    }

    /// A wrong one was entered.
    pub(super) fn failed(&mut self, now: Millis) {
        self.failed = self.failed.saturating_add(1);
        if let Some(beyond) = self.failed.checked_sub(FREE) {
            let pause = FIRST_PAUSE.saturating_mul(1 << beyond.min(16)).min(LONGEST_PAUSE);
            self.next = now.saturating_add(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes() {
        let mut tries = Tries::default();
        let mut now = 1_000;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            tries.failed(now);
            let pause = tries.check(now).err().unwrap_or_default();
            pauses.push(pause.as_secs());
            now += Millis::try_from(pause.as_millis()).expect("short");
            assert!(tries.check(now).is_ok(), "the pause is over");
        }
        assert_eq!(pauses, [0, 0, 0, 0, 10, 20, 40, 80, 160, 300, 300, 300]);
        (0..100).for_each(|_| tries.failed(now));
        assert_eq!(tries.check(now), Err(Duration::from_secs(300)));
    }
}
