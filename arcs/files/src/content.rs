//! Content as callers write it: text, or bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How content is written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Encoding {
    /// UTF-8 text.
    #[default]
    Text,
    /// Any bytes, in base64 (RFC 4648, with padding).
    Base64,
}

impl Encoding {
    /// The bytes that `content` stands for.
    pub(crate) fn decode(self, content: String) -> Result<Vec<u8>, String> {
        match self {
            Self::Text => Ok(content.into_bytes()),
            Self::Base64 => STANDARD.decode(content).map_err(|error| format!("must be base64: {error}")),
        }
    }

    /// `bytes` as content; `None` where they are not text and should be.
    pub(crate) fn encode(self, bytes: Vec<u8>) -> Option<String> {
        match self {
            Self::Text => String::from_utf8(bytes).ok(),
            Self::Base64 => Some(STANDARD.encode(bytes)),
        }
    }
}
