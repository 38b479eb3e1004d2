//! Machines of the tests: a disk of their own made from the image that was built, and QEMU that boots it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gpt::GptConfig;
use spec::boot::mbr;
use tempfile::TempDir;

use crate::guest::{Guest, free_port};

/// The variable that names the output folder of another image for x86_64 than the quick one: of `image product`.
const OTHER_IMAGE: &str = "LLMBASEDOS_BOOT_IMAGE";
/// The token that a machine is given unless it is to make its own.
pub(crate) const TOKEN: &str = "a-token-of-the-tests";

/// The checkout.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("image/ lies in the checkout").to_owned()
}

/// A file of the image for x86_64 that was built.
pub(crate) fn built(name: &str) -> PathBuf {
    Architecture::X86_64.built(name)
}

/// The same of the quick image, whatever is booted.
pub(crate) fn built_quick(name: &str) -> PathBuf {
    Architecture::X86_64.quick().join(name)
}

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86_64,
    /// A PC with two simulated radios (`image build --with-radios`).
    Radios,
    Aarch64,
}

impl Architecture {
    /// A file of the image that was built for it: of the one that [`OTHER_IMAGE`] names, or of the quick one, which has also
    /// what QEMU takes and no disk.
    pub(crate) fn built(self, name: &str) -> PathBuf {
        let other = std::env::var_os(OTHER_IMAGE).filter(|_| self == Self::X86_64);
        let other = other.map(|folder| repository().join(folder).join(name)).filter(|path| path.exists());
        other.unwrap_or_else(|| self.quick().join(name))
    }

    /// The folder of the quick image.
    fn quick(self) -> PathBuf {
        repository().join(match self {
            Self::X86_64 => "build/x86_64",
            Self::Radios => "build/x86_64-radios",
            Self::Aarch64 => "build/aarch64",
        })
    }

    /// QEMU with a machine of that kind, and the name of its serial line. On threads of their own, emulated processors
    /// now and then run code that another has just changed (int3).
    fn qemu(self) -> (Command, &'static str) {
        let (program, machine, processor, serial) = match self {
            Self::X86_64 | Self::Radios => ("qemu-system-x86_64", "q35", "max,cx16=off", "ttyS0"),
            Self::Aarch64 => ("qemu-system-aarch64", "virt", "cortex-a72", "ttyAMA0"),
        };
        let mut qemu = Command::new(program);
        qemu.args(["-M", machine, "-accel", "tcg,thread=single", "-cpu", processor]);
        (qemu, serial)
    }
}

/// Runs a tool to its end, and fails the test if that fails.
#[track_caller]
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Output {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
    output
}

/// A program of one file of these tests, static, with nothing but the standard library.
pub(crate) fn static_program(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join(name);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let source = repository().join(format!("image/tests/boot/{name}.rs")).display().to_string();
    let form = ["--edition", "2024", "-O", "-C", "strip=symbols", "-C", "target-feature=+crt-static"];
    tool(&rustc, &[&form[..], &["-o", &program.display().to_string(), &source]].concat());
    fs::read(program).expect("compiled")
}

/// A machine that is switched off.
pub(crate) struct Machine {
    architecture: Architecture,
    folder: TempDir,
    /// Where its gateway is reached.
    pub(crate) port: u16,
    /// Where its gateway is reached through TLS.
    pub(crate) secure: u16,
    /// Where its sites are reached, if it serves them to others than itself.
    pub(crate) sites: u16,
    has_hand: bool,
}

impl Machine {
    /// A PC with a copy of the disk that `image build` has made, and a token.
    pub(crate) fn new() -> Self {
        Self::of(Architecture::X86_64)
    }

    /// The same of another kind.
    pub(crate) fn of(architecture: Architecture) -> Self {
        Self::with_disk(architecture, &architecture.built("disk.img"))
    }

