//! Whether this machine can run the guest itself, or QEMU has to emulate it. `/dev/kvm` alone tells nothing: there are
//! machines on which it opens, makes a guest, and the guest hangs. So the kernel is tried: without a root it must say so.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::board::Board;
use crate::architecture::Architecture;
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
    /// It is no machine of this kind.
    EmulatedStranger,
}

impl Acceleration {
    /// Finds out by trying `kernel`.
    pub(super) fn probe(board: Board, kernel: &Path, signals: &Signals) -> Result<Self, Failure> {
        if board.architecture() != Architecture::HOST || board == Board::Raspi3b {
            return Ok(Self::EmulatedStranger);
        }
        let opened = std::fs::File::options().read(true).write(true).open(KVM);
        if opened.is_err() {
            return Ok(Self::Emulated);
        }
        let mut qemu = Self::Kvm.qemu(board);
        qemu.args(["-m", "256", "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"]);
        let append = format!("{} quiet panic=-1", board.words());
        qemu.arg("-kernel").arg(kernel).args(["-append", &append]).stdout(Stdio::piped()).stderr(Stdio::null());
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

    /// QEMU with a machine of that kind.
    pub(super) fn qemu(self, board: Board) -> Command {
        let [accelerator, processor] = match (self, board) {
            (Self::Kvm, _) => ["kvm", "host"],
            // Without AVX: wide registers cost more to emulate than they save. Without cx16: QEMU 7.2 emulates cmpxchg16b
            // wrongly now and then, and the kernel panics in its allocator. On threads of their own, emulated processors now
            // and then run code that another has just changed (int3).
            (_, Board::Q35) => ["tcg,thread=single", "max,cx16=off,avx=off"],
            // That of the Raspberry Pi 4: newer ones sign their pointers, which takes long to emulate.
            (_, Board::Virt) => ["tcg,thread=single", "cortex-a72"],
            (_, Board::Raspi3b) => ["tcg", "cortex-a53"],
        };
        let mut qemu = Command::new(format!("qemu-system-{}", board.architecture()));
        qemu.args(["-M", board.name(), "-accel", accelerator, "-cpu", processor]);
        qemu
    }

    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Kvm => "KVM: on this machine's own processor",
            Self::Emulated => "emulated: there is no KVM here, so everything takes longer",
            Self::EmulatedStranger => "emulated: this machine is of another kind, so everything takes longer",
            Self::EmulatedInSpite => "emulated: /dev/kvm is there, but a kernel did not answer in it",
        }
    }
}
