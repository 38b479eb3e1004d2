//! Secrets hidden in texts by somebody who does not know them.
//!
//! init alone knows the values. It makes [`Fingerprints`] of them, by which whoever writes texts down can find a value
//! and cannot tell it: of each form of a value its length, 24 bits of a hash of its first 8 bytes, by which a place in a
//! text is suspected, and a keyed digest of all of it, by which the suspicion is confirmed. The key is new at each
//! start of init.
//!
//! Of a value of several lines each line counts by itself, for logs have lines. The forms are the bytes as they are,
//! base64 (both alphabets, wherever the value begins in what was encoded), percent-encoding, and a JSON string. A value
//! or line shorter than [`SHORTEST`] bytes is not looked for: it would be found where it is not meant. One that is split
//! over two lines or two messages is not found.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The shortest value that is looked for, in bytes. The first so many bytes of each form are what suspects it.
pub const SHORTEST: usize = 8;
/// The most fingerprints that there are: the message that carries them stays below half a megabyte. A key of 30 lines has
/// 270 of them.
pub const MOST: usize = 4096;
/// What stands in the place of a secret.
pub const HIDDEN: &str = "[secret]";

/// By which a form of a secret is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint {
    /// 24 bits of a keyed hash of the first [`SHORTEST`] bytes.
    pub begin: u32,
    /// The length, in bytes.
    pub length: u32,
    /// The first half of the keyed BLAKE3 digest of all of it.
    pub digest: [u8; 16],
}

/// By which all secrets are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// What the hashes are keyed with.
    pub key: [u8; 32],
    /// One for each form of each line of each secret, each once.
    pub prints: BTreeSet<Fingerprint>,
}

impl Fingerprints {
    /// Of no secret yet.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, prints: BTreeSet::new() }
    }

    /// Adds those of a secret; answers whether there was room for all of them ([`MOST`]).
    pub fn add(&mut self, value: &[u8]) -> bool {
        let lines = value.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        for line in lines.map(<[u8]>::trim_ascii).filter(|line| line.len() >= SHORTEST) {
            if self.prints.len() >= MOST {
                return false;
            }
            let hash = Hash::new(&self.key);
            forms(line, |form| self.prints.extend(hash.fingerprint(form)));
        }
        true
    }
}

/// Calls `take` with each form in which `line` may be met. None is left in memory.
fn forms(line: &[u8], mut take: impl FnMut(&[u8])) {
    take(line);
    for alphabet in [b"+/", b"-_"] {
        (0..3).for_each(|offset| take(&base64(line, offset, alphabet)));
    }
    take(&percent(line, b"0123456789ABCDEF"));
    take(&percent(line, b"0123456789abcdef"));
    if let Ok(text) = std::str::from_utf8(line) {
        // serde_json writes into what is there; six bytes are the most that one becomes.
        let mut json = Zeroizing::new(Vec::with_capacity(line.len() * 6 + 2));
        if serde_json::to_writer(&mut *json, text).is_ok() {
            take(json.get(1..json.len().saturating_sub(1)).unwrap_or_default());
        }
    }
}

/// What base64 (RFC 4648) makes of `line` where `offset` bytes stand before it, without the characters at both ends that
/// other bytes have a part in.
fn base64(line: &[u8], offset: usize, last_two: &[u8; 2]) -> Zeroizing<Vec<u8>> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |bits: u32| {
        let at = (bits & 63) as usize;
        LETTERS.iter().chain(last_two).nth(at).copied().unwrap_or_default()
    };
    let skipped = [0, 2, 3].get(offset).copied().unwrap_or(0);
    let mut out = Zeroizing::new(Vec::with_capacity(line.len() * 4 / 3 + 4));
    let (mut bits, mut count, mut written) = (0_u32, 0_u32, 0);
    for byte in std::iter::repeat_n(&0, offset).chain(line) {
        bits = (bits << 8 | u32::from(*byte)) & 0xffff;
        count += 8;
        while count >= 6 {
            count -= 6;
            if written >= skipped {
                out.push(letter(bits >> count));
            }
            written += 1;
        }
    }
    out
}

