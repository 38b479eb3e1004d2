//! The quick image: a distribution's kernel and our static programs, put together without root and without loop
//! devices, for QEMU and for tests. The same inputs give the same bytes.
//!
//! Beside what every disk comes with (`disk/mod.rs`), its output folder has:
//!
//! | path in the output folder | what |
//! | --- | --- |
//! | `*.dtb` | what the kernel is told of a Raspberry Pi |
//! | `firmware.fd`, `variables.fd` | UEFI firmware for QEMU, and what it keeps from one start to the next |

mod acceleration;
pub(crate) mod board;
mod boot;
pub(crate) mod compiler;
mod libraries;
mod local_model;
mod ollama;
mod packages;
mod wifi;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use crate::architecture::Architecture;
use crate::cache::{Cache, make_folder, remove_folder, try_lock};
use crate::cli::{BootOptions, BuildOptions};
use crate::disk::modules::Modules;
use crate::disk::{DataFile, Image, Loader, Parts, Tools, megabytes};
use crate::failure::Failure;
use crate::ollama::{Ollama, Starter, has_accelerators};
use crate::process;
use crate::release;
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};
use board::Board;
use local_model::LocalModel;
use packages::Packages;
use wifi::Wifi;

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
    let name = format!("{architecture}{}", kind(options));
    let folder = folder.unwrap_or_else(|| repository.path("build").join(name));
    make_folder(&folder)?;
    let _lock = lock(&folder)?;
    repository.link_programs()?;
    let terminal = Terminal::new(format!("llmbasedos {} · quick image · {architecture}", env!("CARGO_PKG_VERSION")));
    let image = build(architecture, options, &folder, repository, &terminal, signals)?;
    if let (Some(options), Some(board)) = (boot, board) {
        return boot::Guest { image: &image, board, folder: &folder, options }.run(repository, signals);
    }
    say(format_args!("\nimage    {}   {:.0} MB", short(&image.disk), megabytes(&image.disk)?));
    let other = if architecture == Architecture::X86_64 { "" } else { &format!(" --arch {architecture}") };
    let model = match &options.ollama {
        Some(given) if options.ollama_gpu => format!(" --ollama {} --ollama-gpu", given.display()),
        Some(given) => format!(" --ollama {}", given.display()),
        None if options.with_model => " --with-model".to_owned(),
        None if options.with_radios => " --with-radios".to_owned(),
        None => String::new(),
    };
    let starter = options.starter_model.as_ref().map(|file| format!(" --starter-model {}", file.display()));
    let output = options.output.as_ref().map(|folder| format!(" --output {}", folder.display()));
    let rest = [starter, output].map(Option::unwrap_or_default).concat();
    say(format_args!("next     scripts/run --qemu{other}{model}{rest}"));
    Ok(())
}

/// What the folder of an image is called after, beside the kind of machine.
fn kind(options: &BuildOptions) -> &'static str {
    match (options.with_model, &options.ollama) {
        (true, _) => "-model",
        (false, Some(_)) if options.ollama_gpu => "-ollama-gpu",
        (false, Some(_)) => "-ollama",
        (false, None) if options.with_radios => "-radios",
        (false, None) => "",
    }
}

/// Keeps others from the folder: a machine that runs must not have its disk changed under it.
pub(crate) fn lock(folder: &Path) -> Result<File, Failure> {
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
    options: &BuildOptions,
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
    let packages = Packages::unpack(&cache, architecture, options.with_radios, &day, signals)?;
    let wifi = options.with_radios.then(|| Wifi::provide(architecture, &cache, &day, signals)).transpose()?;
    let compiler = compiler::find(architecture, &cache, &day, repository, signals)?;
    drop(lock);
    stage.finish(&format!("ready · Linux {}", packages.release));

    let stage = terminal.stage("programs", &format!("static, {architecture}"), "building");
    let profile = release::Profile::Quick;
    let programs = release::build(profile, architecture, compiler.as_deref(), repository, signals)?;
    stage.finish("ready");

    let model = match options.with_model {
        true => Some(LocalModel::provide(architecture, &cache, &day, terminal, signals)?),
        false => None,
    };
    let tree = work.join("tree");
    packages.fill(&tree)?;
    wifi.map_or(Ok(()), |wifi| wifi.fill(&tree))?;
    release::install(&programs, &tree)?;
    if let Some(given) = &options.ollama {
        let stage = terminal.stage("ollama", &short(given), "taking");
        let release = Ollama::open(given, architecture, options.ollama_gpu, &work, signals)?;
        ollama::install(&release, &tree, architecture, &cache, &day, signals)?;
        stage.finish("ready");
    }
    let starter = options.starter_model.as_deref().map(Starter::open).transpose()?;
    for board in Board::value_variants().iter().filter(|board| board.architecture() == architecture) {
        let Some(name) = board.device_tree() else { continue };
        let source = packages.device_tree(name);
        fs::copy(&source, folder.join(name)).map_err(|error| Failure::io("copy", &source, &error))?;
    }
    packages.copy_firmware(folder)?;
    let parts = Parts {
        architecture,
        kernel: packages.kernel_file(),
        modules: Modules::read(&packages.kernel, &packages.release)?,
        loader: Loader::Grub { stub: packages.stub(), grub: packages.grub },
        settings: model.as_ref().map(|_| LocalModel::settings()).unwrap_or_default(),
        data_mib: model.as_ref().map_or(Ok(0), LocalModel::mib)? + starter.as_ref().map_or(0, Starter::mib),
        has_large_root: has_accelerators(&tree),
        data: data_files(model.as_ref(), starter.as_ref(), &tree, &work, signals)?,
        tree,
    };
    let tools = Tools { work: &work, host: None, layout: parts.layout(), epoch, signals };
    parts.assemble(folder, &tools, repository, terminal)
}

/// What lies on the data partition from the beginning.
fn data_files(
    model: Option<&LocalModel>,
    starter: Option<&Starter>,
    tree: &Path,
    work: &Path,
    signals: &Signals,
) -> Result<Vec<DataFile>, Failure> {
    let mut files = model.map_or(Ok(Vec::new()), |model| model.files(work))?;
    files.extend(starter.map_or(Ok(Vec::new()), |starter| starter.files(tree, work, signals))?);
    Ok(files)
}

/// The moment that every file in the image bears: that of the last commit, or what `SOURCE_DATE_EPOCH` says
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
pub(crate) fn epoch(repository: &Repository, signals: &Signals) -> Result<u64, Failure> {
    if let Some(stated) = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()) {
        return Ok(stated);
    }
    let mut git = Command::new("git");
    let said = process::ask(git.current_dir(repository.path("")).args(["log", "-1", "--format=%ct"]), signals)?;
    let parsed = said.and_then(|text| text.trim().parse().map_err(|_| format!("git says {text:?}")));
    parsed.map_err(|why| Failure::new("the age of the sources is not known", why, "set SOURCE_DATE_EPOCH=SECONDS"))
}
