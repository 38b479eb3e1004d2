//! A bound on memory that a manifest names: in bytes, or as a part of the machine's.

use std::str::FromStr;

use toml::de::DeValue;

use crate::document::{Place, TomlValue, from_text};
use crate::values::{ByteSize, InvalidValue};

/// A bound on memory, written `64M`; or `75%` for what shall have more of it on a larger machine, such as a model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBound {
    /// So many bytes.
    Bytes(ByteSize),
    /// So many hundredths of the machine's memory, 1 to 95: something is left to everybody else.
    Percent(u8),
}

/// No part of a machine is less, however small that is, or where nobody knows how large.
const LEAST: u64 = 64 << 20;

impl MemoryBound {
    /// In bytes, on a machine with so much memory.
    #[must_use]
    pub fn of(self, machine: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.0,
            Self::Percent(percent) => (machine / 100).saturating_mul(u64::from(percent)).max(LEAST),
        }
    }
}

impl FromStr for MemoryBound {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let Some(digits) = text.strip_suffix('%') else { return text.parse().map(Self::Bytes) };
        let percent = digits.parse().ok().filter(|percent| (1..=95).contains(percent));
        percent.map(Self::Percent).ok_or_else(|| {
            InvalidValue("a part of the machine's memory must be from 1% to 95%, such as \"75%\"".to_owned())
        })
    }
}

impl TomlValue for MemoryBound {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_grows_with_the_machine_and_bytes_do_not() {
        let bound = |text: &str| text.parse::<MemoryBound>().expect("sound");
        assert_eq!((bound("64M").of(1 << 30), bound("64M").of(64 << 30)), (64 << 20, 64 << 20));
        assert_eq!(bound("75%").of(8_000_000_000), 6_000_000_000);
        assert_eq!((bound("95%").of(u64::MAX) < u64::MAX, bound("1%").of(0)), (true, LEAST));
    }

    #[test]
    fn what_leaves_nothing_to_others_or_is_no_number_is_refused() {
        for text in ["0%", "96%", "100%", "-1%", "%", "7.5%", "75 %"] {
            assert!(text.parse::<MemoryBound>().expect_err(text).0.contains("from 1% to 95%"), "{text}");
        }
        assert!("64X".parse::<MemoryBound>().expect_err("no unit").0.contains("must be a size"));
    }
}
