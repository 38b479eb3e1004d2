//! What a TPM 2.0 is asked: to seal a few bytes so that it alone gives them back, and to give them back.
//!
//! The commands are those of the TCG's "Trusted Platform Module Library", part 3: `TPM2_CreatePrimary`, `TPM2_Create`,
//! `TPM2_Load`, `TPM2_Unseal`, `TPM2_FlushContext`; their structures are in part 2. Numbers are big-endian. A command is
//! a tag, its whole length, its code, handles, the length of its sessions, these, and its parameters; an answer is a tag,
//! its whole length, a code that is zero when all is well, handles, the length of its parameters, these, and sessions.
//!
//! What seals is a storage key of the owner hierarchy, made each time from the same template ("TCG EK Credential Profile",
//! template H-1 of an SRK: ECC P-256, AES-128 CFB): the same TPM makes the same key, until it is cleared. Nothing is kept
//! in the TPM, no password is set, and what is sealed is not bound to what was booted.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

/// TPM_ST_NO_SESSIONS and TPM_ST_SESSIONS (part 2, 6.9).
const PLAIN: u16 = 0x8001;
const WITH_SESSIONS: u16 = 0x8002;
/// TPM_RH_OWNER (part 2, 7.4).
const OWNER: u32 = 0x4000_0001;
/// A TPM refuses longer commands and gives no longer answers (TPM2_MAX_COMMAND_SIZE of most).
const LONGEST: usize = 4096;

/// TPMS_AUTH_COMMAND (part 2, 10.13.2): TPM_RS_PW, no nonce, no attributes, an empty password.
const NO_PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// TPMT_PUBLIC (part 2, 12.2.4) of the storage key.
const STORAGE_KEY: [u8; 26] = [
    0x00, 0x23, // TPM_ALG_ECC
    0x00, 0x0b, // names are made with SHA-256
    0x00, 0x03, 0x04, 0x72, // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt
    0x00, 0x00, // no policy
    0x00, 0x06, 0x00, 0x80, 0x00, 0x43, // AES, 128 bits, CFB
    0x00, 0x10, // no scheme
    0x00, 0x03, // NIST P-256
    0x00, 0x10, // no key derivation
    0x00, 0x00, 0x00, 0x00, // nothing that makes it unique: x and y are empty
];

/// TPMT_PUBLIC of what is sealed.
const SEALED_DATA: [u8; 14] = [
    0x00, 0x08, // TPM_ALG_KEYEDHASH
    0x00, 0x0b, // names are made with SHA-256
    0x00, 0x00, 0x04, 0x52, // fixedTPM, fixedParent, userWithAuth, noDA
    0x00, 0x00, // no policy
    0x00, 0x10, // no scheme
    0x00, 0x00, // nothing that makes it unique
];

/// TPM_CC (part 2, 6.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    CreatePrimary = 0x131,
    Create = 0x153,
    Load = 0x157,
    Unseal = 0x15e,
    FlushContext = 0x165,
}

/// Why a TPM did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TpmError {
    #[error("it cannot be spoken to: {0}")]
    Transport(#[source] io::Error),
    #[error("its answer to {0} makes no sense")]
    Nonsense(&'static str),
    /// TPM_RC (part 2, 6.6).
    #[error("it refuses {command} with code {code:#x}{}", meaning(*code))]
    Refused { command: &'static str, code: u32 },
}

/// What the codes mean that people meet.
fn meaning(code: u32) -> &'static str {
    // A code of format 1 names the parameter or session at fault in other bits (part 2, 6.6.3).
    match if code & 0x80 == 0 { code } else { code & 0xbf } {
        0x9f => " (integrity: it was sealed by another TPM, or before this one was cleared)",
        0xa2 | 0x8e => " (the owner hierarchy has a password)",
        0x921 => " (locked out after too many wrong passwords)",
        0x922 => " (busy: try again)",
        _ => "",
    }
}

/// What a TPM makes of a secret: two structures that are of no use elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Sealed {
    const HEADER: &'static [u8] = b"llmbasedos key sealed by a TPM 2.0, version 1\n";

    /// As it is kept in a file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Self::HEADER.to_vec();
        push_sized(&mut bytes, &self.private);
        push_sized(&mut bytes, &self.public);
        bytes
    }

    /// As it was kept in a file.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(Self::HEADER)?;
        let (private, public) = (sized(&mut rest)?.to_vec(), sized(&mut rest)?.to_vec());
        rest.is_empty().then_some(Self { private, public })
    }
}

/// A TPM at the other end of a device, or of a socket.
pub(crate) struct Tpm<T> {
    transport: T,
}

impl<T: Read + Write> Tpm<T> {
    pub(super) fn new(transport: T) -> Self {
        Self { transport }
    }

    /// Seals a secret of up to 128 bytes (MAX_SYM_DATA).
    ///
    /// # Errors
    /// The TPM cannot be spoken to, or refuses.
    pub(super) fn seal(&mut self, secret: &[u8]) -> Result<Sealed, TpmError> {
        self.with_storage_key(|tpm, storage_key| {
            // TPM2B_SENSITIVE_CREATE: no password, and the secret.
            let mut sensitive = Zeroizing::new(Vec::with_capacity(secret.len() + 4));
            sensitive.extend([0, 0]);
            push_sized(&mut sensitive, secret);
            let parameters = creation(&sensitive, &SEALED_DATA);
            let answer = tpm.call(Command::Create, &[storage_key], Some(&parameters))?;
            let mut rest = answer.parameters.as_slice();
            let (private, public) = (sized(&mut rest).map(<[u8]>::to_vec), sized(&mut rest).map(<[u8]>::to_vec));
            let both = private.zip(public).map(|(private, public)| Sealed { private, public });
            both.ok_or(TpmError::Nonsense("Create"))
        })
    }

