//! TLS to a machine that has made its certificate itself: it is known by the SHA-256 of that certificate and by nothing else.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The SHA-256 of a certificate. Written as 64 hexadecimal digits, with or without a colon after each two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || "must be the 64 digits of the certificate's SHA-256, which the machine shows".to_owned();
        let digits: String = text.chars().filter(|letter| *letter != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut pin = [0; 32];
        for (at, byte) in pin.iter_mut().enumerate() {
            let pair = digits.get(2 * at..2 * at + 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Speaks TLS with who has that certificate, and its key.
///
/// # Errors
/// Somebody else answers, or nobody that speaks TLS.
pub(crate) async fn connect(stream: TcpStream, host: &str, pin: Pin) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let pinned = Pinned { pin, algorithms: provider.signature_verification_algorithms };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(Arc::new(pinned));
    // Its name tells nothing: only the certificate counts.
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config.with_no_client_auth())).connect(name, stream).await
}

#[derive(Debug)]
struct Pinned {
    pin: Pin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
        match digest.as_ref() == self.pin.0 {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[test]
    fn a_pin_is_64_digits() {
        let plain = "00ff".repeat(16);
        let pin: Pin = plain.parse().expect("a pin");
        assert_eq!((pin.to_string(), "00:FF:".repeat(16).parse()), (plain, Ok(pin)));
        for wrong in ["", "00", &"0g".repeat(32), &"00".repeat(33), &"é".repeat(32)] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn who_has_another_certificate_is_somebody_else() {
        let own = rcgen::generate_simple_self_signed(["attic.local".to_owned()]).expect("made");
        let certificate = own.cert.der().clone();
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, &certificate);
        let pin = Pin(digest.as_ref().try_into().expect("32 bytes"));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let server = server.with_safe_default_protocol_versions().expect("both").with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(server.with_single_cert(vec![certificate], key).expect("a pair")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        let stream = async || TcpStream::connect(address).await.expect("it listens");
        connect(stream().await, "10.0.0.7", pin).await.expect("the machine");
        let error = connect(stream().await, "10.0.0.7", Pin([0; 32])).await.expect_err("somebody else");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Error>()), "{error}");
    }
}
