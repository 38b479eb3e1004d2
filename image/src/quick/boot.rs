//! Booting an image in QEMU, with its gateway and its sites reached through ports of this machine.
//!
//! The image itself stays as it was built: the machine has a disk of its own, a copy, whose data last from one boot to the
//! next; only its system is replaced by the one that was built last. Its settings (`llmbasedos.toml`) are written into it
//! before each boot.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use spec::SystemConfig;
use spec::boot::CONFIG_PARTITION;
use toml::{Table, Value};

use super::acceleration::Acceleration;
use super::board::Board;
use super::local_model::LocalModel;
use super::packages::{FIRMWARE, VARIABLES};
use crate::cli::BootOptions;
use crate::disk::{Image, Tools, Zeros, put, text, write};
use crate::failure::Failure;
use crate::grants;
use crate::http::Url;
use crate::key;
use crate::process::{self, LOOK_EVERY};
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::tables::{nested, table};
use crate::terminal::say;

/// The ports of the guest.
const GATEWAY_PORT: u16 = 80;
const SECURE_PORT: u16 = 443;
const SITES_PORT: u16 = 8001;
/// How long the guest may take to stop once it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// Its memory unless something else is said, in MiB.
const MEMORY: u32 = 512;
const MEMORY_WITH_MODEL: u32 = 2048;

/// The machine that is asked for; refuses what does not fit together.
pub(super) fn board(options: &BootOptions) -> Result<Board, Failure> {
    let board = options.machine.unwrap_or_else(|| Board::of(options.build.architecture()));
    let wrong = |what: String, advice: String| Err(Failure::new(what, "", advice));
    let (name, architecture) = (board.name(), board.architecture());
    match board.fixed_memory() {
        _ if options.build.arch.is_some_and(|wanted| wanted != architecture) => {
            let wanted = options.build.architecture();
            wrong(format!("{name} is a machine for {architecture}, not for {wanted}"), "leave --arch away".to_owned())
        }
        _ if options.uefi && !board.has_firmware() => {
            wrong(format!("QEMU has no firmware for {name}"), "leave --uefi away, or use --machine virt".to_owned())
        }
        Some(fixed) if options.memory.is_some_and(|wanted| wanted != fixed) => {
            wrong(format!("{name} has {fixed} MiB of memory"), "leave --memory away".to_owned())
        }
        Some(fixed) if options.build.runs_models() && fixed < MEMORY_WITH_MODEL => wrong(
            format!("{name} has {fixed} MiB of memory, and with a model it takes {}", MEMORY_WITH_MODEL),
            "leave --with-model and --ollama away, or use --machine virt".to_owned(),
        ),
        _ => Ok(board),
    }
}

/// A machine to be booted.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) image: &'a Image,
    pub(crate) board: Board,
    /// Where its disk and its token lie.
    pub(crate) folder: &'a Path,
    pub(crate) options: &'a BootOptions,
}

