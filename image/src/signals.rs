//! The signals that end this program: noticed at the next look, so that what was started is stopped in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_usize;

use crate::failure::Failure;

/// The last of SIGINT, SIGTERM and SIGHUP that came.
#[derive(Debug, Clone)]
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Catches the signals from now on.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            register_usize(signal, Arc::clone(&last), number)
                .map_err(|error| Failure::new("cannot catch signals", error, "report this"))?;
        }
        Ok(Self(last))
    }

    /// The signal that came, if any.
    pub(crate) fn pending(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|&signal| signal != 0)
    }

    /// Forgets a Ctrl-C, which was meant for the program in the foreground or is dealt with; whether there was one.
    pub(crate) fn forget_ctrl_c(&self) -> bool {
        let ctrl_c = usize::try_from(SIGINT).unwrap_or_default();
        self.0.compare_exchange(ctrl_c, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// An error if the user ended the program.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.pending() {
            Some(signal) => Err(Failure::Interrupted { signal, kept: String::new() }),
            None => Ok(()),
        }
    }
}
