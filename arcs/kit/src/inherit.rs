//! What init hands over at exec: descriptors (`sd_listen_fds(3)`) and the socket for readiness (`sd_notify(3)`).

use std::collections::HashMap;
use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};

use crate::run::StartError;

/// The first inherited descriptor, `SD_LISTEN_FDS_START` of `sd_listen_fds(3)`.
const FIRST: RawFd = 3;

/// The inherited descriptors by name, each to be taken once.
#[derive(Clone)]
pub(crate) struct Inherited {
    by_name: Arc<Mutex<HashMap<String, OwnedFd>>>,
}

impl Inherited {
    /// Takes over the descriptors that init handed to this process.
    pub(crate) fn take_over() -> Self {
        let for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let count: RawFd = env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let numbered = names.split(':').map(str::to_owned).zip(FIRST..FIRST.saturating_add(count));
        let by_name =
            if for_us { numbered.map(|(name, number)| (name, own(number))).collect() } else { HashMap::new() };
        Self { by_name: Arc::new(Mutex::new(by_name)) }
    }

    /// The descriptor called `name`.
    pub(crate) fn take(&self, name: &str) -> Result<OwnedFd, StartError> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.remove(name).ok_or_else(|| format!("init handed over no descriptor called {name}").into())
    }
}

#[expect(unsafe_code, reason = "a number becomes an owned descriptor in this one place")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID says that descriptors from 3 on were handed to this very process for it to own, this runs
    // once before anything else opens or closes descriptors, and each number is wrapped once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Tells init how the Arc is doing, as in `sd_notify(3)`: `READY=1`, `STATUS=…`, `STOPPING=1`. Without a
/// `NOTIFY_SOCKET` nobody wants to know.
pub(crate) fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), &path));
    if let Err(error) = sent {
        tracing::warn!(%error, ?path, "cannot tell init: {state}");
    }
}
