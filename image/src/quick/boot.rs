//! Booting an image in QEMU, with its gateway and its sites reached through ports of this machine.
//!
//! The image itself stays as it was built: the machine has a disk of its own, a copy, whose data last from one boot to the
//! next; only its system is replaced by the one that was built last. Its settings (`llmbasedos.toml`) are written into it
//! before each boot.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spec::SystemConfig;
use spec::boot::CONFIG_PARTITION;
use toml::{Table, Value};

use super::acceleration::Acceleration;
use super::{Image, Tools, Zeros, layout, put, text, write};
use crate::failure::Failure;
use crate::http::Url;
use crate::key;
use crate::process::{self, LOOK_EVERY};
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::say;

/// The ports of the guest.
const GATEWAY_PORT: u16 = 80;
const SITES_PORT: u16 = 8001;
/// How long the guest may take to stop once it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// A machine to be booted.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) image: &'a Image,
    pub(crate) folder: &'a Path,
    /// In MiB.
    pub(crate) memory: u32,
    /// At least so large is its disk, in bytes.
    pub(crate) disk_size: u64,
    /// The model server that it calls.
    pub(crate) model: &'a Url,
    /// Where the gateway is reached on this machine; the sites are at the next port.
    pub(crate) listen: SocketAddr,
    /// Whether firmware starts it, as in a PC; else QEMU starts the kernel.
    pub(crate) uefi: bool,
    /// What the kernel is told beside what the image says, where QEMU starts it.
    pub(crate) append: &'a str,
    /// The owner's `llmbasedos.toml`, if there is one.
    pub(crate) config: Option<&'a Path>,
}

impl Guest<'_> {
    /// Boots it in the foreground, its serial console on the standard output, until it ends or the user ends it.
    pub(crate) fn run(&self, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
        let disk = self.disk()?;
        let token_file = self.folder.join("token");
        let token = token(&token_file)?;
        self.write_settings(&disk, &token, signals)?;
        let acceleration = Acceleration::probe(self.image.architecture, &self.image.kernel, signals)?;
        say(format_args!("machine  {}", acceleration.describe()));
        let url = format!("ws://{}/ws", self.listen);
        say(format_args!("gateway  {url}"));
        say(format_args!("sites    http://{}/", self.sites()));
        say(format_args!("next     bin/luca-shell --gateway {url} --token-file {}", short(&token_file)));
        say("stop     Ctrl-C switches the machine off\n");
        let mut machine = process::Running::start(&mut self.command(&disk, acceleration)?)?;
        loop {
            if let Some(status) = machine.ended() {
                return match status.success() {
                    true => Ok(()),
                    false => Err(Failure::new("QEMU failed", status, "see above")),
                };
            }
            if let Err(interrupted) = signals.check() {
                say("switching the machine off");
                let mut off = Command::new(repository.program("luca-run"));
                off.args([
                    "--gateway",
                    &url,
                    "--token-file",
                    &text(&token_file),
                    "--timeout",
                    "10s",
                    "system.poweroff",
                ]);
                let asked = process::Running::start(&mut off).map(|mut asked| asked.wait_at_most(STOP_PATIENCE));
                let begun = Instant::now();
                while asked.is_ok() && machine.ended().is_none() && begun.elapsed() < STOP_PATIENCE {
                    std::thread::sleep(LOOK_EVERY);
                }
                return Err(interrupted.keeping(&format!("its disk is kept in {}", short(&disk))));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn sites(&self) -> SocketAddr {
        SocketAddr::new(self.listen.ip(), self.listen.port() + 1)
    }

    /// The machine's own disk: at first a copy of the image's, later the same with the system that was built last.
    fn disk(&self) -> Result<PathBuf, Failure> {
        let disk = self.folder.join("machine.img");
        let size = |path: &Path| fs::metadata(path).map(|data| data.len()).ok();
        if size(&disk).is_some_and(|there| Some(there) >= size(&self.image.disk)) {
            for (partition, content) in &self.image.system {
                put(content, &disk, partition, Zeros::Written)?;
            }
            return self.enlarged(disk);
        }
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]).arg(&self.image.disk).arg(&disk);
        let status = copy.status().map_err(|error| Failure::io("write", &disk, &error))?;
        if !status.success() {
            return Err(Failure::new(format!("cannot write {}", disk.display()), status, "see above"));
        }
        self.enlarged(disk)
    }

    /// With empty room behind what is on it, which costs nothing until it is used.
    fn enlarged(&self, disk: PathBuf) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| Failure::io("write", &disk, &error);
        let file = fs::File::options().write(true).open(&disk).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        file.set_len(size.max(self.disk_size)).map_err(failed)?;
        Ok(disk)
    }

    fn write_settings(&self, disk: &Path, token: &str, signals: &Signals) -> Result<(), Failure> {
        let content = settings(self.config, token, &guests_view(self.model))?;
        let file = self.folder.join("work/settings.toml");
        write(&file, &content)?;
        let tools = Tools { work: self.folder, epoch: 0, signals };
        let at = format!("{}@@{}", disk.display(), layout::place(CONFIG_PARTITION)?.start);
        tools.run("mcopy", &["-o", "-i", &at, &text(&file), "::/llmbasedos.toml"])?;
        Ok(())
    }

    fn command(&self, disk: &Path, acceleration: Acceleration) -> Result<Command, Failure> {
        let forward = |address: SocketAddr, port: u16| format!("hostfwd=tcp:{address}-:{port}");
        let (gateway, sites) = (forward(self.listen, GATEWAY_PORT), forward(self.sites(), SITES_PORT));
        let memory = self.memory.to_string();
        let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
        let network = format!("user,id=net,{gateway},{sites}");
        let mut qemu = acceleration.qemu(self.image.architecture);
        qemu.args(["-smp", "2", "-m", &memory, "-display", "none", "-nodefaults", "-serial", "stdio"]);
        if self.uefi {
            self.start_by_firmware(&mut qemu)?;
        } else {
            self.start_by_qemu(&mut qemu);
        }
        qemu.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
        qemu.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu.args(["-device", "virtio-rng-pci", "-device", "i6300esb"]);
        Ok(qemu)
    }

    fn start_by_qemu(&self, qemu: &mut Command) {
        // Emulated on a busy machine, a PC's timer may be too late for the check that the kernel makes of it.
        let serial = self.image.architecture.serial();
        let append = format!("console={serial} no_timer_check {} {}", self.image.command_line, self.append);
        qemu.arg("-no-reboot").arg("-kernel").arg(&self.image.kernel).arg("-initrd").arg(&self.image.initramfs);
        qemu.args(["-append", append.trim()]);
    }

    /// A restart is one: the boot loader may choose the other slot.
    fn start_by_firmware(&self, qemu: &mut Command) -> Result<(), Failure> {
        let variables = self.folder.join("machine-variables.fd");
        if !variables.exists() {
            let copied = fs::copy(&self.image.variables, &variables);
            copied.map_err(|error| Failure::io("write", &variables, &error))?;
        }
        let flash = "if=pflash,format=raw";
        qemu.args(["-drive", &format!("{flash},readonly=on,file={}", self.image.firmware.display())]);
        qemu.args(["-drive", &format!("{flash},file={}", variables.display())]);
        Ok(())
    }
}

