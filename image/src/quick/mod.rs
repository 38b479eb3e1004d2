//! The quick image: a distribution's kernel and our static programs, put together without root and without loop
//! devices, for QEMU and for tests. The same inputs give the same bytes.
//!
//! | path in the output folder | what |
//! | --- | --- |
//! | `disk.img` | the disk, sparse |
//! | `vmlinux` | the kernel as QEMU starts it without a boot loader |
//! | `initramfs.cpio.zst` | the first stage |
//! | `command-line` | what the kernel is told |
//! | `*.dtb` | what it is told of a Raspberry Pi |
//! | `firmware.fd`, `variables.fd` | UEFI firmware for QEMU, and what it keeps from one start to the next |
//! | `work/` | the parts that the disk is made of, by the names of their partitions |
//!
//! The disk is one for a first boot: only slot A is filled, because a second copy of the same system would double what is
//! packed, sent and flashed. What slot B takes is made all the same, for tests: `work/boot-b.img`, and `work/root.img`.

mod acceleration;
pub(crate) mod board;
mod boot;
mod compiler;
pub(crate) mod local_model;
pub(crate) mod packages;
pub(crate) mod size;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use spec::boot::{BootState, CONFIG_PARTITION, DATA_PARTITION, RootImage, STATE_PARTITION, Slot};

use crate::architecture::Architecture;
use crate::cache::{Cache, make_folder, remove_folder, try_lock};
use crate::cli::{BootOptions, BuildOptions};
use crate::disk::layout::Layout;
use crate::disk::modules::{self, Modules};
use crate::disk::{Tools, Zeros, esp, kernel, megabytes, put, root, state, uki, write};
use crate::failure::Failure;
use crate::process;
use crate::release;
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};
use board::Board;
use local_model::LocalModel;
use packages::Packages;

/// What a built image is made of.
#[derive(Debug)]
pub(crate) struct Image {
    layout: Layout,
    pub(crate) disk: PathBuf,
    /// What lies on its partitions that no machine changes, by their names.
    pub(crate) system: Vec<(&'static str, PathBuf)>,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// What the kernel is told, beside what a way of booting adds.
    pub(crate) command_line: String,
    /// UEFI firmware.
    pub(crate) firmware: PathBuf,
    /// What a firmware that has never run keeps.
    pub(crate) variables: PathBuf,
}

/// Builds the image and, where that is wanted, boots it.
pub(crate) fn run(
    options: &BuildOptions,
    boot: Option<&BootOptions>,
    repository: &Repository,
    signals: &Signals,
) -> Result<(), Failure> {
    let board = boot.map(boot::board).transpose()?;
    let architecture = board.map_or(options.architecture(), Board::architecture);
    let folder = options.output.as_deref().and_then(|folder| std::path::absolute(folder).ok());
    let name = if options.with_model { format!("{architecture}-model") } else { architecture.to_string() };
    let folder = folder.unwrap_or_else(|| repository.path("build").join(name));
    make_folder(&folder)?;
    let _lock = lock(&folder)?;
    repository.link_programs()?;
    let terminal = Terminal::new(format!("llmbasedos {} · quick image · {architecture}", env!("CARGO_PKG_VERSION")));
    let image = build(architecture, options.with_model, &folder, repository, &terminal, signals)?;
    if let (Some(options), Some(board)) = (boot, board) {
        return boot::Guest { image: &image, board, folder: &folder, options }.run(repository, signals);
    }
    say(format_args!("\nimage    {}   {:.0} MB", short(&image.disk), megabytes(&image.disk)?));
    let other = if architecture == Architecture::X86_64 { "" } else { &format!(" --arch {architecture}") };
    let model = if options.with_model { " --with-model" } else { "" };
    say(format_args!("next     scripts/run --qemu{other}{model}"));
    Ok(())
}

/// Keeps others from the folder: a machine that runs must not have its disk changed under it.
fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|error| Failure::io("write", &path, &error))?;
    if try_lock(&file, &path)? {
        return Ok(file);
    }
    let advice = "end that one; or use another folder: --output DIR";
    Err(Failure::new(format!("{} is in use", short(folder)), "a machine runs or is built there", advice))
}

