//! Giving addresses to whoever is in the own network: as much of a DHCP server as a set-up takes (RFC 2131). Pure: a
//! message in, a message out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use spec::HostAddress;

/// How long an address is given for.
const LEASE: Duration = Duration::from_secs(600);
/// The last bytes of addresses that are given.
const POOL: std::ops::RangeInclusive<u8> = 10..=200;
/// The part of a message before its options, the magic cookie with it (RFC 2131, section 2).
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// A message that is as long as those of old (RFC 951) is understood by everybody.
const SHORTEST: usize = 300;

/// Options (RFC 2132).
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const WANTED: u8 = 50;
const SECONDS: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const END: u8 = 255;

/// Kinds of messages (RFC 2132, 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

type HardwareAddress = [u8; 6];

/// A server and its leases.
#[derive(Debug)]
pub(crate) struct Server {
    own: HostAddress,
    /// Who has which last byte, and until when.
    leases: BTreeMap<HardwareAddress, (u8, Instant)>,
}

impl Server {
    /// One that has given nothing yet. `own` is its own address, in a network of at least 256.
    pub(crate) fn new(own: HostAddress) -> Self {
        Self { own, leases: BTreeMap::new() }
    }

    /// What is answered to a message, to be broadcast; nothing to what is none of our business.
    pub(crate) fn answer(&mut self, message: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (fixed, options) = message.split_at_checked(FIXED)?;
        // A request, from Ethernet.
        if !fixed.starts_with(&[1, 1, 6]) || !fixed.ends_with(&COOKIE) {
            return None;
        }
        let client: HardwareAddress = fixed.get(28..34)?.try_into().ok()?;
        let wanted = option(options, WANTED).or_else(|| fixed.get(12..16)).and_then(address);
        let is_ours = option(options, SERVER).is_none_or(|server| server == self.own.address().octets());
        match *option(options, KIND)?.first()? {
            DISCOVER => {
                let last = self.lease(client, wanted, now)?;
                Some(self.message(fixed, OFFER, Some(last)))
            }
            // Who takes another server's offer wants nothing of us.
            REQUEST if !is_ours => {
                self.leases.remove(&client);
                None
            }
            REQUEST => {
                let last = self.lease(client, wanted, now)?;
                let has_it = wanted == Some(self.address(last));
                Some(if has_it { self.message(fixed, ACK, Some(last)) } else { self.message(fixed, NAK, None) })
            }
            _ => None,
        }
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.own.address().octets();
        Ipv4Addr::new(a, b, c, last)
    }

    /// The last byte of the address that a client has, or gets: the one that it wants where that is free. `None`: all are
    /// taken.
    fn lease(&mut self, client: HardwareAddress, wanted: Option<Ipv4Addr>, now: Instant) -> Option<u8> {
        self.leases.retain(|_, (_, until)| *until > now);
        let is_free = |last: &u8| !self.leases.values().any(|(taken, _)| taken == last);
        let wanted = wanted
            .map(|wanted| wanted.octets()[3])
            .filter(|last| self.address(*last) == wanted.unwrap_or(self.own.address()));
        let had = self.leases.get(&client).map(|(last, _)| *last);
        let fresh =
            || wanted.filter(|last| POOL.contains(last)).filter(&is_free).or_else(|| POOL.clone().find(&is_free));
        let last = had.or_else(fresh)?;
        self.leases.insert(client, (last, now + LEASE));
        Some(last)
    }

