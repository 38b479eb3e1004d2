//! A machine with a TPM 2.0: what is given to its keeping is of no use to whoever takes the disk.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::caged::{logs, put};
use crate::guest::{Guest, until};
use crate::machine::{Machine, TOKEN};

const VALUE: &str = "sk-canary-of-the-tests-0123456789";

/// A TPM, with a memory of its own.
struct Tpm {
    folder: TempDir,
}

/// It, for as long as the machine runs that has it.
struct Running(Child);

impl Tpm {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn start(&self) -> Running {
        let socket = self.socket();
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", self.folder.path().display())]);
        swtpm.args(["--ctrl", &format!("type=unixio,path={socket}")]);
        let process = swtpm.stdin(Stdio::null()).spawn().expect("swtpm runs");
        until("the TPM listens", || Path::new(&socket).exists().then_some(()));
        Running(process)
    }

    fn socket(&self) -> String {
        self.folder.path().join("socket").display().to_string()
    }

    /// Switches a machine on that has this one; answers it once it is up. By its firmware: where QEMU 7.2 starts the kernel
    /// itself, it lays the initramfs over the tables of ACPI, which are larger with a TPM.
    fn boot<'m>(&self, machine: &'m Machine) -> (Running, Guest<'m>) {
        let running = self.start();
        let socket = format!("socket,id=tpm,path={}", self.socket());
        let emulator = ["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"];
        let guest = machine.boot_by_firmware_with(&[&["-chardev", &socket], &emulator[..]].concat());
        guest.says("  claim ");
        (running, guest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_tpm_gives_the_secrets_to_its_own_machine_alone() {
    let machine = Machine::new();
    machine.settings(&format!("[gateway]\ntokens = [\"{TOKEN}\"]\n[secrets]\nopenai = \"{VALUE}\"\n"));
    put(&machine, &["tell", "/run/secrets/openai"], "secrets = [\"openai\"]\n");
    machine.check_data("-fy");
    let sum: u64 = VALUE.bytes().map(u64::from).sum();
    let told = format!("{} bytes with the sum {sum}", VALUE.len());

    let tpm = Tpm::new();
    let (running, guest) = tpm.boot(&machine);
    logs(&guest, "init", "moved to the secrets store: openai");
    logs(&guest, "inmate", &told);
    guest.power_off();
    drop(running);
    for partition in ["config", "data"] {
        let content = machine.peek(partition, 0, usize::try_from(machine.partition(partition).1).expect("small"));
        let is_there = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!is_there(VALUE), "the value lies on {partition}");
        assert!(partition == "data" || is_there(&"*".repeat(VALUE.len())), "it was overwritten");
    }
    let kept = machine.debugfs("ls -p /secrets");
    assert!(kept.contains("/key.tpm/") && !kept.contains("/key/"), "{kept}");

    let (running, guest) = tpm.boot(&machine);
    guest.call_until_answered(&["kv.set", "greeting", "hello"]);
    logs(&guest, "inmate", &told);
    let problems = guest.call_until_answered(&["system.status"])["problems"].to_string();
    assert!(!problems.contains("secret"), "{problems}");
    guest.power_off();
    drop(running);

    let another = Tpm::new();
    let (_running, guest) = another.boot(&machine);
    let status = guest.call_until_answered(&["system.status"]);
    let problems = status["problems"].to_string();
    assert!(problems.contains("the TPM does not give the key") && problems.contains("lost"), "{problems}");
    logs(&guest, "init", "inmate: is not handed the secret openai");
    guest.call(&["kv.get", "greeting"]).expect("it goes on");
    guest.power_off();
}
