//! What the radio is for at a moment: pure, `step(phase, sight, now)`.
//!
//! ```text
//!                     in a network
//!        Searching ─────────────────▶ Joined
//!         │  ▲   ◀───────────────────
//!         │  │         lost
//!         │  │ a cable has an address; or nobody is there, and networks are known that may be back
//! nothing ▼  │
//! for a  Serving: an access point of our own
//! minute
//! ```

use std::time::{Duration, Instant};

/// So long is a cable, or a network that is known, waited for before the machine opens one of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// So long the own network stays before those that are known are looked for again: a router takes minutes to start.
pub(crate) const RETRY: Duration = Duration::from_secs(300);

/// What the radio does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It looks for the networks that are known, if there are any.
    Searching {
        /// Since then there is neither a network nor a cable.
        since: Instant,
    },
    /// It is in one of them.
    Joined,
    /// It opens one of its own, for the set-up.
    Serving { since: Instant },
}

/// What the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Whether a cable has an address.
    pub(crate) has_cable: bool,
    /// Whether networks are known.
    pub(crate) knows_networks: bool,
    /// Whether the radio is in one of them.
    pub(crate) is_joined: bool,
    /// Whether somebody is in the own network.
    pub(crate) has_guests: bool,
}

/// What the radio does next.
pub(crate) fn step(phase: Phase, sight: Sight, now: Instant) -> Phase {
    match phase {
        Phase::Searching { .. } if sight.is_joined => Phase::Joined,
        Phase::Searching { .. } if sight.has_cable => Phase::Searching { since: now },
        Phase::Searching { since } if now.duration_since(since) >= PATIENCE => Phase::Serving { since: now },
        Phase::Joined if !sight.is_joined => Phase::Searching { since: now },
        Phase::Serving { .. } if sight.has_cable => Phase::Searching { since: now },
        Phase::Serving { since } if sight.knows_networks && !sight.has_guests && now.duration_since(since) >= RETRY => {
            Phase::Searching { since: now }
        }
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_serving(phase: Phase) -> bool {
        matches!(phase, Phase::Serving { .. })
    }

    const NOTHING: Sight = Sight { has_cable: false, knows_networks: false, is_joined: false, has_guests: false };

    #[test]
    fn without_anything_there_is_an_own_network_after_a_minute_and_it_stays() {
        let begin = Instant::now();
        let searching = Phase::Searching { since: begin };
        assert_eq!(step(searching, NOTHING, begin + PATIENCE - Duration::from_millis(1)), searching);
        let serving = step(searching, NOTHING, begin + PATIENCE);
        assert_eq!(serving, Phase::Serving { since: begin + PATIENCE });
        assert_eq!(step(serving, NOTHING, begin + 100 * RETRY), serving);
    }

    #[test]
    fn a_network_that_is_known_is_looked_for_again_unless_somebody_is_being_served() {
        let begin = Instant::now();
        let serving = Phase::Serving { since: begin };
        let known = Sight { knows_networks: true, ..NOTHING };
        assert_eq!(step(serving, known, begin + RETRY - Duration::from_secs(1)), serving);
        assert_eq!(step(serving, Sight { has_guests: true, ..known }, begin + RETRY), serving);
        assert_eq!(step(serving, known, begin + RETRY), Phase::Searching { since: begin + RETRY });
    }

    fn sights() -> impl Strategy<Value = Sight> {
        any::<[bool; 4]>().prop_map(|[has_cable, knows_networks, is_joined, has_guests]| Sight {
            has_cable,
            knows_networks,
            is_joined,
            has_guests,
        })
    }

    proptest! {
        /// Whatever is seen, second after second.
        #[test]
        fn the_own_network_is_open_only_where_nothing_else_leads_to_the_machine(
            sights in proptest::collection::vec((sights(), 1_u64..200), 1..60)
        ) {
            let begin = Instant::now();
            let (mut phase, mut now) = (Phase::Searching { since: begin }, begin);
            let mut alone_since = begin;
            for (sight, seconds) in sights {
                now += Duration::from_secs(seconds);
                let before = phase;
                phase = step(phase, sight, now);
                if sight.has_cable || sight.is_joined {
                    let opened = is_serving(phase) && !is_serving(before);
                    prop_assert!(!opened, "{before:?} {sight:?}");
                    alone_since = now;
                }
                if sight.has_cable {
                    prop_assert!(!is_serving(phase));
                }
                // The radio that serves is in no network, whatever is said of it; one that is in none never stays there.
                prop_assert!(phase != Phase::Joined || sight.is_joined);
                if let (Phase::Serving { since }, false) = (phase, is_serving(before)) {
                    prop_assert!(now.duration_since(alone_since) >= PATIENCE && since == now);
                }
            }
            // Left alone it is reached in the end.
            let after = step(step(phase, NOTHING, now), NOTHING, now + PATIENCE);
            prop_assert!(is_serving(after));
        }
    }
}