    /// Gives back what was sealed.
    ///
    /// # Errors
    /// The TPM cannot be spoken to, or has not sealed this.
    pub(super) fn unseal(&mut self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.with_storage_key(|tpm, storage_key| {
            let mut parameters = Vec::new();
            push_sized(&mut parameters, &sealed.private);
            push_sized(&mut parameters, &sealed.public);
            let loaded = tpm.call(Command::Load, &[storage_key], Some(&parameters))?;
            let object = loaded.handle.ok_or(TpmError::Nonsense("Load"))?;
            let answer = tpm.call(Command::Unseal, &[object], Some(&[]));
            tpm.flush(object);
            let answer = answer?;
            let secret = sized(&mut answer.parameters.as_slice()).map(|secret| Zeroizing::new(secret.to_vec()));
            secret.ok_or(TpmError::Nonsense("Unseal"))
        })
    }

    fn with_storage_key<R>(&mut self, work: impl FnOnce(&mut Self, u32) -> Result<R, TpmError>) -> Result<R, TpmError> {
        let parameters = creation(&[0, 0, 0, 0], &STORAGE_KEY);
        let made = self.call(Command::CreatePrimary, &[OWNER], Some(&parameters))?;
        let key = made.handle.ok_or(TpmError::Nonsense("CreatePrimary"))?;
        let done = work(self, key);
        self.flush(key);
        done
    }

    /// Frees what an object takes in the TPM. One that stays costs room there until the machine restarts, no more.
    fn flush(&mut self, object: u32) {
        let _ = self.call(Command::FlushContext, &[object], None);
    }

    /// One command; with `parameters` it bears a session, as all do here that use an object.
    fn call(&mut self, command: Command, handles: &[u32], parameters: Option<&[u8]>) -> Result<Answer, TpmError> {
        let name = command.name();
        let mut body = Zeroizing::new(Vec::with_capacity(LONGEST));
        handles.iter().for_each(|handle| body.extend(handle.to_be_bytes()));
        if let Some(parameters) = parameters {
            body.extend([0, 0]);
            push_sized(&mut body, &NO_PASSWORD);
            body.extend_from_slice(parameters);
        }
        let tag = if parameters.is_some() { WITH_SESSIONS } else { PLAIN };
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
        bytes.extend(tag.to_be_bytes());
        bytes.extend(u32::try_from(body.len() + 10).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend((command as u32).to_be_bytes());
        bytes.extend_from_slice(&body);
        self.transport.write_all(&bytes).and_then(|()| self.transport.flush()).map_err(TpmError::Transport)?;
        let answer = self.receive(name)?;
        let code = number(answer.get(6..)).ok_or(TpmError::Nonsense(name))?;
        if code != 0 {
            return Err(TpmError::Refused { command: name, code });
        }
        Answer::read(command, answer.get(10..).unwrap_or_default()).ok_or(TpmError::Nonsense(name))
    }

    /// Reads one answer: a device gives it at once, a socket as it comes.
    fn receive(&mut self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let mut bytes = Zeroizing::new(vec![0; LONGEST]);
        let mut length = 0;
        loop {
            let room = bytes.get_mut(length..).unwrap_or_default();
            match self.transport.read(room) {
                Ok(0) => return Err(TpmError::Nonsense(name)),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TpmError::Transport(error)),
            }
            let whole = if length < 10 { None } else { number(bytes.get(2..)) };
            let whole = whole.and_then(|whole| usize::try_from(whole).ok());
            if whole.is_some_and(|whole| length >= whole) {
                bytes.truncate(length);
                return Ok(bytes);
            }
        }
    }
}

struct Answer {
    handle: Option<u32>,
    parameters: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// What follows the code of an answer.
    fn read(command: Command, mut rest: &[u8]) -> Option<Self> {
        let mut handle = None;
        if matches!(command, Command::CreatePrimary | Command::Load) {
            handle = Some(number(Some(rest))?);
            rest = rest.get(4..)?;
        }
        if command == Command::FlushContext {
            return Some(Self { handle, parameters: Zeroizing::default() });
        }
        let length = usize::try_from(number(Some(rest))?).ok()?;
        let parameters = rest.get(4..)?.get(..length)?;
        Some(Self { handle, parameters: Zeroizing::new(parameters.to_vec()) })
    }
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::CreatePrimary => "CreatePrimary",
            Self::Create => "Create",
            Self::Load => "Load",
            Self::Unseal => "Unseal",
            Self::FlushContext => "FlushContext",
        }
    }
}

/// The parameters of CreatePrimary and Create: what is secret, the template, no outside information, no PCRs.
fn creation(sensitive: &[u8], template: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut parameters = Zeroizing::new(Vec::with_capacity(sensitive.len() + template.len() + 10));
    push_sized(&mut parameters, sensitive);
    push_sized(&mut parameters, template);
    parameters.extend([0; 6]);
    parameters
}

/// Adds a TPM2B: a length in two bytes, and so many bytes. All that is sent or was received is below 4 KiB.
fn push_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes a TPM2B off.
fn sized<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (bytes, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(bytes)
}

/// The number that bytes begin with.
fn number(bytes: Option<&[u8]>) -> Option<u32> {
    bytes?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
