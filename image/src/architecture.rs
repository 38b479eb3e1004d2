//! The kinds of machine that images are for.

use std::fmt;

use clap::ValueEnum;

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// A PC.
    #[value(name = "x86_64")]
    X86_64,
    /// A 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// That of this machine.
    pub(crate) const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// As Linux, Rust and QEMU call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian calls it (`dpkg --print-architecture`).
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As UEFI calls it in the names of programs (UEFI specification 2.10, section 3.5.1.1).
    pub(crate) fn efi(self) -> &'static str {
        match self {
            Self::X86_64 => "x64",
            Self::Aarch64 => "aa64",
        }
    }

    /// What rustc compiles for.
    pub(crate) fn target(self) -> String {
        format!("{self}-unknown-linux-gnu")
    }

    /// A tool of binutils or gcc that makes programs for it.
    pub(crate) fn tool(self, name: &str) -> String {
        if self == Self::HOST { name.to_owned() } else { format!("{self}-linux-gnu-{name}") }
    }

    /// Its first serial line, as Linux calls it where QEMU has one.
    pub(crate) fn serial(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
