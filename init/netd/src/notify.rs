//! Telling init how it is going: sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use spec::control::env;

/// Tells init. Without a `NOTIFY_SOCKET` nobody wants to know.
pub(crate) fn tell_init(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path)) {
        tracing::warn!("cannot tell init: {error}");
    }
}

/// Says again and again that netd is alive, three times in what init is patient for. It says so from the one thread
/// that does everything, and falls silent with that.
pub(crate) async fn say_alive() {
    let wanted = std::env::var(env::WATCHDOG).ok();
    let Some(micros) = wanted.and_then(|micros| micros.parse().ok()).filter(|&micros: &u64| micros > 0) else { return };
    let mut turns = tokio::time::interval(Duration::from_micros(micros) / 3);
    loop {
        turns.tick().await;
        tell_init("WATCHDOG=1");
    }
}