    /// The same with a copy of another disk.
    pub(crate) fn with_disk(architecture: Architecture, disk: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let machine =
            Self { architecture, folder, port: free_port(), secure: free_port(), sites: free_port(), has_hand: false };
        let (from, to) = (disk.display().to_string(), machine.disk().display().to_string());
        tool("cp", &["--sparse=always", "--reflink=auto", &from, &to]);
        machine.settings(&format!("[gateway]\ntokens = [\"{TOKEN}\"]\n"));
        machine
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// Where a partition lies on the disk, in bytes: its start and its length.
    pub(crate) fn partition(&self, name: &str) -> (u64, u64) {
        let sectors = match GptConfig::new().open(self.disk()) {
            Ok(table) => {
                let found = table.partitions().values().find(|partition| partition.name == name);
                found.map(|partition| (partition.first_lba, partition.last_lba + 1 - partition.first_lba))
            }
            Err(_) => self.partition_of_mbr(name),
        };
        let (first, sectors) = sectors.unwrap_or_else(|| panic!("there is no partition {name}"));
        (first * 512, sectors * 512)
    }

    fn partition_of_mbr(&self, name: &str) -> Option<(u64, u64)> {
        let disk = File::open(self.disk()).expect("there");
        let sector = |number: u64| {
            let mut bytes = [0; 512];
            disk.read_exact_at(&mut bytes, number * 512).map(|()| bytes)
        };
        let found = mbr::partitions(sector).expect("a table");
        found.iter().find(|one| mbr::name(one.number) == Some(name)).map(|one| (one.first, one.sectors))
    }

    /// Replaces `llmbasedos.toml` on the FAT partition.
    pub(crate) fn settings(&self, content: &str) {
        let file = self.folder.path().join("settings.toml");
        fs::write(&file, content).expect("written");
        let at = format!("{}@@{}", self.disk().display(), self.partition("config").0);
        tool("mcopy", &["-o", "-i", &at, &file.display().to_string(), "::/llmbasedos.toml"]);
    }

    /// Makes the disk larger.
    pub(crate) fn enlarge(&self, bytes: u64) {
        let disk = File::options().write(true).open(self.disk()).expect("there");
        disk.set_len(disk.metadata().expect("there").len() + bytes).expect("a larger disk");
    }

    /// Changes what lies at an offset of a partition.
    pub(crate) fn poke(&self, partition: &str, offset: u64, bytes: &[u8]) {
        let disk = File::options().write(true).open(self.disk()).expect("there");
        disk.write_all_at(bytes, self.partition(partition).0 + offset).expect("written");
    }

    /// Writes a file over a partition.
    pub(crate) fn overwrite(&self, partition: &str, file: &Path) {
        let (start, length) = self.partition(partition);
        let content = fs::read(file).expect("an image was built");
        assert!(content.len() as u64 <= length, "{} fits into {partition}", file.display());
        let disk = File::options().write(true).open(self.disk()).expect("there");
        disk.write_all_at(&content, start).expect("written");
    }

    /// The bytes at an offset of a partition.
    pub(crate) fn peek(&self, partition: &str, offset: u64, length: usize) -> Vec<u8> {
        let mut disk = File::open(self.disk()).expect("there");
        disk.seek(SeekFrom::Start(self.partition(partition).0 + offset)).expect("there");
        let mut bytes = vec![0; length];
        disk.read_exact(&mut bytes).expect("read");
        bytes
    }

    /// Runs a command of debugfs(8) on the data partition; answers what it wrote.
    pub(crate) fn debugfs(&self, command: &str) -> String {
        let at = format!("{}?offset={}", self.disk().display(), self.partition("data").0);
        String::from_utf8_lossy(&tool("debugfs", &["-w", "-R", command, &at]).stdout).into_owned()
    }

    /// Puts a file onto the data partition, in a folder that is there or in one that is made.
    pub(crate) fn put(&self, content: &[u8], path: &str, mode: &str) {
        let file = self.folder.path().join("file");
        fs::write(&file, content).expect("written");
        if let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) {
            self.debugfs(&format!("mkdir {folder}"));
        }
        self.debugfs(&format!("write {} {path}", file.display()));
        self.debugfs(&format!("sif {path} mode 0100{mode}"));
    }

    /// Gives it a service of the owner's.
    pub(crate) fn service(&self, name: &str, exec: &str) {
        let manifest = format!(
            "name = \"{name}\"\nversion = \"1\"\ndescription = \"Of the tests\"\nexec = {exec}\n\
             activation = \"boot\"\ntransport = \"none\"\n"
        );
        self.put(manifest.as_bytes(), &format!("/arcs.d/{name}.toml"), "644");
    }

    /// Gives it a [`Hand`]: in its initramfs, before everything else; and on its data, for services that misbehave.
    pub(crate) fn with_hand(mut self) -> Self {
        let content = static_program("saboteur");
        let mut initramfs = fs::read(self.architecture.built("initramfs.cpio.zst")).expect("an image was built");
        // The kernel unpacks one archive after the other; each begins at a multiple of four bytes.
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
        let size = u32::try_from(content.len()).expect("small");
        let entry = cpio::newc::Builder::new("hand").mode(0o755).set_mode_file_type(cpio::newc::ModeFileType::Regular);
        let mut writer = entry.write(&mut initramfs, size);
        writer.write_all(&content).and_then(|()| writer.finish().map(drop)).expect("written");
        cpio::newc::trailer(&mut initramfs).expect("written");
        fs::write(self.initramfs_with_hand(), initramfs).expect("written");
        self.put(&content, "/saboteur", "755");
        // What debugfs writes is in no quota yet.
        self.check_data("-fy");
        self.has_hand = true;
        self
    }

