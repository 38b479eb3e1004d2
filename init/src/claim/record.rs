//! What is kept of a claim, in one file that is replaced whole.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::{SetupCode, Token};

use crate::layout::write_private;

/// What is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The code that the machine has made, until somebody enters one.
    pub(super) code: Option<SetupCode>,
    /// The token that was given for a code.
    pub(super) token: Option<Token>,
    /// Whether that token has yet to be shown.
    pub(super) is_given: bool,
    /// The owner's own code that was used last: it opens no more.
    pub(super) spent: Option<SetupCode>,
    /// Whether that token was given for that code, which opens again where nobody has shown the token.
    pub(super) is_for_own: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Form {
    code: Option<String>,
    token: Option<String>,
    is_given: bool,
    spent: Option<String>,
    is_for_own: bool,
}

impl Record {
    /// What the file holds. One that is broken was cut short by somebody's hand, and holds nothing.
    ///
    /// # Errors
    /// It is there and cannot be read: nobody knows whose the machine is.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        let text = match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let form: Form = serde_json::from_slice(&text).unwrap_or_default();
        let code = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let token = form.token.and_then(|text| text.parse().ok());
        let Form { is_given, is_for_own, .. } = form;
        Ok(Self { code: code(form.code), token, is_given, spent: code(form.spent), is_for_own })
    }

    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let code = |code: &Option<SetupCode>| code.as_ref().map(|code| code.as_str().to_owned());
        let token = self.token.as_ref().map(|token| token.as_str().to_owned());
        let Self { is_given, is_for_own, .. } = *self;
        let form = Form { code: code(&self.code), token, is_given, spent: code(&self.spent), is_for_own };
        write_private(file, serde_json::to_string(&form).map_err(io::Error::other)?.as_bytes())
    }
}
