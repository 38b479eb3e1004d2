//! The product image: Buildroot makes kernel, userland and boot loader from `buildroot-config/`, and its last hook hands
//! them to this program, which makes the disk. Here is what is done before that: the tree of Buildroot is looked at, its
//! configuration put together, the sources of our own programs laid beside the others, and `make` watched.

mod again;
mod builder;
mod configuration;
#[cfg(test)]
mod external;
mod kernel_options;
mod make;
mod options;
mod sources;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{make_folder, remove_folder};
use crate::failure::Failure;
use crate::ollama::{Ollama, Starter};
use crate::quick;
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};

use configuration::Configuration;
use make::Make;
pub(crate) use options::{BuildrootCommand, BuildrootOptions};
use tree::Tree;

/// The folder of the checkout that Buildroot is extended by (Buildroot manual, "Keeping customizations outside of
/// Buildroot").
const EXTERNAL: &str = "buildroot-config";

/// Runs one of the commands that have to do with Buildroot.
pub(crate) fn run(command: &BuildrootCommand, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    match command {
        BuildrootCommand::Build(options) => build(options, repository, signals),
        BuildrootCommand::CheckKernel { buildroot_config, kernel_config, external } => {
            kernel_options::run(buildroot_config, kernel_config, external)
        }
    }
}

/// Builds the image of a board, or prints what it would take.
fn build(options: &BuildrootOptions, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let places = Places::of(options, repository)?;
    let tree = Tree::find(options.buildroot.as_deref(), repository)?;
    let starter = options.starter_model.as_deref().map(Starter::open).transpose()?;
    let ollama = options.ollama.as_deref().map(|given| ollama(given, options, &places, signals)).transpose()?;
    let configuration = Configuration::of(options, &places, ollama.as_deref())?;
    if let Some(starter) = starter.as_ref().filter(|_| !configuration.may_have_model_server()) {
        return Err(starter.without_server());
    }
    let starter = starter.as_ref().map(Starter::path).transpose()?;
    let mut make = Make { tree: &tree, places: &places, options, starter, compiler: None, signals };
    let terminal = Terminal::new(format!("llmbasedos · {} by Buildroot {}", options.board.name(), tree.version()));
    configuration.write(&make)?;
    if options.list_sources {
        return sources::print(&make, repository);
    }
    if configuration.builds_our_programs() {
        make.compiler = quick::compiler::provide(options.board.architecture(), options.offline, repository, signals)?;
        sources::vendor(&places, options.offline, repository, &terminal, signals)?;
    }
    again::prepare(&make, &configuration, &terminal)?;
    make.run(&terminal)?;
    say(format_args!("image    {}", places.images().display()));
    say(format_args!("next     scripts/flash {}", short(&options.board.image(&places.output))));
    Ok(())
}

/// The folder with the Ollama that is given, looked at: an archive is unpacked beside what Buildroot builds.
fn ollama(given: &Path, options: &BuildrootOptions, places: &Places, signals: &Signals) -> Result<PathBuf, Failure> {
    remove_folder(&places.output.join("ollama"))?;
    let opened = Ollama::open(given, options.board.architecture(), options.ollama_gpu, &places.output, signals)?;
    fs::canonicalize(opened.folder()).map_err(|error| Failure::io("find", given, &error))
}

/// Where what lies.
#[derive(Debug)]
struct Places {
    external: PathBuf,
    /// Where Buildroot builds.
    output: PathBuf,
    /// What it was given to build from, and what it fetched.
    downloads: PathBuf,
}

impl Places {
    fn of(options: &BuildrootOptions, repository: &Repository) -> Result<Self, Failure> {
        let usual = |name: &str| repository.path(&format!("build/buildroot/{name}"));
        let stated = |path: &Option<PathBuf>, name: &str| path.clone().unwrap_or_else(|| usual(name));
        let (output, downloads) =
            (stated(&options.output, options.board.name()), stated(&options.downloads, "downloads"));
        for folder in [&output, &downloads] {
            make_folder(folder)?;
        }
        let whole = |path: &Path| fs::canonicalize(path).map_err(|error| Failure::io("find", path, &error));
        Ok(Self { external: repository.path(EXTERNAL), output: whole(&output)?, downloads: whole(&downloads)? })
    }

    /// The crates of our own programs.
    fn vendor(&self) -> PathBuf {
        self.downloads.join("llmbasedos/vendor")
    }

    fn images(&self) -> PathBuf {
        self.output.join("images")
    }

    /// Where all that make says is kept.
    fn log(&self) -> PathBuf {
        self.output.join("make.log")
    }
}
