//! The set-up code by which somebody claims a machine that is nobody's yet.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use toml::de::DeValue;
use zeroize::Zeroizing;

use crate::document::{Place, TomlValue, from_text};
use crate::values::InvalidValue;

/// A set-up code: 6 to 32 letters and digits. How it is written does not count: neither case, hyphens nor spaces.
#[derive(Clone, PartialEq, Eq)]
pub struct SetupCode(Zeroizing<String>);

impl SetupCode {
    /// What the codes that machines make consist of: nothing that is taken for something else on a screen (0 and O, 1, I
    /// and L, U and V).
    pub const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
    /// How long these are: 8 of 30 are 39 bits.
    pub const LENGTH: usize = 8;

    /// The code without hyphens: not for messages.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code as it stands on a screen, in two halves: `7KQM-4XPD`.
    #[must_use]
    pub fn shown(&self) -> String {
        let (first, second) = self.0.split_at(self.0.len().div_ceil(2));
        format!("{first}-{second}")
    }

    /// Whether somebody has entered this one, in a time that does not depend on where what was entered is wrong.
    #[must_use]
    pub fn is(&self, entered: &str) -> bool {
        let entered = plain(entered);
        let differ =
            self.0.bytes().zip(entered.bytes()).fold(0, |differ, (one, other)| black_box(differ | (one ^ other)));
        self.0.len() == entered.len() && differ == 0
    }
}

/// Without what does not count. A code is at most 32 characters: what is much longer is none.
fn plain(text: &str) -> Zeroizing<String> {
    let counts = |letter: &char| !matches!(letter, '-' | ' ');
    Zeroizing::new(text.chars().take(100).filter(counts).map(|letter| letter.to_ascii_uppercase()).collect())
}

impl FromStr for SetupCode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let code = plain(text);
        let sound = (6..=32).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let rule = "must be 6 to 32 letters and digits, with hyphens between them as you like (it is not shown here)";
        if sound && text.len() <= 100 { Ok(Self(code)) } else { Err(InvalidValue(rule.to_owned())) }
    }
}

impl fmt::Debug for SetupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetupCode(not shown)")
    }
}

impl TomlValue for SetupCode {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_code_is_written_does_not_count() {
        let code: SetupCode = "7kqm-4xpd".parse().expect("a code");
        for entered in ["7KQM-4XPD", "7KQM4XPD", " 7kqm 4xpd ", "7-K-Q-M-4-X-P-D"] {
            assert!(code.is(entered), "{entered}");
        }
        for entered in ["", "7KQM-4XPE", "8KQM-4XPD", "7KQM-4XP", "7KQM-4XPDD", "7KQM_4XPD", "\u{ff17}KQM4XPD"] {
            assert!(!code.is(entered), "{entered}");
        }
        assert_eq!(code.shown(), "7KQM-4XPD");
        assert_eq!(format!("{code:?}"), "SetupCode(not shown)");
    }

    #[test]
    fn a_code_is_long_enough_and_can_be_typed() {
        for sound in ["7KQ-M4X", "abc123", "An-Owners-Own-Code-2026"] {
            sound.parse::<SetupCode>().expect(sound);
        }
        for wrong in ["", "-----", "12345", "a code!", "gr\u{fc}ngelb", &"x".repeat(33), &"-".repeat(200)] {
            assert!(wrong.parse::<SetupCode>().is_err(), "{wrong}");
        }
    }
}
