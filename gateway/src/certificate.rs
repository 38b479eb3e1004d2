//! The certificate of the gateway's door for TLS: made by the machine itself at its first start, and kept.
//!
//! Nobody else vouches for it. A browser asks its user once, and knows it from then on; who looks at the machine's screen
//! can compare its SHA-256. So it stays the same as long as it can: it is made anew, for the same key, where the machine
//! has another name or it is about to run out. Both lie in one file in the gateway's own folder, which is in no other cage.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The file, in the gateway's own folder.
const FILE: &str = "certificate.json";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What Apple's systems take at the most, 825 days (<https://support.apple.com/103769>), with a day for a clock that is
/// behind.
const VALID: Duration = Duration::from_secs(823 * 24 * 60 * 60);
/// A certificate that runs out within this is made anew at the next start.
const RENEWED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{}: cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot be made")]
    Make(#[from] rcgen::Error),
    #[error("there is no random source")]
    Random,
    #[error("cannot be used")]
    Use(#[from] rustls::Error),
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The name of the machine that it is for.
    host_name: String,
    /// From when to when it is valid, in seconds since 1970.
    from: u64,
    until: u64,
    /// X.509, in DER.
    certificate: Vec<u8>,
    /// PKCS #8, in DER.
    key: Vec<u8>,
}

/// A certificate and its key.
pub(crate) struct Certificate(Kept);

impl Certificate {
    /// The one that is kept in `folder`, or a new one that is kept from now on.
    ///
    /// # Errors
    /// It cannot be made. One that cannot be kept is answered with why.
    pub(crate) fn of_machine(
        folder: &Path,
        host_name: &str,
        now: SystemTime,
    ) -> Result<(Self, Option<CertificateError>), CertificateError> {
        let path = folder.join(FILE);
        // What is broken was cut short by somebody's hand, and is as good as none.
        let kept: Option<Kept> = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_good = |kept: &Kept| {
            let is_valid = kept.from <= now.as_secs() && (now + RENEWED).as_secs() < kept.until;
            kept.host_name == host_name && is_valid && key(&kept.key).is_ok()
        };
        match kept {
            Some(kept) if is_good(&kept) => Ok((Self(kept), None)),
            other => {
                let earlier = other.and_then(|kept| key(&kept.key).ok());
                let made = make(host_name, now, earlier)?;
                let written = write(&path, &made).map_err(|source| CertificateError::Write { path, source });
                Ok((Self(made), written.err()))
            }
        }
    }

    /// Its SHA-256, as browsers show it: `AB:CD:…`.
    pub(crate) fn sha256(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0.certificate);
        let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// How the gateway speaks TLS with it: 1.2 and 1.3, with HTTP/1.1 inside.
    ///
    /// # Errors
    /// Certificate and key do not belong together.
    pub(crate) fn server(self) -> Result<ServerConfig, CertificateError> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.0.key));
        let chain = vec![CertificateDer::from(self.0.certificate)];
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn key(pkcs8: &[u8]) -> Result<KeyPair, rcgen::Error> {
    KeyPair::try_from(pkcs8)
}

/// A certificate for `host_name` and `host_name.local`, valid from the day before.
fn make(host_name: &str, now: Duration, earlier: Option<KeyPair>) -> Result<Kept, CertificateError> {
    let key = earlier.map_or_else(KeyPair::generate, Ok)?;
    let (from, until) = (now.saturating_sub(DAY).as_secs(), (now + VALID).as_secs());
    let names = [format!("{host_name}.local"), host_name.to_owned(), "localhost".to_owned()];
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, format!("{host_name}.local"));
    parameters.distinguished_name.push(DnType::OrganizationName, "llmbasedos: this machine itself");
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Two of one machine must not have the same (RFC 5280, 4.1.2.2): Firefox would never take the second.
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| CertificateError::Random)?;
    parameters.serial_number = Some(serial.to_vec().into());
    parameters.not_before = at(from);
    parameters.not_after = at(until);
    let certificate = parameters.self_signed(&key)?.der().to_vec();
    Ok(Kept { host_name: host_name.to_owned(), from, until, certificate, key: key.serialize_der() })
}

fn at(seconds: u64) -> OffsetDateTime {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Replaces the file, for the gateway alone, so that it is there whole after a power cut.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn of_machine(folder: &Path, name: &str, days: u32) -> Certificate {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000) + DAY * days;
        let (certificate, trouble) = Certificate::of_machine(folder, name, now).expect("made");
        assert!(trouble.is_none(), "{trouble:?}");
        certificate
    }

    #[test]
    fn a_machine_keeps_its_certificate_and_longer_its_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = of_machine(folder.path(), "attic", 0);
        let mode = fs::metadata(folder.path().join(FILE)).expect("kept").permissions().mode();
        assert_eq!((mode & 0o777, first.sha256().len()), (0o600, 32 * 3 - 1));
        let next = of_machine(folder.path(), "attic", 700);
        assert_eq!(next.sha256(), first.sha256());
        for (name, days) in [("cellar", 700), ("cellar", 1600), ("cellar", 100)] {
            let before = of_machine(folder.path(), if days == 700 { "attic" } else { "cellar" }, 700);
            let other = of_machine(folder.path(), name, days);
            assert!(other.sha256() != before.sha256() && other.0.key == first.0.key, "{name} {days}");
            other.server().expect("they belong together");
        }
    }

    #[test]
    fn a_broken_file_is_as_good_as_none_and_a_folder_that_takes_nothing_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = of_machine(folder.path(), "attic", 0);
        fs::write(folder.path().join(FILE), "{\"host_name\":\"attic\"").expect("written");
        let second = of_machine(folder.path(), "attic", 0);
        assert_ne!(second.0.key, first.0.key);
        let nowhere = folder.path().join("no such folder");
        let (_, trouble) = Certificate::of_machine(&nowhere, "attic", SystemTime::now()).expect("made all the same");
        assert!(matches!(trouble, Some(CertificateError::Write { .. })), "{trouble:?}");
    }
}
