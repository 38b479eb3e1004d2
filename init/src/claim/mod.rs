//! Whose an appliance is: nobody's until somebody enters its set-up code, and from then on theirs who have the token that
//! this gave.
//!
//! ```text
//!            the right code                    the token is shown
//! Open ──────────────────────▶ Given ──────────────────────────▶ Claimed
//!   ▲   a token is made, the      │                                  │
//!   │   code is void              │ the machine starts again:        │ a new code is asked for, or the
//!   └─────────────────────────────┴ nobody may have seen the token   ┴ owner's file has another one
//! ```
//!
//! Each arrow is one file that is replaced whole, before anybody is told of it. So a power cut never leaves two who have
//! claimed the machine: the code is void before the token is sent. And it never leaves none: where the machine cannot know
//! that the token arrived it has a new code after the next start, and that token is void. In `Open` with a token, the
//! owner is who had it before, until somebody claims the machine anew.

mod record;
mod tries;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use spec::control::Ownership;
use spec::{GatewaySettings, SetupCode, Token};

use crate::sys::Millis;
use record::Record;
use tries::Tries;

/// Base 32 without what is mistaken for something else when it is typed (Crockford's).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Five bits each: 130.
const TOKEN_LENGTH: usize = 26;

/// Why somebody has not claimed the machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error(
        "this machine is claimed: its owner can make a new set-up code (system.setup_code, or one in llmbasedos.toml)"
    )]
    NotOpen,
    #[error("this is not the set-up code: it stands on the machine's screen, or in llmbasedos.toml")]
    Wrong,
    #[error("too many wrong codes: try again in {} s", .0.as_secs().max(1))]
    Wait(Duration),
    #[error("the claim cannot be written down, so that it does not count: {0}")]
    Keep(#[source] io::Error),
}

/// Whose the machine is.
pub(crate) struct Claim {
    file: PathBuf,
    record: Record,
    /// The code of `llmbasedos.toml`, unless it was used.
    owners: Option<SetupCode>,
    /// Whether there are tokens in `llmbasedos.toml`.
    has_tokens: bool,
    /// Whether it is known whose the machine is. Where the file could not be read nothing opens and nothing is written.
    is_known: bool,
    tries: Tries,
}

impl Claim {
    /// What is kept in `file`, and what the owner says. A machine that nobody has claimed has a code from now on.
    ///
    /// # Errors
    /// The code could not be kept, or there is no random source: the claim goes on with what there is. Or the file cannot be
    /// read: nobody claims the machine until the next start.
    pub(crate) fn open(file: PathBuf, settings: &GatewaySettings) -> (Self, io::Result<()>) {
        let has_tokens = !settings.tokens.is_empty();
        let mut record = match Record::read(&file) {
            Ok(record) => record,
            Err(error) => {
                let (record, tries) = (Record::default(), Tries::default());
                return (Self { file, record, owners: None, has_tokens, is_known: false, tries }, Err(error));
            }
        };
        if record.is_given {
            // Nobody has shown that token: it may never have arrived.
            let spent = record.spent.filter(|_| !record.is_for_own);
            record = Record { code: record.code, spent, ..Record::default() };
        }
        let owners = settings.setup_code.clone().filter(|code| record.spent.as_ref() != Some(code));
        let mut claim = Self { file, record, owners, has_tokens, is_known: true, tries: Tries::default() };
        let is_nobodys = claim.ownership() == Ownership::Open && claim.code().is_none();
        let made = if is_nobodys { claim.renew().map(drop) } else { Ok(()) };
        (claim, made)
    }

    /// Whose it is. Where that is not known it is as good as claimed: nobody takes it.
    pub(crate) fn ownership(&self) -> Ownership {
        let Record { token, is_given, .. } = &self.record;
        match (self.code(), token) {
            (Some(_), None) if !self.has_tokens => Ownership::Open,
            (Some(_), _) => Ownership::Reopened,
            (None, Some(_)) if *is_given => Ownership::Given,
            (None, Some(_)) => Ownership::Claimed,
            (None, None) if self.has_tokens => Ownership::Settled,
            (None, None) if !self.is_known => Ownership::Claimed,
            (None, None) => Ownership::Open,
        }
    }

    /// Whether it is known whose the machine is.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// The code that opens, and whether it is the owner's own.
    fn code(&self) -> Option<(&SetupCode, bool)> {
        let own = self.record.code.as_ref().map(|code| (code, false));
        self.owners.as_ref().map(|code| (code, true)).or(own)
    }

