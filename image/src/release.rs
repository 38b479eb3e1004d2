//! The programs as they ship: static and small.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use spec::boot::INIT;

use crate::architecture::Architecture;
use crate::cache::make_folder;
use crate::failure::Failure;
use crate::process;
use crate::quick;
use crate::repository::Repository;
use crate::signals::Signals;
use crate::terminal;

/// Flags of the programs that ship, and only of those. `crt-static`: nothing of a distribution is needed to run them.
/// `linux_getrandom`: random numbers by the system call alone, without the fall-back to a file that PID 1 may not have.
const RUSTFLAGS: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";

/// What ships.
pub(crate) const PROGRAMS: &[&str] = &["init", "gateway", "arcs", "luca-shell", "luca-run", "netd"];

/// How the programs are built (`Cargo.toml`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As they ship.
    Release,
    /// The same code without link-time optimisation, which takes most of the time.
    Quick,
}

/// Builds the programs and prints a table of their sizes in bytes.
pub(crate) fn run(architecture: Architecture, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let compiler = quick::compiler::provide(architecture, false, repository, signals)?;
    let folder = build(Profile::Release, architecture, compiler.as_deref(), repository, signals)?;
    for program in PROGRAMS {
        let path = folder.join(program);
        terminal::result(format_args!("{program:12} {:>12}", size(&path)?));
    }
    Ok(())
}

/// Builds the programs, with another compiler than cargo's own if that is stated; answers the folder in which they lie.
pub(crate) fn build(
    profile: Profile,
    architecture: Architecture,
    compiler: Option<&Path>,
    repository: &Repository,
    signals: &Signals,
) -> Result<PathBuf, Failure> {
    let target = architecture.target();
    let name = if profile == Profile::Release { "release" } else { "quick" };
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repository.path("")).args(["build", "--locked", "--profile", name, "--target", &target]);
    for program in PROGRAMS {
        cargo.args(["--bin", program]);
    }
    if let Some(compiler) = compiler {
        cargo.env("RUSTC", compiler);
    }
    if architecture != Architecture::HOST {
        let linker = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        cargo.env(linker, architecture.tool("gcc"));
    }
    let status = process::foreground(cargo.env("RUSTFLAGS", RUSTFLAGS), signals)?;
    if !status.success() {
        return Err(Failure::new("the programs could not be built", "see above", "mend that and run this again"));
    }
    // Beside this program's own `debug/`, wherever cargo was told to build.
    Ok(repository.program("..").join(&target).join(name))
}

/// Copies the built programs that lie in `folder` to where they are in a root.
pub(crate) fn install(folder: &Path, tree: &Path) -> Result<(), Failure> {
    let target = tree.join(INIT.trim_start_matches('/'));
    let target = target.parent().unwrap_or(tree);
    make_folder(target)?;
    for program in PROGRAMS {
        let source = folder.join(program);
        fs::copy(&source, target.join(program)).map_err(|error| Failure::io("copy", &source, &error))?;
    }
    Ok(())
}

fn size(path: &Path) -> Result<u64, Failure> {
    fs::metadata(path).map(|data| data.len()).map_err(|error| Failure::io("find", path, &error))
}
