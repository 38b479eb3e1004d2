//! A bound on memory or on the disk that a manifest names: in bytes, or as a part of what the machine has.

use std::str::FromStr;

use toml::de::DeValue;

use crate::document::{Place, TomlValue, from_text};
use crate::values::{ByteSize, InvalidValue};

/// A bound, written `64M`; or `75%` for what shall have more on a larger machine, such as a model server. A part of it is
/// taken for more than any number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// So many bytes.
    Bytes(ByteSize),
    /// So many hundredths of what the machine has, 1 to 95: something is left to everybody else.
    Percent(u8),
}

impl Bound {
    /// In bytes, on a machine that has so many.
    #[must_use]
    pub fn of(self, all: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.0,
            Self::Percent(percent) => (all / 100).saturating_mul(u64::from(percent)),
        }
    }
}

impl FromStr for Bound {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let Some(digits) = text.strip_suffix('%') else { return text.parse().map(Self::Bytes) };
        let percent = digits.parse().ok().filter(|percent| (1..=95).contains(percent));
        percent.map(Self::Percent).ok_or_else(|| {
            InvalidValue("a part of what the machine has must be from 1% to 95%, such as \"75%\"".to_owned())
        })
    }
}

impl TomlValue for Bound {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_grows_with_the_machine_and_bytes_do_not() {
        let bound = |text: &str| text.parse::<Bound>().expect("sound");
        assert_eq!((bound("64M").of(1 << 30), bound("64M").of(64 << 30)), (64 << 20, 64 << 20));
        assert_eq!(bound("75%").of(8_000_000_000), 6_000_000_000);
        assert!(bound("95%").of(u64::MAX) < u64::MAX);
        assert_eq!(bound("2G").max(bound("1%")), bound("1%"));
    }

    #[test]
    fn what_leaves_nothing_to_others_or_is_no_number_is_refused() {
        for text in ["0%", "96%", "100%", "-1%", "%", "7.5%", "75 %"] {
            assert!(text.parse::<Bound>().expect_err(text).0.contains("from 1% to 95%"), "{text}");
        }
        assert!("64X".parse::<Bound>().expect_err("no unit").0.contains("must be a size"));
    }
}
