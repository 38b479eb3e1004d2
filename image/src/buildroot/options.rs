//! What can be asked of Buildroot.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::product::Board;

/// A command that has to do with Buildroot.
#[derive(Debug, Subcommand)]
pub(crate) enum BuildrootCommand {
    /// Build the product image of a board: `scripts/build-image`.
    #[command(override_usage = "scripts/build-image [OPTIONS] BOARD", override_help = include_str!("help.txt"))]
    Build(BuildrootOptions),
    /// Hold each line of the kernel's fragments against the configuration that came of them: a hook of Buildroot calls this.
    CheckKernel {
        /// Buildroot's configuration, which names the fragments.
        #[arg(long, value_name = "FILE")]
        buildroot_config: PathBuf,
        /// The kernel's configuration.
        #[arg(long, value_name = "FILE")]
        kernel_config: PathBuf,
        /// The folder `buildroot-config`.
        #[arg(long, value_name = "DIR")]
        external: PathBuf,
    },
}

/// How a product image is built; `buildroot/help.txt` tells what each option means.
#[derive(Debug, Args)]
pub(crate) struct BuildrootOptions {
    pub(crate) board: Board,
    #[arg(long)]
    pub(crate) list_sources: bool,
    #[arg(long, value_name = "DIR|ARCHIVE", conflicts_with = "lite")]
    pub(crate) ollama: Option<PathBuf>,
    #[arg(long, conflicts_with = "lite")]
    pub(crate) ollama_gpu: bool,
    #[arg(long)]
    pub(crate) lite: bool,
    #[arg(long, value_name = "FILE.gguf")]
    pub(crate) starter_model: Option<PathBuf>,
    #[arg(long, value_name = "DIR")]
    pub(crate) downloads: Option<PathBuf>,
    #[arg(long)]
    pub(crate) offline: bool,
    #[arg(long, value_name = "DIR")]
    pub(crate) buildroot: Option<PathBuf>,
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<u16>,
    #[arg(long, value_name = "FILE")]
    pub(crate) local_fragment: Vec<PathBuf>,
}
