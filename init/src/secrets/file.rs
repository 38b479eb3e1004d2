//! The encrypted file: names, values and times in one piece.
//!
//! | bytes | what |
//! | --- | --- |
//! | 30 | the header, which says the version; not encrypted, and authenticated |
//! | 24 | the nonce, random for each time that the file is written |
//! | 16 | the tag (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha) |
//! | the rest | encrypted: for each secret the length of its name (1 byte), the name, when it was set in milliseconds since 1970 (8), the length of its value (4), the value; numbers little-endian |

use std::fs::File;
use std::io::Read;
use std::path::Path;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use spec::Name;
use zeroize::Zeroizing;

use super::keeper::Key;
use super::{Secret, SecretsError};

const HEADER: &[u8; 30] = b"llmbasedos secrets, version 1\n";
const NONCE: usize = 24;
const TAG: usize = 16;
/// What all secrets together may take.
const LARGEST: usize = 1 << 20;

/// One secret in the decrypted part.
pub(super) struct Entry<'p> {
    pub(super) name: Name,
    pub(super) set_ms: u64,
    pub(super) value: &'p [u8],
}

/// Decrypts a file, whose path is for messages.
pub(super) fn open(path: &Path, sealed: &[u8], key: &Key) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let form = || SecretsError::Form(path.to_owned());
    let rest = sealed.strip_prefix(HEADER).ok_or_else(form)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or_else(form)?;
    let (tag, encrypted) = rest.split_first_chunk::<TAG>().ok_or_else(form)?;
    let mut plain = Zeroizing::new(encrypted.to_vec());
    let opened = cipher(key).decrypt_inout_detached(
        &XNonce::from(*nonce),
        HEADER,
        plain.as_mut_slice().into(),
        &Tag::from(*tag),
    );
    opened.map_err(|_| SecretsError::Cipher(path.to_owned()))?;
    Ok(plain)
}

/// The secrets of a decrypted part.
pub(super) fn entries(plain: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = plain;
    std::iter::from_fn(move || {
        let (entry, after) = first(rest)?;
        rest = after;
        Some(entry)
    })
}

fn first(rest: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (length, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (set_ms, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let name = std::str::from_utf8(name).ok()?.parse().ok()?;
    Some((Entry { name, set_ms: u64::from_le_bytes(*set_ms), value }, rest))
}

/// Encrypts a decrypted part with `name` set to something else, or without it.
pub(super) fn seal(
    path: &Path,
    key: &Key,
    before: &[u8],
    name: &Name,
    value: Option<(&Secret, u64)>,
) -> Result<Vec<u8>, SecretsError> {
    let added = value.map_or(0, |(value, _)| 1 + name.as_str().len() + 12 + value.bytes().len());
    // Never moved while it is filled: what is left behind would not be wiped.
    let mut plain = Zeroizing::new(Vec::with_capacity(before.len() + added));
    entries(before).filter(|entry| entry.name != *name).for_each(|entry| push(&mut plain, &entry));
    if let Some((value, set_ms)) = value {
        push(&mut plain, &Entry { name: name.clone(), set_ms, value: value.bytes() });
    }
    if plain.len() > LARGEST {
        return Err(SecretsError::Full);
    }
    let mut nonce = [0; NONCE];
    random(&mut nonce).map_err(SecretsError::io(Path::new("/dev/urandom"), "read"))?;
    let sealed = cipher(key).encrypt_inout_detached(&XNonce::from(nonce), HEADER, plain.as_mut_slice().into());
    let tag = sealed.map_err(|_| SecretsError::Cipher(path.to_owned()))?;
    Ok([HEADER.as_slice(), &nonce, &tag, &plain].concat())
}

/// The lengths were checked where name and value were made.
fn push(plain: &mut Vec<u8>, entry: &Entry<'_>) {
    let name = entry.name.as_str();
    plain.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    plain.extend_from_slice(name.as_bytes());
    plain.extend_from_slice(&entry.set_ms.to_le_bytes());
    plain.extend_from_slice(&u32::try_from(entry.value.len()).unwrap_or(u32::MAX).to_le_bytes());
    plain.extend_from_slice(entry.value);
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

/// Fills `bytes` from the kernel's random source.
pub(super) fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}
