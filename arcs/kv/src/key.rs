//! Keys.

use schemars::JsonSchema;
use serde::Deserialize;

/// A key: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline, extend("minLength" = 1, "maxLength" = Key::MAX_BYTES))]
pub(crate) struct Key(String);

impl Key {
    /// redb itself would take more; a key beyond this is a value in the wrong place.
    pub(crate) const MAX_BYTES: usize = 512;

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.len() {
            0 => Err("a key must not be empty".to_owned()),
            1..=Self::MAX_BYTES if text.chars().any(char::is_control) => {
                Err("a key must not have control characters such as a line's end".to_owned())
            }
            1..=Self::MAX_BYTES => Ok(Self(text)),
            length => Err(format!("a key must have at most {} bytes, not {length}", Self::MAX_BYTES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_counted_in_bytes() {
        let key = |text: &str| Key::try_from(text.to_owned()).map_err(|message| message.len() > 10);
        assert!(key("awake:last_run:2026-11-23T06:00:00Z").is_ok());
        assert!(key(&"é".repeat(256)).is_ok());
        for wrong in ["", "a\nb", "a\0b", "\u{7f}", &"é".repeat(257)] {
            assert_eq!(key(wrong), Err(true), "{wrong:?}");
        }
    }
}
