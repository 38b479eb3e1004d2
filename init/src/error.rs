//! Why init does not start. Once it runs, nothing ends it but a person.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why init does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}; see `init --help`")]
    Usage(String),
    #[error("llmbasedos is already running on {} (pid {pid}); stop it or use --data", data.display())]
    AlreadyRunning { data: PathBuf, pid: String },
    #[error("{address} is in use ({listener}): choose another with --listen")]
    AddressInUse { listener: String, address: SocketAddr },
    #[error("cannot listen on {address} ({listener}): {source}; choose another with --listen")]
    Address { listener: String, address: SocketAddr, source: io::Error },
    #[error(
        "{address} ({listener}) is not on this machine alone: until callers are authenticated only loopback addresses \
         are served, such as 127.0.0.1:8000"
    )]
    NotLoopback { listener: String, address: SocketAddr },
    #[error("cannot use the data folder: {}: cannot {step}: {source}; choose another with --data", path.display())]
    Data { path: PathBuf, step: &'static str, source: io::Error },
    #[error("cannot {step}: {source}")]
    Kernel { step: &'static str, source: io::Error },
}

impl StartError {
    /// The exit code that tells a caller which it was.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Kernel { .. } => 1,
            Self::Usage(_) | Self::NotLoopback { .. } => 2,
            Self::AlreadyRunning { .. } => 3,
            Self::AddressInUse { .. } | Self::Address { .. } => 4,
            Self::Data { .. } => 5,
        }
    }

    /// For `map_err`: a step that failed on a path in the data folder.
    pub(crate) fn data(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Data { path, step, source }
    }

    /// For `map_err`: a step that the kernel refused.
    pub(crate) fn kernel(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { step, source }
    }
}
