//! What init hands over at exec: descriptors (`sd_listen_fds(3)`) and the socket for readiness (`sd_notify(3)`).

use std::collections::HashMap;
use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use spec::control::fd;

/// The first inherited descriptor, `SD_LISTEN_FDS_START` of `sd_listen_fds(3)`.
const FIRST: RawFd = 3;

/// The name of the TCP listener for WebSocket, as the system configuration calls it.
const WEBSOCKET: &str = "gateway";

/// What the gateway is handed.
#[derive(Debug)]
pub struct Inherited {
    /// The owner's UNIX socket, listening.
    pub owner: OwnedFd,
    /// The TCP socket for WebSocket, listening; absent where the system is configured without.
    pub websocket: Option<OwnedFd>,
    /// The TCP socket for TLS, listening; absent where the system is configured without.
    pub https: Option<OwnedFd>,
    /// The channel to init.
    pub control: OwnedFd,
}

/// What was not handed over.
#[derive(Debug, thiserror::Error)]
#[error("no descriptor called {0:?} was handed over: the gateway is started by init, as `init --dev` does")]
pub struct NotInherited(&'static str);

impl Inherited {
    /// Takes over the descriptors that init handed to this process. To be called once, first of all.
    ///
    /// # Errors
    /// One that the gateway cannot do without is not there.
    pub fn take_over() -> Result<Self, NotInherited> {
        let for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let count: RawFd = env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        let count = if for_us { count } else { 0 };
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let numbered = names.split(':').map(str::to_owned).zip(FIRST..FIRST.saturating_add(count));
        let mut by_name: HashMap<String, OwnedFd> = numbered.map(|(name, number)| (name, own(number))).collect();
        Ok(Self {
            owner: by_name.remove(fd::GATEWAY).ok_or(NotInherited(fd::GATEWAY))?,
            websocket: by_name.remove(WEBSOCKET),
            https: by_name.remove(fd::HTTPS),
            control: by_name.remove(fd::CONTROL).ok_or(NotInherited(fd::CONTROL))?,
        })
    }
}

#[expect(unsafe_code, reason = "a number becomes an owned descriptor in this one place")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID says that descriptors from 3 on were handed to this very process for it to own, this runs
    // once before anything else opens or closes descriptors, and each number is wrapped once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    // What init leaves open for us is not for programs that we might start.
    if let Err(error) = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC) {
        tracing::warn!(%error, number, "an inherited descriptor cannot be set close-on-exec");
    }
    descriptor
}

/// Tells init how the gateway is doing, as in `sd_notify(3)`. Without a `NOTIFY_SOCKET` nobody wants to know.
pub(crate) fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, ?path, "cannot tell init: {state}");
    }
}
