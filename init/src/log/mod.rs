//! What init and `logd` agree on about the bytes that services write.
//!
//! init makes a pipe and a journal for each service and keeps both. `logd` takes the bytes from the pipe into the
//! journal and makes lines of them; init only looks, unless `logd` cannot run.

mod journal;
mod lines;
mod rate;

pub(crate) use journal::{Journal, Position};
pub(crate) use lines::{CUT, Split, split};
pub(crate) use rate::Rate;
