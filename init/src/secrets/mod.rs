//! The secrets store: values that the owner gives, encrypted at rest, handed to the Arcs that are granted them.
//!
//! | module | what it is |
//! | --- | --- |
//! | `file` | the encrypted file: names, values and times in one piece |
//! | `keeper` | who keeps its key: a TPM, or a file |
//! | `tpm` | the five commands of a TPM 2.0 that this takes |
//! | `import` | `[secrets]` of `llmbasedos.toml`: moved here, and scrubbed there |
//!
//! What is in memory for longer than a call is the file as it lies on the disk, its key, and the names. A value is
//! decrypted when it is asked for, into memory that is wiped when it is dropped.

mod file;
mod import;
mod keeper;
mod tpm;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};

use spec::Name;
use spec::control::SECRET_MAX;
use spec::redaction::Fingerprints;
use zeroize::{Zeroize, Zeroizing};

use crate::layout::{create_folder, write_private};
pub(crate) use import::{Imported, import};
use keeper::{Key, KeyError, KeyKeeper};

/// Where the TPM of a machine is, with the kernel's resource manager before it.
pub(crate) const TPM: &str = "/dev/tpmrm0";
const STORE: &str = "store";

/// The value of a secret: never shown, and wiped out of memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over a value.
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The value itself: not for messages.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Why the store does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("{}: cannot be {step}: {source}", path.display())]
    Io { path: PathBuf, step: &'static str, source: io::Error },
    #[error("{}: is not a secrets store of this version of llmbasedos", .0.display())]
    Form(PathBuf),
    #[error("{}: cannot be decrypted: it is damaged, or its key is another one", .0.display())]
    Cipher(PathBuf),
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{}: its key is gone: there is neither {} nor {}", store.display(), KeyKeeper::SEALED, KeyKeeper::PLAIN)]
    NoKey { store: PathBuf },
    #[error(
        "{0}\nwhat is in the store is lost unless that is mended: put the key back and restart, or set each secret again \
         with `luca-run secret set NAME`; the old store is then kept as store.unreadable"
    )]
    Locked(String),
    #[error("there is no secret {0}{hint}", hint = .1)]
    Unknown(Name, String),
    #[error("a secret has 1 to {} KiB", SECRET_MAX / 1024)]
    Size,
    #[error("the store is full: delete a secret that nothing needs (`luca-run secret list`)")]
    Full,
}

impl SecretsError {
    fn io(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, step, source }
    }
}

enum State {
    /// There is no store yet.
    Empty,
    Open {
        key: Key,
        /// The file as it lies on the disk.
        sealed: Vec<u8>,
        names: BTreeMap<Name, u64>,
    },
    /// There is one that cannot be read, and why.
    Locked(String),
}

/// The secrets store.
pub(crate) struct Secrets {
    folder: PathBuf,
    tpm: Option<PathBuf>,
    state: State,
    /// Set when something is to be said that is no reason to fail.
    remark: Option<String>,
}

impl Secrets {
    /// Opens the store in `folder`, where there is one. A key that is made is sealed in the TPM `tpm`, where there is
    /// one. A store that cannot be read stays as it is, and each call says why ([`Secrets::trouble`]).
    pub(crate) fn open(folder: PathBuf, tpm: Option<&Path>) -> Self {
        let tpm = tpm.filter(|device| device.exists()).map(Path::to_owned);
        let mut secrets = Self { folder, tpm, state: State::Empty, remark: None };
        secrets.state = secrets.read().unwrap_or_else(|error| State::Locked(error.to_string()));
        secrets
    }

