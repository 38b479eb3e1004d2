//! Answering every question for a name with the own address, so that whoever opens any page in the own network sees the
//! set-up (RFC 1035). Pure: a question in, an answer out.

use std::net::Ipv4Addr;

/// The header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
const A: u16 = 1;
const INTERNET: u16 = 1;
/// How long the answer is remembered, in seconds: not longer than the set-up takes.
const LIFETIME: u32 = 5;

/// What is answered; nothing to what is no question.
pub(crate) fn answer(message: &[u8], own: Ipv4Addr) -> Option<Vec<u8>> {
    let header = message.first_chunk::<HEADER>()?;
    let is_query = header[2] & 0xf8 == 0;
    if !is_query || header[4..6] != [0, 1] {
        return None;
    }
    let end = name_end(message, HEADER)?;
    let question = message.get(HEADER..end + 4)?;
    let number = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let is_address = number(end)? == A && number(end + 2)? == INTERNET;
    let mut answer = header[..2].to_vec();
    // A response, with authority, recursion as it was desired; one question, and one answer where an address is asked for.
    answer.extend([0x84 | (header[2] & 1), 0, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        // The name stands at offset 12 (4.1.4).
        answer.extend([0xc0, 12, 0, 1, 0, 1]);
        answer.extend(LIFETIME.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(own.octets());
    }
    Some(answer)
}

/// Where the name that begins at `at` ends. In a question it is not compressed.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 41, 73, 1);

    fn question(kind: u8) -> Vec<u8> {
        let header = [0xca, 0xfe, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&header[..], b"\x07example\x03com\x00", &[0, kind, 0, 1]].concat()
    }

    #[test]
    fn every_name_is_this_machine() {
        let answer = answer(&question(1), OWN).expect("an answer");
        assert_eq!(&answer[..8], [0xca, 0xfe, 0x85, 0, 0, 1, 0, 1]);
        assert_eq!(&answer[answer.len() - 16..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 41, 73, 1]);
    }

    #[test]
    fn what_is_asked_beside_an_address_has_no_answer() {
        let answer = answer(&question(28), OWN).expect("an answer");
        assert_eq!((&answer[6..8], answer.len()), (&[0, 0][..], question(28).len()));
    }

    #[test]
    fn what_is_no_question_is_passed_over() {
        let mut response = question(1);
        response[2] |= 0x80;
        assert_eq!(answer(&response, OWN), None);
        for length in 0..question(1).len() {
            assert_eq!(answer(&question(1)[..length], OWN), None, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = answer(&bytes, OWN);
        }
    }
}