    /// The code for the screen, where it is one that the machine has made.
    pub(crate) fn shown(&self) -> Option<String> {
        self.code().filter(|(_, is_owners)| !is_owners).map(|(code, _)| code.shown())
    }

    /// The token that a claim gave.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.record.token.as_ref()
    }

    /// What is not for logs.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        let code = self.code().map(|(code, _)| [code.shown(), code.as_str().to_owned()]);
        let token = self.token().map(|token| token.as_str().to_owned());
        code.into_iter().flatten().chain(token)
    }

    /// Somebody has entered a code: answers the token of whoever claims the machine. It counts from now on, and the code
    /// does not.
    ///
    /// # Errors
    /// [`ClaimError`]; the machine is whose it was.
    pub(crate) fn enter(&mut self, entered: &str, now: Millis) -> Result<Token, ClaimError> {
        let (code, is_owners) = self.code().ok_or(ClaimError::NotOpen)?;
        // Also the right code waits: what is answered during the pause would tell.
        self.tries.check(now).map_err(ClaimError::Wait)?;
        if !code.is(entered) {
            self.tries.failed(now);
            return Err(ClaimError::Wrong);
        }
        let spent = if is_owners { Some(code.clone()) } else { self.record.spent.clone() };
        let token = new_token().map_err(ClaimError::Keep)?;
        let record = Record { code: None, token: Some(token.clone()), is_given: true, spent, is_for_own: is_owners };
        self.keep(record).map_err(ClaimError::Keep)?;
        self.owners = None;
        self.tries = Tries::default();
        Ok(token)
    }

    /// The token of the claim was shown: whoever it was given to has it. Answers whether that is news.
    ///
    /// # Errors
    /// It could not be written down.
    pub(crate) fn confirm(&mut self) -> io::Result<bool> {
        if !self.record.is_given {
            return Ok(false);
        }
        self.keep(Record { is_given: false, ..self.record.clone() })?;
        Ok(true)
    }

    /// Makes a new code. Who has the token keeps it until somebody enters the code.
    ///
    /// # Errors
    /// It could not be kept; the code counts until the machine ends. Or there is no random source.
    pub(crate) fn renew(&mut self) -> io::Result<String> {
        self.check_known()?;
        let code = new_code()?;
        let shown = code.shown();
        // The owner's own is not on the screen, which is where the new one will be looked for.
        let spent = self.owners.take().or(self.record.spent.clone());
        let record = Record { code: Some(code), spent, is_for_own: false, ..self.record.clone() };
        self.tries = Tries::default();
        if let Err(error) = self.keep(record.clone()) {
            self.record = record;
            return Err(error);
        }
        Ok(shown)
    }

    /// Makes the code void. What is already void stays so.
    ///
    /// # Errors
    /// The machine has no owner who could come in without one, or it could not be written down.
    pub(crate) fn withdraw(&mut self) -> io::Result<()> {
        if self.ownership() == Ownership::Open {
            return Err(io::Error::other("nobody has claimed this machine, and without one nobody could"));
        }
        let spent = self.owners.clone().or(self.record.spent.clone());
        self.keep(Record { code: None, spent, is_for_own: false, ..self.record.clone() })?;
        self.owners = None;
        Ok(())
    }

    fn check_known(&self) -> io::Result<()> {
        let unknown = || io::Error::other("whose the machine is could not be read at its start: restart it");
        self.is_known.then_some(()).ok_or_else(unknown)
    }

    fn keep(&mut self, record: Record) -> io::Result<()> {
        self.check_known()?;
        record.write(&self.file)?;
        self.record = record;
        Ok(())
    }
}

/// Letters of `alphabet`, each as likely as any other.
fn random_text(alphabet: &[u8], length: usize) -> io::Result<String> {
    let bound = u8::MAX - u8::MAX % u8::try_from(alphabet.len()).map_err(io::Error::other)?;
    let mut source = File::open("/dev/urandom")?;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut random = [0_u8; 32];
        source.read_exact(&mut random)?;
        let letters = random.iter().filter(|byte| **byte < bound);
        let letters = letters.filter_map(|byte| alphabet.get(usize::from(*byte) % alphabet.len()));
        text.extend(letters.take(length - text.len()).map(|&letter| char::from(letter)));
    }
    Ok(text)
}

fn new_code() -> io::Result<SetupCode> {
    random_text(SetupCode::ALPHABET, SetupCode::LENGTH)?.parse().map_err(io::Error::other)
}

fn new_token() -> io::Result<Token> {
    random_text(LETTERS, TOKEN_LENGTH)?.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
