//! What a service sees of the file system.

use zeroize::Zeroizing;

use super::Source;

/// A part of what a service sees. Paths are those in its cage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A file or folder of the machine.
    Bound { source: Source, target: String, sight: Sight },
    /// An empty folder in memory, its own.
    Scratch { target: String, bytes: u64 },
    /// A small file, which it can read.
    File { target: String, content: Content },
    /// Its own processes below `/proc`.
    Processes,
}

/// What may be done with something that is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Reading.
    Read,
    /// Reading and executing.
    Execute,
    /// Reading and writing.
    Write,
    /// Reading and writing a device.
    Device,
    /// Connecting to sockets.
    Connect,
}

/// What stands in a file that is handed over; it may be a secret and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content(pub(crate) Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Devices that are in every cage: nothing of the machine is behind them.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Where the dynamic loader and the libraries of a distribution lie (ld.so(8)), as far as they are there.
const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];
/// The bound of `/tmp`, which counts as memory.
const SCRATCH: u64 = 16 << 20;

impl Part {
    /// Something of the system: what lies there is what its distribution put there.
    pub(crate) fn of_system(path: &str, sight: Sight) -> Self {
        let source = Source { path: path.into(), is_ours: false };
        Self::Bound { source, target: path.to_owned(), sight }
    }

    /// Where it is in the cage.
    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Bound { target, .. } | Self::Scratch { target, .. } | Self::File { target, .. } => target,
            Self::Processes => "/proc",
        }
    }
}

/// What is in every cage; `memory` is the bound of its service.
pub(super) fn basics(memory: u64) -> Vec<Part> {
    let devices = DEVICES.iter().map(|path| Part::of_system(path, Sight::Device));
    devices.chain([Part::Scratch { target: "/tmp".to_owned(), bytes: SCRATCH.min(memory / 4) }]).collect()
}

/// What a program that is linked dynamically needs beside that.
pub(super) fn libraries() -> impl Iterator<Item = Part> {
    LIBRARIES.iter().map(|path| Part::of_system(path, Sight::Execute))
}
