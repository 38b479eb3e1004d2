//! Whether this machine can run the guest itself, or QEMU has to emulate it. `/dev/kvm` alone tells nothing: there are
//! machines on which it opens, makes a guest, and the guest hangs. So the kernel is tried: without a root it must say so.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::Failure;
use crate::process::Running;
use crate::signals::Signals;

/// What must be there before anything is tried.
const KVM: &str = "/dev/kvm";
/// How long the kernel may take to find that it has no root: about a second where KVM works.
const PATIENCE: Duration = Duration::from_secs(8);
/// What it says then (Linux, `init/do_mounts.c`).
const ANSWER: &str = "VFS: Unable to mount root fs";

/// How QEMU runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceleration {
    /// On this machine's own processor.
    Kvm,
    /// There is nothing else.
    Emulated,
    /// KVM is there, and the kernel did not answer in it.
    EmulatedInSpite,
}

impl Acceleration {
    /// Finds out by trying `kernel`.
    pub(super) fn probe(kernel: &Path, signals: &Signals) -> Result<Self, Failure> {
        let opened = std::fs::File::options().read(true).write(true).open(KVM);
        if opened.is_err() {
            return Ok(Self::Emulated);
        }
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35", "-m", "256", "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"]);
        qemu.args(Self::Kvm.arguments()).arg("-kernel").arg(kernel);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut guest = Running::start(&mut qemu)?;
        let ended = guest.wait_at_most(PATIENCE).is_some();
        signals.check()?;
        let mut said = String::new();
        if ended && let Some(mut output) = guest.output() {
            // What is no text is no answer.
            let _ = output.read_to_string(&mut said);
        }
        Ok(if said.contains(ANSWER) { Self::Kvm } else { Self::EmulatedInSpite })
    }

    /// How QEMU is told.
    pub(super) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // Without cx16: QEMU 7.2 emulates cmpxchg16b wrongly now and then, and the kernel panics in its allocator. On
            // threads of their own, emulated processors now and then run code that another has just changed (int3).
            Self::Emulated | Self::EmulatedInSpite => ["-accel", "tcg,thread=single", "-cpu", "max,cx16=off"],
        }
    }

    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Kvm => "KVM: on this machine's own processor",
            Self::Emulated => "emulated: there is no KVM here, so everything takes longer",
            Self::EmulatedInSpite => "emulated: /dev/kvm is there, but a kernel did not answer in it",
        }
    }
}
