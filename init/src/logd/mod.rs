//! `logd`: keeps what services write. It is the program `init` started as `init --logd`, and an ordinary service.
//!
//! | module | what it is |
//! | --- | --- |
//! | `channel` | what init asks and is told |
//! | `feed` | the output of one service: from its pipe by way of its journal into its file |
//! | `file` | the log file of a service: appended to, and moved aside when it is full |
//! | `ring` | the last lines of all services, in memory |
//! | `tail` | the last lines of a file, for a `logd` that has just started |
//! | `room` | the bound on all files together |
//! | `daemon` | the loop |
//!
//! What is guaranteed: a line that a service has written to its pipe is in its file once, or counted as dropped, however
//! often `logd` is killed meanwhile. Its pipe holds 64 KiB; then the service waits until `logd` is back. When init itself or
//! the machine is killed, what was not written down yet is lost.

mod channel;
mod daemon;
mod feed;
mod file;
mod ring;
mod room;
mod tail;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use spec::Name;
use spec::control::{env, fd};

use crate::sys;
use channel::Channel;
use daemon::Daemon;

/// Why it ends by itself. init starts it again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("has no channel to init: logd is started by init, as the service of that name")]
    NoChannel,
    #[error("{} does not name the data folder", env::DATA)]
    NoData,
    #[error("cannot {step}: {source}")]
    Kernel { step: &'static str, source: io::Error },
    #[error("cannot read what {service} writes: {source}")]
    Feed { service: Name, source: io::Error },
    #[error("the channel to init broke: {0}")]
    Channel(#[source] io::Error),
}

impl Trouble {
    /// For `map_err`: a step that the kernel refused.
    fn kernel(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { step, source }
    }
}

/// Runs until it is asked to stop.
pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            sys::write_stderr(&trouble.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Trouble> {
    let channel = sys::inherited(fd::LOGS).ok_or(Trouble::NoChannel)?;
    sys::restrict_new_files();
    // It would be listed as `init`, which is a smaller evil than none.
    let _ = sys::name_process(c"logd");
    let data = std::env::var_os(env::DATA).map(PathBuf::from).ok_or(Trouble::NoData)?;
    Daemon::new(Channel::new(channel), data.join("log"))?.run()
}