/// Builds the image in `folder`.
fn build(
    architecture: Architecture,
    with_model: bool,
    folder: &Path,
    repository: &Repository,
    terminal: &Terminal,
    signals: &Signals,
) -> Result<Image, Failure> {
    let work = folder.join("work");
    remove_folder(&work)?;
    make_folder(&work)?;
    let stage = terminal.stage("packages", "kernel, boot loader, firmware, e2fsck", "fetching");
    let cache = Cache::find()?;
    let lock = cache.lock(signals, || stage.doing("waiting for another that fetches"))?;
    let epoch = epoch(repository, signals)?;
    let day = (epoch / 86_400).to_string();
    let packages = Packages::unpack(&cache, architecture, &day, signals)?;
    let compiler = compiler::find(architecture, &cache, &day, repository, signals)?;
    drop(lock);
    stage.finish(&format!("ready · Linux {}", packages.release));

    let stage = terminal.stage("programs", &format!("static, {architecture}"), "building");
    let profile = release::Profile::Quick;
    let programs = release::build(profile, architecture, compiler.as_deref(), repository, signals)?;
    stage.finish("ready");

    let model = match with_model {
        true => Some(LocalModel::provide(architecture, &cache, &day, terminal, signals)?),
        false => None,
    };
    let stage = terminal.stage("root", "erofs with its hash tree", "making");
    let modules = Modules::read(&packages.kernel, &packages.release, signals)?;
    let first = work.join("modules");
    let loaded = modules.copy(modules::FIRST, &[], &first)?;
    let layout = Layout { data_mib: model.as_ref().map_or(Ok(0), LocalModel::mib)? };
    let tools = Tools { work: &work, layout, epoch, signals };
    let root = root::Root { programs: &programs, packages: &packages, modules: &modules, loaded: &loaded, repository };
    let (root, verified) = root.make(&tools, Slot::A)?;
    stage.finish(&format!("{:.1} MB", megabytes(&root)?));

    let stage = terminal.stage("kernel", "with its initramfs", "packing");
    let (vmlinux, packed) = (folder.join("vmlinux"), packages.kernel_file());
    kernel::unpack(architecture, &packed, &vmlinux, signals)?;
    let initramfs = tools.initramfs(&programs.join("init"), &first, folder)?;
    let line = |slot: Slot| command_line(RootImage { slot, ..verified });
    write(&folder.join("command-line"), &format!("{}\n", line(Slot::A)))?;
    let kernel = uki::Kernel { architecture, stub: &packages.stub(), kernel: &packed, initramfs: &initramfs };
    let boot = kernel.partition(&tools, Slot::A, &line(Slot::A))?;
    kernel.partition(&tools, Slot::B, &line(Slot::B))?;
    stage.finish(&format!("{:.1} MB", megabytes(&initramfs)?));

    let stage = terminal.stage("disk", "partitions and file systems", "putting together");
    let esp = esp::make(&tools, architecture, &packages.grub)?;
    let (boot_a, root_a) = (Slot::A.boot_partition(), Slot::A.root_partition());
    let system = vec![(esp::PARTITION, esp), (boot_a, boot), (root_a, root)];
    let own = [
        (STATE_PARTITION, state::make(&tools, BootState::only(Slot::A))?),
        (CONFIG_PARTITION, tools.config(model.as_ref())?),
        (DATA_PARTITION, tools.data(model.as_ref())?),
    ];
    let disk = folder.join("disk.img");
    layout.create(&disk)?;
    for (name, source) in system.iter().chain(&own) {
        put(source, &disk, layout.place(name)?, Zeros::Hole)?;
    }
    for board in Board::value_variants().iter().filter(|board| board.architecture() == architecture) {
        let Some(name) = board.device_tree() else { continue };
        let source = packages.device_tree(name);
        fs::copy(&source, folder.join(name)).map_err(|error| Failure::io("copy", &source, &error))?;
    }
    let (firmware, variables) = packages.copy_firmware(folder)?;
    stage.finish("ready");
    let command_line = line(Slot::A);
    Ok(Image { layout, disk, system, kernel: vmlinux, initramfs, command_line, firmware, variables })
}

/// What a kernel is told, beside where its messages go.
fn command_line(root: RootImage) -> String {
    format!("quiet panic=10 gpt printk.devkmsg=on cryptomgr.notests=1 {root}")
}

/// The moment that every file in the image bears: that of the last commit, or what `SOURCE_DATE_EPOCH` says
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn epoch(repository: &Repository, signals: &Signals) -> Result<u64, Failure> {
    if let Some(stated) = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()) {
        return Ok(stated);
    }
    let mut git = Command::new("git");
    let said = process::ask(git.current_dir(repository.path("")).args(["log", "-1", "--format=%ct"]), signals)?;
    let parsed = said.and_then(|text| text.trim().parse().map_err(|_| format!("git says {text:?}")));
    parsed.map_err(|why| Failure::new("the age of the sources is not known", why, "set SOURCE_DATE_EPOCH=SECONDS"))
}
