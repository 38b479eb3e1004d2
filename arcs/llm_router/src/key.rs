//! API keys: read from a file or handed over as a secret, sent in a header, found in what comes back, and shown nowhere.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kit::Name;
use reqwest::header::HeaderValue;

/// No key that is in use is longer.
const MAX_BYTES: u64 = 8 << 10;

/// Anything shorter is no secret, and would be found by chance in what a model says.
const MIN_BYTES: usize = 8;

/// An API key.
pub(crate) struct Key(String);

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("key_file {path} cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("key_file {path} must hold the key alone: {MIN_BYTES} to {MAX_BYTES} visible ASCII characters in one line")]
    NotAKey { path: String },
    #[error(
        "the secret {name} is not there ({source}): grant it with secrets = [\"{name}\"] in [grants.llm_router] of \
         llmbasedos.toml, set it with `luca-run secret set {name}`, and restart llm_router"
    )]
    NoSecret { name: Name, source: std::io::Error },
    #[error("the secret {0} must be the key alone: {MIN_BYTES} to {MAX_BYTES} visible ASCII characters in one line")]
    NotASecretKey(Name),
}

impl Key {
    /// Reads a key from the file at `path`. Says so in the log where others than the owner may read that file.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let shown = path.display().to_string();
        let (bytes, mode) = content(path).map_err(|source| KeyError::Unreadable { path: shown.clone(), source })?;
        if mode & 0o077 != 0 {
            tracing::warn!("others may read key_file {shown} (mode {:o}): run `chmod 600 {shown}`", mode & 0o777);
        }
        Self::parse(&bytes).ok_or(KeyError::NotAKey { path: shown })
    }

    /// Reads the key that the Arc was handed as the secret `name`, at `path`.
    pub(crate) fn of_secret(name: &Name, path: &Path) -> Result<Self, KeyError> {
        let (bytes, _) = content(path).map_err(|source| KeyError::NoSecret { name: name.clone(), source })?;
        Self::parse(&bytes).ok_or_else(|| KeyError::NotASecretKey(name.clone()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        let is_key =
            text.len() >= MIN_BYTES && bytes.len() as u64 <= MAX_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        is_key.then(|| Self(text.to_owned()))
    }

    /// `prefix` and the key, marked so that no library shows it.
    pub(crate) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether `text` gives the key away.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        text.contains(&self.0)
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The beginning of a file, a byte more than a key may have, and the file's mode.
fn content(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes, mode))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Key, KeyError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, content).expect("written");
        Key::read(&path)
    }

    #[test]
    fn the_line_end_is_not_part_of_the_key() {
        let key = read(b"sk-secret-1\n").expect("a key");
        assert!(key.is_in("Bearer sk-secret-1!") && !key.is_in("sk-secret-2"));
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert_eq!(format!("{:?}", key.header("Bearer ").expect("a header")), "Sensitive");
    }

    #[test]
    fn a_secret_that_is_not_there_says_how_it_gets_there() {
        let name: Name = "openai".parse().expect("a name");
        let message = Key::of_secret(&name, Path::new("/nowhere/openai")).expect_err("none").to_string();
        assert!(message.contains("[grants.llm_router]") && message.contains("luca-run secret set openai"), "{message}");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("openai"), "sk-secret-1").expect("written");
        assert!(Key::of_secret(&name, &folder.path().join("openai")).is_ok());
    }

    #[test]
    fn what_is_no_key_is_told_without_its_content() {
        for content in [&b""[..], b"short", b"two\nlines-of-it", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff", &[b'a'; 9000]]
        {
            let message = read(content).expect_err("no key").to_string();
            assert!(message.contains("must hold the key alone") && !message.contains("lines"), "{message}");
        }
    }
}