/// What the machine's `llmbasedos.toml` says: what the owner's does, and how it is reached unless that says otherwise.
fn settings(owners: Option<&Path>, token: &str, model: &str) -> Result<String, Failure> {
    let mut table = match owners {
        None => Table::new(),
        Some(file) => {
            let source = fs::read_to_string(file).map_err(|error| Failure::io("read", file, &error))?;
            let broken = |why: String| Failure::new("the configuration is broken", why, "mend it and run this again");
            SystemConfig::parse(&text(file), &source).map_err(|problems| broken(problems.to_string()))?;
            source.parse().map_err(|error: toml::de::Error| broken(error.to_string()))?
        }
    };
    let everywhere = |port: u16| Value::from(format!("0.0.0.0:{port}"));
    let tokens = Value::from(vec![Value::from(token)]);
    for (section, key, value) in [
        ("gateway", "tokens", tokens),
        ("listen", "gateway", everywhere(GATEWAY_PORT)),
        ("listen", "sites", everywhere(SITES_PORT)),
    ] {
        let section = table.entry(section).or_insert_with(|| Value::from(Table::new()));
        if let Some(section) = section.as_table_mut() {
            section.entry(key).or_insert(value);
        }
    }
    let router = Table::from_iter([
        ("kind".to_owned(), Value::from("openai")),
        ("url".to_owned(), Value::from(model)),
        // Here the model may share two cores with the machine that asks it.
        ("timeout".to_owned(), Value::from("600s")),
    ]);
    let nested = ["host", "backends"]
        .iter()
        .fold(router, |inner, key| Table::from_iter([((*key).to_owned(), Value::from(inner))]));
    let arcs = table.entry("arcs").or_insert_with(|| Value::from(Table::new()));
    if let Some(arcs) = arcs.as_table_mut() {
        arcs.entry("llm_router").or_insert(Value::from(nested));
    }
    Ok(table.to_string())
}

/// A server of this machine, as the guest reaches it: QEMU forwards what goes to this address to our loopback.
fn guests_view(model: &Url) -> String {
    let url = model.to_string();
    ["//127.0.0.1:", "//localhost:", "//[::1]:"].iter().fold(url, |url, local| url.replacen(local, "//10.0.2.2:", 1))
}

/// The token of the machines of this folder.
fn token(file: &Path) -> Result<String, Failure> {
    if !file.exists() {
        key::write(file)?;
    }
    let token = fs::read_to_string(file).map_err(|error| Failure::io("read", file, &error))?;
    Ok(token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_owner_says_stands_and_the_rest_is_added() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llmbasedos.toml");
        fs::write(&file, "hostname = \"attic\"\n[listen]\nsites = \"127.0.0.1:9\"\n").expect("written");
        let content = settings(Some(&file), "0123456789abcdef", "http://10.0.2.2:1").expect("sound");
        let config = SystemConfig::parse("c", &content).expect("sound");
        let listen: Vec<String> = config.listen.values().map(ToString::to_string).collect();
        assert_eq!((listen, config.gateway.tokens.len()), (vec!["0.0.0.0:80".to_owned(), "127.0.0.1:9".to_owned()], 1));

        fs::write(&file, "hostnam = \"attic\"\n").expect("written");
        let router = config.arcs.values().next().map(ToString::to_string).unwrap_or_default();
        assert!(router.contains("url = \"http://10.0.2.2:1\""), "{router}");

        let broken = settings(Some(&file), "0123456789abcdef", "http://10.0.2.2:1").expect_err("broken").to_string();
        assert!(broken.contains("Close to it: hostname"), "{broken}");
    }
}
