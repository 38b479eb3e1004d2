//! Bytes between an Arc and a host: looked at once, at the beginning, then counted.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::traffic::{Exhausted, Meter, PIECE};

/// How long the first words of an Arc may take.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// Longer than any ClientHello (a handshake message of one record, RFC 8446, 5.1), post-quantum keys included.
const LONGEST_HELLO: usize = 32 << 10;
/// A connection on which nothing moves for so long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// Why a tunnel was closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error("what was sent is not TLS: to a named host a tunnel carries nothing else")]
    NotTls,
    #[error("TLS was begun with {0}, which is not the host that was asked for")]
    OtherName(String),
    #[error("TLS was begun without the name of a host")]
    NoName,
    #[error("nothing was sent")]
    Silent,
    #[error("{0} in [cage.traffic] is used up")]
    Exhausted(&'static str),
    #[error("nothing moved for 10 min")]
    Idle,
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

impl From<Exhausted> for TunnelError {
    fn from(Exhausted(key): Exhausted) -> Self {
        Self::Exhausted(key)
    }
}

/// What went through.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
}

/// Reads the beginning of TLS from `client` and checks that it is for `host`; answers the bytes, which are still to be
/// sent on.
pub(crate) async fn check_hello(client: &mut (impl AsyncRead + Unpin), host: &str) -> Result<Vec<u8>, TunnelError> {
    let read = async {
        let mut hello = Vec::new();
        let mut acceptor = Acceptor::default();
        loop {
            let begun = hello.len();
            if begun >= LONGEST_HELLO {
                return Err(TunnelError::NotTls);
            }
            if client.read_buf(&mut hello).await.map_err(TunnelError::Broken)? == 0 {
                return Err(if hello.is_empty() { TunnelError::Silent } else { TunnelError::NotTls });
            }
            let mut fresh = hello.get(begun..).unwrap_or_default();
            while !fresh.is_empty() {
                acceptor.read_tls(&mut fresh).map_err(|_| TunnelError::NotTls)?;
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return match accepted.client_hello().server_name() {
                        Some(name) if name.trim_end_matches('.').eq_ignore_ascii_case(host) => Ok(hello),
                        Some(name) => Err(TunnelError::OtherName(name.to_owned())),
                        None => Err(TunnelError::NoName),
                    };
                }
                Err(_) => return Err(TunnelError::NotTls),
            }
        }
    };
    timeout(HELLO_PATIENCE, read).await.unwrap_or(Err(TunnelError::Silent))
}

/// Moves bytes both ways until both sides have said all.
pub(crate) async fn pump(
    client: impl AsyncRead + AsyncWrite,
    host: impl AsyncRead + AsyncWrite,
    meter: Option<&Meter>,
    moved: &Moved,
) -> Result<(), TunnelError> {
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut host_reads, mut host_writes) = tokio::io::split(host);
    let up = one_way(&mut client_reads, &mut host_writes, meter, &moved.up);
    let down = one_way(&mut host_reads, &mut client_writes, meter, &moved.down);
    tokio::try_join!(up, down).map(drop)
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    meter: Option<&Meter>,
    moved: &AtomicU64,
) -> Result<(), TunnelError> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = timeout(IDLE, from.read(&mut piece)).await.map_err(|_| TunnelError::Idle)?;
        let length = length.map_err(TunnelError::Broken)?;
        if length == 0 {
            // Who has closed both ways already hears of it by that.
            let _ = to.shutdown().await;
            return Ok(());
        }
        moved.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
        if let Some(meter) = meter {
            meter.moved(length).await?;
        }
        let write = to.write_all(piece.get(..length).unwrap_or_default());
        timeout(IDLE, write).await.map_err(|_| TunnelError::Idle)?.map_err(TunnelError::Broken)?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(name).expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).expect("written");
        bytes
    }

    async fn checked(bytes: &[u8], pieces: usize) -> Result<Vec<u8>, TunnelError> {
        let (mut ours, mut theirs) = tokio::io::duplex(pieces);
        let bytes = bytes.to_vec();
        let writer = tokio::spawn(async move {
            let _ = ours.write_all(&bytes).await;
        });
        let outcome = check_hello(&mut theirs, "api.example.com").await;
        writer.abort();
        outcome
    }

    #[tokio::test]
    async fn tls_for_the_host_that_was_asked_for_is_let_through_unchanged() {
        let bytes = hello("api.example.com");
        for pieces in [1, 7, 64 << 10] {
            assert_eq!(checked(&bytes, pieces).await.expect("let through"), bytes);
        }
    }

    #[tokio::test]
    async fn anything_else_is_not() {
        let other = checked(&hello("evil.example.net"), 4096).await;
        assert!(matches!(other, Err(TunnelError::OtherName(name)) if name == "evil.example.net"));
        assert!(matches!(checked(&hello("1.2.3.4"), 4096).await, Err(TunnelError::NoName)));
        assert!(matches!(
            checked(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 4096).await,
            Err(TunnelError::NotTls)
        ));
        assert!(matches!(checked(b"\x16\x03\x01\x00", 4096).await, Err(TunnelError::NotTls)));
        assert!(matches!(checked(b"", 4096).await, Err(TunnelError::Silent)));
        let endless = [b"\x16\x03\x01\x40\x00".as_slice(), &[1; 0x4000]].concat().repeat(4);
        assert!(matches!(checked(&endless, 4096).await, Err(TunnelError::NotTls)));
    }
}