    fn initramfs_with_hand(&self) -> PathBuf {
        self.folder.path().join("initramfs")
    }

    /// What e2fsck(8) says of the data partition, and how it ended, with these options; offline.
    pub(crate) fn check_data(&self, options: &str) -> (Option<i32>, String) {
        let (start, _) = self.partition("data");
        let at = format!("{}?offset={start}", self.disk().display());
        let output = Command::new("/sbin/e2fsck").args([options, &at]).output().expect("e2fsck runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Switches it on, with what is added to the kernel's command line and to QEMU's.
    pub(crate) fn boot(&self, append: &str, options: &[&str]) -> Guest<'_> {
        self.boot_from(&format!("format=raw,file={}", self.disk().display()), append, options)
    }

    /// The same with a disk of another kind: what QEMU's option `-drive` says of it.
    pub(crate) fn boot_from(&self, drive: &str, append: &str, options: &[&str]) -> Guest<'_> {
        let built = |name| self.architecture.built(name);
        let line = fs::read_to_string(built("command-line")).expect("an image was built");
        let (first, initramfs) = match self.has_hand {
            true => ("rdinit=/hand", self.initramfs_with_hand()),
            false => ("", built("initramfs.cpio.zst")),
        };
        let line = format!("no_timer_check {first} {} {append}", line.trim());
        self.boot_kernel(&built("vmlinux"), &initramfs, &line, drive, options)
    }

    /// The same with a kernel and all that goes with it.
    pub(crate) fn boot_kernel(
        &self,
        kernel: &Path,
        initramfs: &Path,
        line: &str,
        drive: &str,
        options: &[&str],
    ) -> Guest<'_> {
        let (mut qemu, serial) = self.qemu(drive);
        // A restart ends it, so that a test sees that.
        qemu.args(["-no-reboot", "-append", &format!("{line} console={serial}")]);
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        Guest::start(self, qemu.args(options))
    }

    /// Switches it on as it comes: firmware starts the boot loader, and that a slot; and again after each restart.
    pub(crate) fn boot_by_firmware(&self) -> Guest<'_> {
        self.boot_by_firmware_with(&[])
    }

    /// The same with what is added to QEMU's command line.
    pub(crate) fn boot_by_firmware_with(&self, options: &[&str]) -> Guest<'_> {
        let variables = self.folder.path().join("variables.fd");
        if !variables.exists() {
            fs::copy(self.architecture.built("variables.fd"), &variables).expect("copied");
        }
        let (mut qemu, _) = self.qemu(&format!("format=raw,file={}", self.disk().display()));
        let flash = "if=pflash,format=raw";
        qemu.args([
            "-drive",
            &format!("{flash},readonly=on,file={}", self.architecture.built("firmware.fd").display()),
        ]);
        qemu.args(["-drive", &format!("{flash},file={}", variables.display()), "-action", "watchdog=reset"]);
        Guest::start(self, qemu.args(options))
    }

    fn qemu(&self, drive: &str) -> (Command, &'static str) {
        let (mut qemu, serial) = self.architecture.qemu();
        qemu.args(["-smp", "2", "-m", "512", "-display", "none", "-nodefaults", "-serial", "stdio"]);
        if self.architecture != Architecture::Aarch64 {
            qemu.args(["-chardev", &format!("socket,id=hand,server=on,wait=off,path={}", self.hand().display())]);
            qemu.args(["-serial", "chardev:hand"]);
        }
        qemu.args(["-drive", &format!("if=none,id=disk,{drive}")]);
        qemu.args(["-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
        let forward = |from: u16, to: u16| format!("hostfwd=tcp:127.0.0.1:{from}-:{to}");
        let forwards = [(self.port, 80), (self.secure, 443), (self.sites, 8001)];
        let forwards = forwards.map(|(from, to)| forward(from, to)).join(",");
        qemu.args(["-netdev", &format!("user,id=net,{forwards}")]);
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu.args(["-device", "virtio-rng-pci", "-device", "i6300esb"]);
        (qemu, serial)
    }

    /// The socket of its second serial line, which only a PC has.
    pub(crate) fn hand(&self) -> PathBuf {
        self.folder.path().join("hand.sock")
    }

    /// Switches it on and waits until it is up.
    pub(crate) fn boot_to_ready(&self, append: &str) -> Guest<'_> {
        let guest = self.boot(append, &[]);
        guest.says("  claim ");
        guest
    }
}
