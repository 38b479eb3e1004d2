//! The product image: what Buildroot has built, put together as the quick image is (`disk/mod.rs`), and packed to be
//! flashed. Buildroot's post-image hook calls it (`buildroot-config/`).
//!
//! Beside what every disk comes with, its output folder has:
//!
//! | path in the output folder | what |
//! | --- | --- |
//! | `llmbasedos-<board>.img.zst` | the disk, packed |
//! | `llmbasedos-<board>.img.zst.sha256` | its hash, as sha256sum(1) writes it |
//! | `*.dtb` | what the kernel is told of a Raspberry Pi |

mod buildroot;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::architecture::Architecture;
use crate::cache::{make_folder, remove_folder, sha256_of};
use crate::disk::raspberry_pi::Model;
use crate::disk::{Image, Tools, megabytes, text, write};
use crate::failure::Failure;
use crate::ollama::Starter;
use crate::quick;
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};

/// A board that product images are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Board {
    /// A PC with UEFI.
    #[value(name = "x86_64")]
    Pc,
    /// A Raspberry Pi 4, 400, or Compute Module 4.
    #[value(name = "rpi4")]
    RaspberryPi4,
    /// A Raspberry Pi 5.
    #[value(name = "rpi5")]
    RaspberryPi5,
}

impl Board {
    /// By the name that the command line has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pc => "x86_64",
            Self::RaspberryPi4 => "rpi4",
            Self::RaspberryPi5 => "rpi5",
        }
    }

    /// The kind of machine that it is.
    pub(crate) fn architecture(self) -> Architecture {
        if self == Self::Pc { Architecture::X86_64 } else { Architecture::Aarch64 }
    }

    /// Where its image lies, below the folder that Buildroot builds in.
    pub(crate) fn image(self, output: &Path) -> PathBuf {
        output.join("images/llmbasedos").join(self.image_name())
    }

    fn image_name(self) -> String {
        format!("llmbasedos-{}.img.zst", self.name())
    }

    /// Which Raspberry Pi it is, if it is one.
    fn raspberry_pi(self) -> Option<Model> {
        match self {
            Self::Pc => None,
            Self::RaspberryPi4 => Some(Model::Pi4),
            Self::RaspberryPi5 => Some(Model::Pi5),
        }
    }
}

/// What Buildroot has built, and where the image goes.
#[derive(Debug, Args)]
pub(crate) struct ProductOptions {
    /// The board that it is for.
    #[arg(long)]
    pub(crate) board: Board,
    /// Buildroot's folder of images: kernel, firmware, boot loader.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: PathBuf,
    /// Buildroot's folder of what goes onto the root.
    #[arg(long, value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Buildroot's folder of programs for this machine; what it has not is taken from this machine.
    #[arg(long, value_name = "DIR")]
    pub(crate) host: PathBuf,
    /// The folder that the image is built in.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// A model that the machine has from the first start on.
    #[arg(long, value_name = "FILE.gguf")]
    pub(crate) starter_model: Option<PathBuf>,
}

/// Makes the image.
pub(crate) fn run(options: &ProductOptions, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Failure::io("find", path, &error));
    let (folder, host) = (absolute(&options.output)?, absolute(&options.host)?);
    make_folder(&folder)?;
    let _lock = quick::lock(&folder)?;
    let work = folder.join("work");
    remove_folder(&work)?;
    make_folder(&work)?;
    let board = options.board;
    let terminal = Terminal::new(format!("llmbasedos {} · {}", env!("CARGO_PKG_VERSION"), board.name()));
    let mut parts = buildroot::parts(board, &absolute(&options.images)?, &absolute(&options.target)?, &host)?;
    if let Some(file) = &options.starter_model {
        let starter = Starter::open(file)?;
        parts.data = starter.files(&parts.tree, &work, signals)?;
        parts.data_mib = starter.mib();
    }
    let epoch = quick::epoch(repository, signals)?;
    let tools = Tools { work: &work, host: Some(&host), layout: parts.layout(), epoch, signals };
    let image = parts.assemble(&folder, &tools, repository, &terminal)?;

    let stage = terminal.stage("image", "packed to be flashed", "packing");
    let packed = pack(board, &image, &folder, &tools)?;
    stage.finish(&format!("{:.1} MB", megabytes(&packed)?));
    say(format_args!("\nimage    {}   {:.1} MB", short(&packed), megabytes(&packed)?));
    say(format_args!("next     scripts/flash {}", short(&packed)));
    Ok(())
}

/// Packs the disk, and writes down its hash.
fn pack(board: Board, image: &Image, folder: &Path, tools: &Tools<'_>) -> Result<PathBuf, Failure> {
    let name = board.image_name();
    let packed = folder.join(&name);
    tools.run("zstd", &["-q", "-f", "-15", "-T0", &text(&image.disk), "-o", &text(&packed)])?;
    write(&folder.join(format!("{name}.sha256")), &format!("{}  {name}\n", sha256_of(&packed, tools.signals)?))?;
    Ok(packed)
}