/// `line` percent-encoded but for the unreserved characters of RFC 3986, 2.3.
fn percent(line: &[u8], digits: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(line.len() * 3));
    for &byte in line {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or_default();
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

/// The two hashes.
#[derive(Debug, Clone, Default)]
struct Hash {
    key: [u8; 32],
    odd: u64,
}

impl Hash {
    fn new(key: &[u8; 32]) -> Self {
        let words = key.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { key: *key, odd: words | 1 }
    }

    /// 24 bits of the first 8 bytes: the top of a product, which is where all of them have a part.
    fn begin(&self, window: [u8; SHORTEST]) -> u32 {
        let word = u64::from_le_bytes(window);
        ((word ^ word >> 32).wrapping_mul(self.odd) >> 40) as u32
    }

    fn digest(&self, form: &[u8]) -> [u8; 16] {
        let digest = blake3::keyed_hash(&self.key, form);
        digest.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    fn fingerprint(&self, form: &[u8]) -> Option<Fingerprint> {
        let begin = self.begin(*form.first_chunk()?);
        Some(Fingerprint { begin, length: u32::try_from(form.len()).ok()?, digest: self.digest(form) })
    }
}

/// Finds secrets by their fingerprints and hides them.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    hash: Hash,
    prints: Vec<Fingerprint>,
    /// A bit for the top 16 bits of each `begin`: nearly every place in a text is let go by it.
    suspects: Vec<u64>,
}

impl Redactor {
    /// From what init says.
    #[must_use]
    pub fn new(fingerprints: &Fingerprints) -> Self {
        let mut suspects = vec![0_u64; 1 << 10];
        for print in &fingerprints.prints {
            let (word, bit) = suspicion(print.begin);
            suspects.iter_mut().skip(word).take(1).for_each(|word| *word |= bit);
        }
        Self { hash: Hash::new(&fingerprints.key), prints: fingerprints.prints.iter().copied().collect(), suspects }
    }

    /// `text` with [`HIDDEN`] in the place of each secret.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The same of bytes.
    #[must_use]
    pub fn redact_bytes<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let Some((mut begin, mut length)) = self.find(text, 0) else { return Cow::Borrowed(text) };
        let (mut out, mut done) = (Vec::with_capacity(text.len()), 0);
        loop {
            out.extend_from_slice(text.get(done..begin).unwrap_or_default());
            out.extend_from_slice(HIDDEN.as_bytes());
            done = begin + length;
            match self.find(text, done) {
                Some(next) => (begin, length) = next,
                None => break,
            }
        }
        out.extend_from_slice(text.get(done..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// The next secret at or after `from`, the longest of those that begin there: its place and length.
    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        if self.prints.is_empty() {
            return None;
        }
        let suspects: &[u64; 1 << 10] = self.suspects.as_slice().try_into().ok()?;
        let windows = text.get(from..)?.array_windows::<SHORTEST>().enumerate();
        for (at, window) in windows {
            let begin = self.hash.begin(*window);
            let (word, bit) = suspicion(begin);
            if suspects[word % (1 << 10)] & bit != 0
                && let Some(length) = self.confirm(text.get(from + at..)?, begin)
            {
                return Some((from + at, length));
            }
        }
        None
    }

    #[cold]
    fn confirm(&self, rest: &[u8], begin: u32) -> Option<usize> {
        let first = self.prints.partition_point(|print| print.begin < begin);
        let suspects = self.prints.iter().skip(first).take_while(|print| print.begin == begin);
        let is_it = |print: &&Fingerprint| {
            let form = usize::try_from(print.length).ok().and_then(|length| rest.get(..length));
            form.is_some_and(|form| self.hash.digest(form) == print.digest)
        };
        suspects.filter(is_it).map(|print| print.length as usize).max()
    }
}

/// Where the bit for a `begin` of 24 bits stands.
fn suspicion(begin: u32) -> (usize, u64) {
    let top = begin >> 8;
    ((top >> 6) as usize, 1 << (top & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-very/secret+\"key\"%1";

    fn redactor(secrets: &[&str]) -> Redactor {
        let mut prints = Fingerprints::new(*b"0123456789abcdef0123456789abcdef");
        secrets.iter().for_each(|secret| assert!(prints.add(secret.as_bytes())));
        let sent = serde_json::to_string(&prints).expect("written");
        Redactor::new(&serde_json::from_str(&sent).expect("read"))
    }

    #[test]
    fn a_secret_is_hidden_and_the_rest_stays() {
        let redactor = redactor(&[SECRET, "another-secret\nof two lines"]);
        let text = format!("ä {SECRET}{SECRET} and another-secret, of two lines. sk-very/secret");
        let expected = "ä [secret][secret] and [secret], [secret]. sk-very/secret";
        assert_eq!(redactor.redact(&text), expected);
        assert!(matches!(redactor.redact("nothing here at all"), Cow::Borrowed(_)));
        assert_eq!(redactor.redact("short"), "short");
        assert_eq!(Redactor::default().redact(SECRET), SECRET);
    }

    #[test]
    fn encoded_forms_are_hidden() {
        let redactor = redactor(&[SECRET]);
        // Made with base64(1), python's quote and json.dumps.
        for text in [
            "c2stdmVyeS9zZWNyZXQrImtleSIlMQ==",
            "eHNrLXZlcnkvc2VjcmV0KyJrZXkiJTE=",
            "eHhzay12ZXJ5L3NlY3JldCsia2V5IiUx",
            "sk-very%2Fsecret%2B%22key%22%251",
            "sk-very%2fsecret%2b%22key%22%251",
            r#"sk-very/secret+\"key\"%1"#,
        ] {
            let shown = redactor.redact(text).into_owned();
            assert!(shown.contains(HIDDEN) && shown.len() <= HIDDEN.len() + 6, "{text} {shown}");
        }
    }

    #[test]
    fn what_is_too_short_is_not_looked_for() {
        assert_eq!(redactor(&["seven77"]).redact("seven77"), "seven77");
        assert_eq!(redactor(&["eight888"]).redact("xeight888x"), "x[secret]x");
    }

    #[test]
    fn fingerprints_hold_nothing_of_the_value() {
        let mut prints = Fingerprints::new([7; 32]);
        assert!(prints.add(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        let shown = serde_json::to_string(&prints).expect("written");
        assert!(!shown.contains("97,97,97") && !shown.contains("aaa"), "{shown}");
    }

    /// `cargo test --release -p spec -- --ignored throughput --nocapture`
    #[test]
    #[ignore = "a measurement: for a build with optimisation"]
    fn throughput_with_ten_secrets() {
        let secrets: Vec<String> = (0..10).map(|number| format!("sk-proj-{number}-{}", "Ab3/".repeat(10))).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let redactor = redactor(&secrets);
        let line =
            "2026-11-24T16:05:43.120Z INFO sk-project: GET /v1/chat/completions?model=qwen2.5 200 in 120 ms, 3412 B\n";
        let text = line.repeat(1 << 20);
        let began = std::time::Instant::now();
        assert!(matches!(redactor.redact(&text), Cow::Borrowed(_)));
        let rate = text.len() as f64 / began.elapsed().as_secs_f64() / 1e6;
        eprintln!("{rate:.0} MB/s");
        assert!(rate >= 200.0, "{rate} MB/s");
    }

    #[test]
    fn there_is_a_bound_on_what_is_looked_for() {
        let mut prints = Fingerprints::new([7; 32]);
        let lines: String = (0..5000).map(|number| format!("line number {number}\n")).collect();
        assert!(!prints.add(lines.as_bytes()));
        assert!(prints.prints.len() < MOST + 9);
        assert!(serde_json::to_string(&prints).expect("written").len() < 512 * 1024);
    }

    proptest::proptest! {
        #[test]
        fn a_secret_is_found_wherever_it_stands(
            secret in "[!-~]{8,60}", before in "\\PC{0,30}", after in "\\PC{0,30}",
        ) {
            let redactor = redactor(&[&secret]);
            let shown = redactor.redact(&format!("{before}{secret}{after}")).into_owned();
            proptest::prop_assert!(!shown.contains(&secret), "{}", shown);
            proptest::prop_assert!(shown.contains(HIDDEN));
        }

        #[test]
        fn a_text_without_it_stays_as_it_is(text in "[a-z \\n]{0,300}") {
            let redactor = redactor(&["SECRET-1", "SECRET-OF-ANOTHER-LENGTH"]);
            proptest::prop_assert_eq!(redactor.redact(&text), text.clone());
        }
    }
}
