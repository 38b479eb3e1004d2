//! The own network of a machine that nothing else leads to: who may come in, and what is served there.
//!
//! Whoever comes in needs the passphrase: the owner's, which is shown nowhere, or one that is made anew at each start and
//! shown on the machine's screen alone. What is typed into the set-up page, the passphrase of a household's network, is not to be heard by a
//! street. One that is made has 60 bits, for an exchange that somebody has recorded can be tried at leisure, and opens
//! nothing else: the set-up code is another one.

pub(crate) mod dhcp;
pub(crate) mod dns;

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::Context;
use spec::{HostAddress, SecretText, Ssid};
use tokio::net::UdpSocket;

/// The address of the machine in its own network. In the middle of nowhere: a household is rather elsewhere.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 41, 73, 1);
const PREFIX: u8 = 24;
/// What a passphrase is made of: nothing that is taken for something else; 32 of them, five bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Three groups of four.
const GROUPS: usize = 3;
const GROUP: usize = 4;
/// The ports of DHCP, and of name servers.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const NAME_PORT: u16 = 53;
/// The longest message over Ethernet.
const LONGEST: usize = 1500;

/// How to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// `llmbasedos-7f3a`
    pub(crate) ssid: Ssid,
    pub(crate) passphrase: Passphrase,
}

/// What opens the own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Passphrase {
    /// The owner's, from `llmbasedos.toml`, which is never shown.
    Owners(SecretText),
    /// One that the screen has to tell, for nobody knows it yet.
    Made(SecretText),
}

impl Passphrase {
    pub(crate) fn secret(&self) -> &SecretText {
        match self {
            Self::Owners(secret) | Self::Made(secret) => secret,
        }
    }

    /// It, or where to find it.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Owners(_) => "the setup_passphrase of llmbasedos.toml",
            Self::Made(secret) => secret.as_str(),
        }
    }
}

impl Invitation {
    /// That of a radio with this hardware address.
    pub(crate) fn of(address: [u8; 6], passphrase: Passphrase) -> anyhow::Result<Self> {
        let [.., last_but_one, last] = address;
        let ssid = format!("llmbasedos-{last_but_one:02x}{last:02x}").parse::<Ssid>()?;
        Ok(Self { ssid, passphrase })
    }
}

/// A passphrase that nobody can guess.
pub(crate) fn new_passphrase() -> anyhow::Result<SecretText> {
    let mut random = [0; GROUPS * GROUP];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.context("cannot make a passphrase")?;
    Ok(SecretText::new(passphrase(&random)))
}

fn passphrase(random: &[u8]) -> String {
    let letter = |byte: &u8| char::from(LETTERS.get(usize::from(byte & 31)).copied().unwrap_or(b'a'));
    let groups: Vec<String> = random.chunks(GROUP).map(|group| group.iter().map(letter).collect()).collect();
    groups.join("-")
}

/// The address of the machine in its own network.
pub(crate) fn own() -> Option<HostAddress> {
    HostAddress::new(OWN, PREFIX).ok()
}

/// Serves addresses and names on a link that has the own address, until one of the two fails.
pub(crate) async fn serve(link: &str, own: HostAddress) -> anyhow::Result<Infallible> {
    tokio::try_join!(serve_leases(link, own), serve_names(own)).map(|(never, _)| never)
}

async fn serve_leases(link: &str, own: HostAddress) -> anyhow::Result<Infallible> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT)).await.context("cannot serve addresses")?;
    // Broadcasts come in on this link alone, and leave by it.
    socket.bind_device(Some(link.as_bytes())).context("cannot serve addresses on one link")?;
    socket.set_broadcast(true)?;
    let mut server = dhcp::Server::new(own);
    let mut buffer = [0; LONGEST];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await?;
        let message = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = server.answer(message, Instant::now())
            && let Err(error) = socket.send_to(&answer, (Ipv4Addr::BROADCAST, CLIENT_PORT)).await
        {
            tracing::debug!("{link}: an address cannot be given: {error}");
        }
    }
}

async fn serve_names(own: HostAddress) -> anyhow::Result<Infallible> {
    let address = SocketAddr::from((own.address(), NAME_PORT));
    let socket = UdpSocket::bind(address).await.context("cannot answer to names")?;
    let mut buffer = [0; LONGEST];
    loop {
        let (length, guest) = socket.recv_from(&mut buffer).await?;
        if let Some(answer) = dns::answer(buffer.get(..length).unwrap_or_default(), own.address()) {
            // Who does not hear it asks again.
            let _ = socket.send_to(&answer, guest).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_one_that_a_person_can_type_and_nobody_can_guess() {
        let made = || new_passphrase().expect("random bytes");
        let (first, second) = (made(), made());
        assert_ne!(first, second);
        assert_eq!(spec::check_passphrase(first.as_str()), Ok(()));
        assert_eq!(passphrase(&[0, 31, 32, 255, 1, 2, 3, 4]), "a9a9-bcde");
        assert_eq!(first.as_str().len(), GROUPS * GROUP + GROUPS - 1);
        let invitation = Invitation::of([2, 0, 0, 0, 0x7f, 0x3a], Passphrase::Made(first)).expect("a name");
        assert_eq!(invitation.ssid.to_string(), "llmbasedos-7f3a");
    }
}