    fn message(&self, request: &[u8], kind: u8, last: Option<u8>) -> Vec<u8> {
        let own = self.own.address().octets();
        let mut message = vec![0; FIXED];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = message.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0, &[2, 1, 6, 0]);
        // The number of the exchange; the flags; relay and hardware address come back as they are.
        for range in [4..8, 10..12, 24..44] {
            put(range.start, request.get(range.clone()).unwrap_or_default());
        }
        if let Some(last) = last {
            put(16, &self.address(last).octets());
        }
        put(236, &COOKIE);
        let mut option = |name: u8, value: &[u8]| {
            message.extend([name, u8::try_from(value.len()).unwrap_or(0)]);
            message.extend(value);
        };
        option(KIND, &[kind]);
        option(SERVER, &own);
        if last.is_some() {
            option(SECONDS, &u32::try_from(LEASE.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
            let mask = u32::MAX.checked_shl(32 - u32::from(self.own.prefix())).unwrap_or(u32::MAX);
            option(MASK, &mask.to_be_bytes());
            option(ROUTER, &own);
            option(NAME_SERVER, &own);
        }
        message.push(END);
        message.resize(message.len().max(SHORTEST), 0);
        message
    }
}

/// The value of an option (RFC 2132, section 2).
fn option(mut options: &[u8], name: u8) -> Option<&[u8]> {
    const PAD: u8 = 0;
    loop {
        match options {
            [PAD, rest @ ..] => options = rest,
            [END, ..] | [] | [_] => return None,
            [this, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if *this == name {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
}

/// An address that is one: all zeros stand for none.
fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = bytes.try_into().ok()?;
    Some(Ipv4Addr::from(bytes)).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::new("10.41.73.1/24".parse().expect("sound"))
    }

    fn message(client: u8, kind: u8, more: &[u8]) -> Vec<u8> {
        let mut message = vec![0; FIXED];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(&[0xca, 0xfe, 0, client]);
        message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, client]);
        message[236..].copy_from_slice(&COOKIE);
        message.extend([0, KIND, 1, kind]);
        message.extend(more);
        message.push(END);
        message
    }

    /// Kind and address of an answer.
    fn told(answer: &[u8]) -> (u8, Ipv4Addr) {
        let kind = option(&answer[FIXED..], KIND).expect("a kind")[0];
        (kind, Ipv4Addr::from(<[u8; 4]>::try_from(&answer[16..20]).expect("four")))
    }

    #[test]
    fn an_address_is_offered_and_given_with_everything() {
        let (mut server, now) = (server(), Instant::now());
        let offer = server.answer(&message(7, DISCOVER, &[]), now).expect("an offer");
        assert_eq!(told(&offer), (OFFER, Ipv4Addr::new(10, 41, 73, 10)));
        let wants = [WANTED, 4, 10, 41, 73, 10, SERVER, 4, 10, 41, 73, 1];
        let given = server.answer(&message(7, REQUEST, &wants), now).expect("an answer");
        assert_eq!(told(&given), (ACK, Ipv4Addr::new(10, 41, 73, 10)));
        let of = |name| option(&given[FIXED..], name).expect("there").to_vec();
        assert_eq!((of(MASK), of(ROUTER)), (vec![255, 255, 255, 0], vec![10, 41, 73, 1]));
        assert_eq!((of(NAME_SERVER), of(SECONDS)), (vec![10, 41, 73, 1], vec![0, 0, 2, 88]));
        assert!(given.len() >= SHORTEST && given[4..8] == [0xca, 0xfe, 0, 7] && given[28..34] == [2, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn who_comes_from_another_network_or_wants_what_is_taken_is_refused() {
        let (mut server, now) = (server(), Instant::now());
        let elsewhere = server.answer(&message(1, REQUEST, &[WANTED, 4, 192, 168, 1, 5]), now).expect("an answer");
        assert_eq!(told(&elsewhere), (NAK, Ipv4Addr::UNSPECIFIED));
        let taken = server.answer(&message(2, REQUEST, &[WANTED, 4, 10, 41, 73, 10]), now).expect("an answer");
        assert_eq!(told(&taken).0, NAK);
        let other_server = [WANTED, 4, 10, 41, 73, 11, SERVER, 4, 10, 41, 73, 2];
        assert_eq!(server.answer(&message(2, REQUEST, &other_server), now), None);
    }

    #[test]
    fn a_lease_ends_and_a_full_pool_is_silent() {
        let (mut server, now) = (server(), Instant::now());
        let size = POOL.count();
        for client in 0..size {
            let client = u8::try_from(client).expect("small");
            assert!(server.answer(&message(client, DISCOVER, &[]), now).is_some(), "{client}");
        }
        assert_eq!(server.answer(&message(255, DISCOVER, &[]), now), None);
        let later = server.answer(&message(255, DISCOVER, &[]), now + LEASE).expect("free again");
        assert_eq!(told(&later).1, Ipv4Addr::new(10, 41, 73, 10));
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_it_panic_and_no_address_is_given_twice(
            messages in proptest::collection::vec((0_u8..20, 1_u8..9, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)), 0..60)
        ) {
            let (mut server, now) = (server(), Instant::now());
            let mut given = BTreeMap::new();
            for (client, kind, more) in messages {
                let Some(answer) = server.answer(&message(client, kind, &more), now) else { continue };
                if let (ACK, address) = told(&answer) {
                    let owner = *given.entry(address).or_insert(client);
                    proptest::prop_assert!(owner == client || !server.leases.contains_key(&[2, 0, 0, 0, 0, owner]));
                    proptest::prop_assert!(POOL.contains(&address.octets()[3]));
                    given.insert(address, client);
                }
            }
            for length in 0..FIXED + 4 {
                let _ = server.answer(&message(1, DISCOVER, &[])[..length], now);
            }
        }
    }
}