    fn read(&self) -> Result<State, SecretsError> {
        let path = self.store();
        let sealed = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Empty),
            other => other.map_err(SecretsError::io(&path, "read"))?,
        };
        let keeper = KeyKeeper::there(&self.folder, self.tpm.as_deref());
        let keeper = keeper.ok_or_else(|| SecretsError::NoKey { store: path.clone() })?;
        let key = keeper.key().map_err(|source| SecretsError::Key { path: keeper.path().to_owned(), source })?;
        let plain = file::open(&path, &sealed, &key)?;
        let names = file::entries(&plain).map(|entry| (entry.name, entry.set_ms)).collect();
        Ok(State::Open { key, sealed, names })
    }

    fn store(&self) -> PathBuf {
        self.folder.join(STORE)
    }

    /// Why the store cannot be read, where that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &self.state {
            State::Locked(why) => Some(SecretsError::Locked(why.clone()).to_string()),
            _ => None,
        }
    }

    /// What is to be said since this was asked last.
    pub(crate) fn take_remark(&mut self) -> Option<String> {
        self.remark.take()
    }

    /// The value of a secret.
    ///
    /// # Errors
    /// There is none of that name, or the store cannot be read.
    pub(crate) fn get(&self, name: &Name) -> Result<Secret, SecretsError> {
        let plain = self.plain()?;
        let found = plain.as_ref().and_then(|plain| file::entries(plain).find(|entry| entry.name == *name));
        let found = found.map(|entry| Secret::new(Zeroizing::new(entry.value.to_vec())));
        found.ok_or_else(|| self.unknown(name))
    }

    /// Sets a secret. A store that cannot be read is put aside first, and a new one begun.
    ///
    /// # Errors
    /// It could not be written; what was there before still is.
    pub(crate) fn set(&mut self, name: &Name, value: &Secret, now_ms: u64) -> Result<(), SecretsError> {
        if !(1..=SECRET_MAX).contains(&value.bytes().len()) {
            return Err(SecretsError::Size);
        }
        self.put_aside()?;
        self.write(name, Some((value, now_ms)))
    }

    /// Forgets a secret. Answers when it was set.
    ///
    /// # Errors
    /// There is none of that name, or the store cannot be written.
    pub(crate) fn delete(&mut self, name: &Name) -> Result<u64, SecretsError> {
        let set_ms = self.names()?.get(name).copied();
        let set_ms = set_ms.ok_or_else(|| self.unknown(name))?;
        self.write(name, None)?;
        Ok(set_ms)
    }

    /// The names of all, each with when it was set, in milliseconds since 1970.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn names(&self) -> Result<BTreeMap<Name, u64>, SecretsError> {
        match &self.state {
            State::Empty => Ok(BTreeMap::new()),
            State::Open { names, .. } => Ok(names.clone()),
            State::Locked(why) => Err(SecretsError::Locked(why.clone())),
        }
    }

    /// By what all values are found in texts, and the secrets of which some lines are not looked for, for there are too
    /// many; of none where the store cannot be read.
    pub(crate) fn fingerprints(&self, key: &[u8; 32]) -> (Fingerprints, Vec<Name>) {
        let mut prints = Fingerprints::new(*key);
        let left_out = self.add_fingerprints(&mut prints);
        wipe_stack();
        (prints, left_out)
    }

    #[inline(never)]
    fn add_fingerprints(&self, prints: &mut Fingerprints) -> Vec<Name> {
        let Ok(Some(plain)) = self.plain() else { return Vec::new() };
        file::entries(&plain).filter(|entry| !prints.add(entry.value)).map(|entry| entry.name).collect()
    }

    fn plain(&self) -> Result<Option<Zeroizing<Vec<u8>>>, SecretsError> {
        match &self.state {
            State::Empty => Ok(None),
            State::Open { key, sealed, .. } => file::open(&self.store(), sealed, key).map(Some),
            State::Locked(why) => Err(SecretsError::Locked(why.clone())),
        }
    }

    fn unknown(&self, name: &Name) -> SecretsError {
        let names = self.names().unwrap_or_default();
        SecretsError::Unknown(name.clone(), spec::close_to(name.as_str(), names.keys().map(Name::as_str)))
    }

    fn put_aside(&mut self) -> Result<(), SecretsError> {
        if !matches!(self.state, State::Locked(_)) {
            return Ok(());
        }
        for name in [STORE, KeyKeeper::SEALED, KeyKeeper::PLAIN] {
            let path = self.folder.join(name);
            if path.exists() {
                fs::rename(&path, free_place(&path)).map_err(SecretsError::io(&path, "put aside"))?;
            }
        }
        self.state = State::Empty;
        Ok(())
    }

    /// Writes the store anew with `name` set to something else, or without it.
    fn write(&mut self, name: &Name, value: Option<(&Secret, u64)>) -> Result<(), SecretsError> {
        create_folder(&self.folder).map_err(SecretsError::io(&self.folder, "made"))?;
        let key = match &self.state {
            State::Open { key, .. } => key.clone(),
            _ => self.new_key()?,
        };
        let before = self.plain()?.unwrap_or_default();
        let path = self.store();
        let sealed = file::seal(&path, &key, &before, name, value)?;
        write_private(&path, &sealed).map_err(SecretsError::io(&path, "written"))?;
        let mut names = self.names().unwrap_or_default();
        match value {
            Some((_, now_ms)) => drop(names.insert(name.clone(), now_ms)),
            None => drop(names.remove(name)),
        }
        self.state = State::Open { key, sealed, names };
        Ok(())
    }

    /// The key of a store that is to be made: one that is there, or a new one.
    fn new_key(&mut self) -> Result<Key, SecretsError> {
        if let Some(Ok(key)) = KeyKeeper::there(&self.folder, self.tpm.as_deref()).map(|keeper| keeper.key()) {
            return Ok(key);
        }
        let made = KeyKeeper::make(&self.folder, self.tpm.as_deref());
        let (key, remark) = made.map_err(|source| SecretsError::Key { path: self.folder.clone(), source })?;
        self.remark = remark;
        Ok(key)
    }
}

/// `store.unreadable`, or with a number where that is taken.
fn free_place(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let places = (1..).map(|number| match number {
        1 => path.with_file_name(format!("{name}.unreadable")),
        number => path.with_file_name(format!("{name}.unreadable.{number}")),
    });
    places.into_iter().find(|place| !place.exists()).unwrap_or_else(|| path.to_owned())
}

/// Overwrites what functions that have returned left on the stack: a hash function keeps the block that it works on there.
#[inline(never)]
fn wipe_stack() {
    let mut stack = [0_u8; 64 * 1024];
    stack.zeroize();
    black_box(&stack);
}

#[cfg(test)]
mod tests;
