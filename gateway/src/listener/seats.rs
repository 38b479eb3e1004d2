//! How many connections a door has at once, so that strangers do not use up the descriptors of the gateway.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// How many there are at once.
pub(crate) const SEATS: usize = 128;
/// How many of them are those of one peer; a browser has six.
pub(crate) const OF_ONE_PEER: usize = 32;

/// The seats of a door.
#[derive(Debug, Default)]
pub(super) struct Seats {
    by_peer: Mutex<HashMap<IpAddr, usize>>,
}

/// A seat, until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    peer: IpAddr,
}

impl Seats {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A seat for `peer`; `None` where all are taken, or all that one peer has.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let peer = peer.to_canonical();
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if by_peer.values().sum::<usize>() >= SEATS || by_peer.get(&peer).is_some_and(|&taken| taken >= OF_ONE_PEER) {
            return None;
        }
        *by_peer.entry(peer).or_default() += 1;
        drop(by_peer);
        Some(Seat { seats: Arc::clone(self), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_peer = self.seats.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(taken) = by_peer.get_mut(&self.peer) else { return };
        *taken -= 1;
        if *taken == 0 {
            by_peer.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_shared_out_and_given_back() {
        let seats = Seats::new();
        let peer = |number: u8| IpAddr::from([10, 0, 0, number]);
        let many = |number| std::iter::repeat_with(move || peer(number)).take(OF_ONE_PEER + 1);
        let first: Vec<Seat> = many(1).filter_map(|peer| seats.take(peer)).collect();
        assert_eq!(first.len(), OF_ONE_PEER);
        assert!(seats.take("::ffff:10.0.0.1".parse().expect("an address")).is_none(), "it is the same peer");
        let others: Vec<Seat> = (2..=10).flat_map(many).filter_map(|peer| seats.take(peer)).collect();
        assert_eq!(first.len() + others.len(), SEATS);
        assert!(seats.take(peer(11)).is_none());
        drop(first);
        assert!(seats.take(peer(11)).is_some() && seats.take(peer(1)).is_some());
        drop(others);
        assert!(seats.by_peer.lock().expect("sound").is_empty());
    }
}
