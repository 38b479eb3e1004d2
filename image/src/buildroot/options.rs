//! What can be asked of Buildroot.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::product::Board;

/// A command that has to do with Buildroot.
#[derive(Debug, Subcommand)]
pub(crate) enum BuildrootCommand {
    /// Build the product image of a board: `scripts/build-image`.
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

/// How a product image is built.
#[derive(Debug, Args)]
pub(crate) struct BuildrootOptions {
    /// The machine that it is for.
    pub(crate) board: Board,
    /// Build nothing: print every file that the build takes, with its hash and where it is to be had.
    #[arg(long)]
    pub(crate) list_sources: bool,
    /// A folder or archive with Ollama, in the place of the release that is fetched.
    #[arg(long, value_name = "DIR|ARCHIVE", conflicts_with = "lite")]
    pub(crate) ollama: Option<PathBuf>,
    /// The server of llama.cpp in the place of Ollama: a smaller image for a smaller machine.
    #[arg(long)]
    pub(crate) lite: bool,
    /// A model that is there at the first start.
    #[arg(long, value_name = "FILE.gguf")]
    pub(crate) starter_model: Option<PathBuf>,
    /// The folder with the sources; what is missing is fetched into it [build/buildroot/downloads].
    #[arg(long, value_name = "DIR")]
    pub(crate) downloads: Option<PathBuf>,
    /// Fetch nothing: the folder with the sources must be enough.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Buildroot's own tree [build/buildroot/tree].
    #[arg(long, value_name = "DIR")]
    pub(crate) buildroot: Option<PathBuf>,
    /// Where it is built [build/buildroot/BOARD].
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// So many jobs at once [one more than the machine has processors].
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<u16>,
    /// Lines of Buildroot's configuration that say the last word, such as another toolchain; may be given again.
    #[arg(long, value_name = "FILE")]
    pub(crate) local_fragment: Vec<PathBuf>,
}
