//! Who keeps the key of the store: a TPM, which gives it to this machine alone, or a file.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::file::random;
use super::tpm::{Sealed, Tpm, TpmError};
use crate::layout::write_private;

const LENGTH: usize = 32;

/// The key of the store, wiped out of memory when it is dropped.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; LENGTH]>);

impl Key {
    fn of_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(|bytes| Self(Zeroizing::new(bytes))).map_err(|_| KeyError::Form)
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("the key cannot be kept: {0}")]
    Write(#[source] io::Error),
    #[error("is not a key of a secrets store")]
    Form,
    #[error("was sealed by the TPM of a machine, and here is none ({})", super::TPM)]
    NoTpm,
    #[error("the TPM does not give the key: {0}; it was cleared, or it is another machine's")]
    Tpm(#[source] TpmError),
}

/// Who keeps the key.
pub(crate) enum KeyKeeper {
    /// The TPM of this machine: what lies in the file is of no use without it.
    Tpm { device: Option<PathBuf>, sealed: PathBuf },
    /// A file for its owner alone.
    File(PathBuf),
}

impl KeyKeeper {
    /// The name of the file with a key that a TPM sealed.
    pub(crate) const SEALED: &'static str = "key.tpm";
    /// The name of the file with a key.
    pub(crate) const PLAIN: &'static str = "key";

    /// The one who keeps a key in `folder` already.
    pub(super) fn there(folder: &Path, tpm: Option<&Path>) -> Option<Self> {
        let (sealed, plain) = (folder.join(Self::SEALED), folder.join(Self::PLAIN));
        if sealed.exists() {
            return Some(Self::Tpm { device: tpm.map(Path::to_owned), sealed });
        }
        plain.exists().then_some(Self::File(plain))
    }

    /// The file that the key, or what the TPM makes it of, lies in.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Tpm { sealed, .. } => sealed,
            Self::File(path) => path,
        }
    }

    /// The key.
    pub(super) fn key(&self) -> Result<Key, KeyError> {
        let bytes = Zeroizing::new(fs::read(self.path()).map_err(KeyError::Read)?);
        match self {
            Self::File(_) => Key::of_bytes(&bytes),
            Self::Tpm { device, .. } => {
                let device = device.as_deref().ok_or(KeyError::NoTpm)?;
                let sealed = Sealed::of_bytes(&bytes).ok_or(KeyError::Form)?;
                let opened = open(device).and_then(|mut tpm| tpm.unseal(&sealed)).map_err(KeyError::Tpm)?;
                Key::of_bytes(&opened)
            }
        }
    }

    /// Makes a key, and has the TPM keep it where there is one that does. A TPM that fails is told of in the second part:
    /// then a file keeps the key.
    pub(super) fn make(folder: &Path, tpm: Option<&Path>) -> Result<(Key, Option<String>), KeyError> {
        let mut key = Key(Zeroizing::new([0; LENGTH]));
        random(key.0.as_mut_slice()).map_err(KeyError::Read)?;
        let mut remark = None;
        if let Some(device) = tpm {
            match open(device).and_then(|mut tpm| tpm.seal(key.bytes())) {
                Ok(sealed) => {
                    write_private(&folder.join(Self::SEALED), &sealed.to_bytes()).map_err(KeyError::Write)?;
                    return Ok((key, None));
                }
                Err(error) => {
                    remark = Some(format!(
                        "the TPM {} does not keep the key of the secrets: {error}; a file keeps it, {}",
                        device.display(),
                        folder.join(Self::PLAIN).display(),
                    ));
                }
            }
        }
        write_private(&folder.join(Self::PLAIN), key.bytes()).map_err(KeyError::Write)?;
        Ok((key, remark))
    }
}

fn open(device: &Path) -> Result<Tpm<fs::File>, TpmError> {
    let file = OpenOptions::new().read(true).write(true).open(device);
    file.map(Tpm::new).map_err(TpmError::Transport)
}