impl Guest<'_> {
    /// Boots it in the foreground, its serial console on the standard output, until it ends or the user ends it.
    pub(crate) fn run(&self, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
        let disk = self.disk()?;
        let token_file = self.folder.join("token");
        let token = token(&token_file)?;
        self.write_settings(&disk, &token, signals)?;
        let acceleration = Acceleration::probe(self.board, &self.image.kernel, signals)?;
        say(format_args!("machine  {}", acceleration.describe()));
        let url = format!("ws://{}/ws", self.options.listen);
        say(format_args!("gateway  {url}"));
        say(format_args!("page     https://{}/", self.secure()));
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
                off.args(["--gateway", &url, "--timeout", "10s", "--token-file"]);
                off.arg(&token_file).arg("system.poweroff").stdout(Stdio::null()).stderr(Stdio::null());
                switch_off(&mut machine, &mut off);
                return Err(interrupted.keeping(&format!("its disk is kept in {}", short(&disk))));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn sites(&self) -> SocketAddr {
        SocketAddr::new(self.options.listen.ip(), self.options.listen.port() + 1)
    }

    fn secure(&self) -> SocketAddr {
        SocketAddr::new(self.options.listen.ip(), self.options.listen.port() + 2)
    }

    /// The machine's own disk: at first a copy of the image's, later the same with the system that was built last.
    fn disk(&self) -> Result<PathBuf, Failure> {
        let disk = self.folder.join("machine.img");
        if disk.exists() {
            self.check_layout(&disk)?;
            for (partition, content) in &self.image.system {
                put(content, &disk, self.image.layout.place(partition)?, Zeros::Written)?;
            }
            return self.enlarged(disk);
        }
        // Whole it gets its name: half a copy would be taken for a machine.
        let part = self.folder.join("machine.img.part");
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]).arg(&self.image.disk).arg(&part);
        let status = copy.status().map_err(|error| Failure::io("write", &part, &error))?;
        if !status.success() {
            return Err(Failure::new(format!("cannot write {}", part.display()), status, "see above"));
        }
        fs::rename(&part, &disk).map_err(|error| Failure::io("finish", &disk, &error))?;
        self.enlarged(disk)
    }

    /// Refuses a disk with other partitions than those that are to be written: its data would be overwritten.
    fn check_layout(&self, disk: &Path) -> Result<(), Failure> {
        let made_anew = format!("keep what you need of it, and move it away: mv {0} {0}.old", short(disk));
        let wrong = |why: String| Failure::new(format!("{} cannot be used", short(disk)), why, made_anew.as_str());
        match self.image.layout.is_that_of(disk) {
            Ok(true) => Ok(()),
            Ok(false) => Err(wrong("its partitions lie elsewhere than those of this version".to_owned())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// With empty room behind what is on it, which costs nothing until it is used.
    fn enlarged(&self, disk: PathBuf) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| Failure::io("write", &disk, &error);
        let file = fs::File::options().write(true).open(&disk).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        file.set_len(self.board.disk_size(size.max(self.options.disk << 20))).map_err(failed)?;
        Ok(disk)
    }

    fn write_settings(&self, disk: &Path, token: &str, signals: &Signals) -> Result<(), Failure> {
        let build = &self.options.build;
        let (backends, grants) = match (build.with_model, &build.ollama) {
            (true, _) => (LocalModel::backend(), LocalModel::grants()),
            // The router asks it where nothing else is said.
            (false, Some(_)) => Default::default(),
            (false, None) => {
                let backends = hosts_backend(&self.options.model);
                let grants = grants::of_backends(&backends);
                (backends, grants)
            }
        };
        let content = settings(self.options.config.as_deref(), token, backends, grants)?;
        let file = self.folder.join("work/settings.toml");
        write(&file, &content)?;
        let tools = Tools { work: self.folder, host: None, layout: self.image.layout, epoch: 0, signals };
        let at = format!("{}@@{}", disk.display(), self.image.layout.place(CONFIG_PARTITION)?.start);
        tools.run("mcopy", &["-o", "-i", &at, &text(&file), "::/llmbasedos.toml"])?;
        Ok(())
    }

    fn command(&self, disk: &Path, acceleration: Acceleration) -> Result<Command, Failure> {
        let forward = |address: SocketAddr, port: u16| format!("hostfwd=tcp:{address}-:{port}");
        let forwards = [(self.options.listen, GATEWAY_PORT), (self.secure(), SECURE_PORT), (self.sites(), SITES_PORT)];
        let forwards = forwards.map(|(address, port)| forward(address, port)).join(",");
        let usual = if self.options.build.runs_models() { MEMORY_WITH_MODEL } else { MEMORY };
        let memory = self.board.fixed_memory().or(self.options.memory).unwrap_or(usual).to_string();
        let mut qemu = acceleration.qemu(self.board);
        qemu.args(["-smp", self.board.processors(), "-m", &memory, "-display", "none", "-nodefaults"]);
        if self.options.uefi {
            self.start_by_firmware(&mut qemu)?;
        } else {
            self.start_by_qemu(&mut qemu);
        }
        self.board.equip(&mut qemu, &text(disk), &forwards);
        Ok(qemu)
    }

    fn start_by_qemu(&self, qemu: &mut Command) {
        let append = format!("{} {} {}", self.image.command_line, self.board.words(), self.options.append);
        qemu.arg("-no-reboot").arg("-kernel").arg(&self.image.kernel).arg("-initrd").arg(&self.image.initramfs);
        qemu.args(["-append", append.trim()]);
        if let Some(file) = self.board.device_tree() {
            qemu.arg("-dtb").arg(self.folder.join(file));
        }
    }

    /// A restart is one: the boot loader may choose the other slot.
    fn start_by_firmware(&self, qemu: &mut Command) -> Result<(), Failure> {
        let variables = self.folder.join("machine-variables.fd");
        if !variables.exists() {
            let copied = fs::copy(self.folder.join(VARIABLES), &variables);
            copied.map_err(|error| Failure::io("write", &variables, &error))?;
        }
        let flash = "if=pflash,format=raw";
        qemu.args(["-drive", &format!("{flash},readonly=on,file={}", self.folder.join(FIRMWARE).display())]);
        qemu.args(["-drive", &format!("{flash},file={}", variables.display())]);
        Ok(())
    }
}

/// Asks the machine to end until it does: while it starts, nobody answers there.
fn switch_off(machine: &mut process::Running, off: &mut Command) {
    let begun = Instant::now();
    let mut is_asked = false;
    while machine.ended().is_none() {
        let left = STOP_PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            say("it did not end in time: its plug is pulled");
            return;
        }
        if !is_asked {
            let asked = process::Running::start(off).map(|mut asked| asked.wait_at_most(left));
            is_asked = matches!(asked, Ok(Some(status)) if status.success());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What the machine's `llmbasedos.toml` says: what the owner's does, and how it is reached unless that says otherwise.
fn settings(owners: Option<&Path>, token: &str, backends: Table, granted: Table) -> Result<String, Failure> {
    let mut table = match owners {
        None => Table::new(),
        Some(file) => {
            let source = fs::read_to_string(file).map_err(|error| Failure::io("read", file, &error))?;
            let broken = |why: String| Failure::new("the configuration is broken", why, "mend it and run this again");
            SystemConfig::parse(&text(file), &source).map_err(|problems| broken(problems.to_string()))?;
            source.parse().map_err(|error: toml::de::Error| broken(error.to_string()))?
        }
    };
    // A token of this command's own, beside the owner's: it switches the machine off.
    let gateway = table.entry("gateway").or_insert_with(|| Value::from(Table::new()));
    if let Some(gateway) = gateway.as_table_mut() {
        let tokens = gateway.entry("tokens").or_insert_with(|| Value::from(Vec::<Value>::new()));
        tokens.as_array_mut().into_iter().for_each(|tokens| tokens.push(Value::from(token)));
    }
    let listen = table.entry("listen").or_insert_with(|| Value::from(Table::new()));
    if let Some(listen) = listen.as_table_mut() {
        for (name, port) in [("gateway", GATEWAY_PORT), ("sites", SITES_PORT)] {
            listen.entry(name).or_insert(Value::from(format!("0.0.0.0:{port}")));
        }
    }
    let grants = table.entry("grants").or_insert_with(|| Value::from(Table::new()));
    if let Some(grants) = grants.as_table_mut() {
        for (arc, grant) in granted {
            grants.entry(arc).or_insert(grant);
        }
    }
    let arcs = table.entry("arcs").or_insert_with(|| Value::from(Table::new()));
    if let Some(arcs) = arcs.as_table_mut().filter(|_| !backends.is_empty()) {
        arcs.entry("llm_router").or_insert(Value::from(nested(&["backends"], backends)));
    }
    Ok(table.to_string())
}

/// The router's backend for a model server, by its name. One of this machine is where the guest reaches it: QEMU forwards
/// what goes to that address to our loopback.
fn hosts_backend(model: &Url) -> Table {
    let locals = ["//127.0.0.1:", "//localhost:", "//[::1]:"];
    let url = locals.iter().fold(model.to_string(), |url, local| url.replacen(local, "//10.0.2.2:", 1));
    // Here the model may share two cores with the machine that asks it.
    nested(&["host"], table([("kind", "openai"), ("url", &url), ("timeout", "600s")]))
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
    use std::os::unix::fs::FileExt;

    use clap::Parser as _;
    use spec::boot::DATA_PARTITION;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::disk::layout::Layout;

    #[test]
    fn a_machine_keeps_its_disk_under_a_larger_image_and_one_with_other_partitions_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let cli = Cli::try_parse_from(["image", "boot", "--disk", "1"]).expect("sound");
        let Command::Boot(options) = cli.command else { panic!("asked for boot") };
        let disk_under = |layout: Layout| {
            let disk = folder.path().join("disk.img");
            layout.create(&disk).expect("made");
            let nowhere = PathBuf::new();
            let (kernel, initramfs) = (nowhere.clone(), nowhere);
            let image = Image { layout, disk, system: Vec::new(), kernel, initramfs, command_line: String::new() };
            Guest { image: &image, board: Board::Q35, folder: folder.path(), options: &options }.disk()
        };
        let usual = Layout::default();
        let disk = disk_under(usual).expect("a copy");
        let at = usual.place(DATA_PARTITION).expect("there").start;
        let file = fs::File::options().read(true).write(true).open(&disk).expect("there");
        file.write_all_at(b"kept", at).expect("written");
        disk_under(Layout { data_mib: 500, ..usual }).expect("the same one");
        let mut there = [0; 4];
        let file = fs::File::open(&disk).expect("there");
        file.read_exact_at(&mut there, at).expect("read");
        assert_eq!(&there, b"kept");
        let failure = disk_under(usual.with_root_of(1 << 30)).expect_err("other roots").to_string();
        assert!(failure.contains("its partitions lie elsewhere"), "{failure}");
    }

    #[test]
    fn what_the_owner_says_stands_and_the_rest_is_added() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llmbasedos.toml");
        fs::write(&file, "hostname = \"attic\"\n[listen]\nsites = \"127.0.0.1:9\"\n").expect("written");
        let url: Url = "http://127.0.0.1:1".parse().expect("sound");
        let settings = |token| settings(Some(&file), token, hosts_backend(&url), Table::new());
        let content = settings("0123456789abcdef").expect("sound");
        let config = SystemConfig::parse("c", &content).expect("sound");
        let listen: Vec<String> = config.listen.values().map(ToString::to_string).collect();
        assert_eq!((listen, config.gateway.tokens.len()), (vec!["0.0.0.0:80".to_owned(), "127.0.0.1:9".to_owned()], 1));

        fs::write(&file, "hostnam = \"attic\"\n").expect("written");
        let router = config.arcs.values().next().map(ToString::to_string).unwrap_or_default();
        assert!(router.contains("url = \"http://10.0.2.2:1\""), "{router}");

        let broken = settings("0123456789abcdef").expect_err("broken").to_string();
        assert!(broken.contains("Close to it: hostname"), "{broken}");
    }
}
