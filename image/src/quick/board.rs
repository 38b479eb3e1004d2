//! The machines of QEMU that images boot on.

use std::process::Command;

use clap::ValueEnum;

use crate::architecture::Architecture;

/// A machine of QEMU, by the name that QEMU has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Board {
    /// A PC.
    Q35,
    /// A machine that has only what is quick to emulate.
    Virt,
    /// A Raspberry Pi 3 Model B. Of it QEMU has no boot loader and no clock, the network is behind its USB, and the
    /// watchdog resets it as soon as it is started.
    Raspi3b,
}

/// The memory of a Raspberry Pi 3, in MiB.
const RASPI3B_MEMORY: u32 = 1024;
/// The file that says what is on the Raspberry Pi's board.
const DEVICE_TREE: &str = "bcm2837-rpi-3-b.dtb";

impl Board {
    /// The one that is used unless another is asked for.
    pub(crate) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::X86_64 => Self::Q35,
            Architecture::Aarch64 => Self::Virt,
        }
    }

    /// The kind of machine that it is.
    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Q35 => Architecture::X86_64,
            Self::Virt | Self::Raspi3b => Architecture::Aarch64,
        }
    }

    /// As QEMU calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Virt => "virt",
            Self::Raspi3b => "raspi3b",
        }
    }

    /// The memory that it has and no other, in MiB.
    pub(crate) fn fixed_memory(self) -> Option<u32> {
        (self == Self::Raspi3b).then_some(RASPI3B_MEMORY)
    }

    /// Whether QEMU has firmware for it that starts what lies on its disk.
    pub(crate) fn has_firmware(self) -> bool {
        self != Self::Raspi3b
    }

    /// The size of a disk of at least `size` bytes that it can have: a card's is a power of two.
    pub(crate) fn disk_size(self, size: u64) -> u64 {
        if self == Self::Raspi3b { size.next_power_of_two() } else { size }
    }

    /// So many processors it is given; a Raspberry Pi has four and no other number.
    pub(super) fn processors(self) -> &'static str {
        if self == Self::Raspi3b { "4" } else { "2" }
    }

    /// The file that tells the kernel what is on it, where QEMU does not.
    pub(super) fn device_tree(self) -> Option<&'static str> {
        (self == Self::Raspi3b).then_some(DEVICE_TREE)
    }

    /// What the kernel is told of it.
    pub(super) fn words(self) -> &'static str {
        match self {
            // Emulated on a busy machine, a PC's timer may be too late for the check that the kernel makes of it.
            Self::Q35 => "console=ttyS0 no_timer_check",
            Self::Virt => "console=ttyAMA0",
            // Of what QEMU lacks, its drivers complain as of errors.
            Self::Raspi3b => "console=ttyS1 loglevel=3 llmbasedos.watchdog=off",
        }
    }

    /// Gives QEMU its disk, its network and its first serial line, which is the standard output.
    pub(super) fn equip(self, qemu: &mut Command, disk: &str, network: &str) {
        let (drive, network) = (format!("format=raw,file={disk}"), format!("user,id=net,{network}"));
        qemu.args(["-netdev", &network]);
        if self == Self::Raspi3b {
            // Its first line leads to its Bluetooth.
            qemu.args(["-drive", &format!("if=sd,{drive}"), "-device", "usb-net,netdev=net"]);
            qemu.args(["-serial", "null", "-serial", "stdio"]);
            return;
        }
        qemu.args(["-drive", &format!("if=none,id=disk,{drive}"), "-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile=", "-serial", "stdio"]);
        qemu.args(["-device", "virtio-rng-pci", "-device", "i6300esb"]);
    }
}
