//! Where the checkout and its built programs lie.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::cache::make_folder;
use crate::failure::{Failure, plain};

/// The checkout that this program was built in.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
    programs: PathBuf,
}

impl Repository {
    /// Finds it: the source by what cargo said when this was built, the programs beside this one.
    pub(crate) fn find() -> Result<Self, Failure> {
        let here = std::env::current_exe()
            .map_err(|error| Failure::new("cannot find the built programs", plain(&error), "is /proc mounted?"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
        if !root.join("Cargo.toml").is_file() {
            let why = format!("{} is gone", root.display());
            return Err(Failure::new("cannot find the checkout", why, "run scripts/run in the checkout"));
        }
        let programs = here.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { root: root.to_owned(), programs })
    }

    /// A path inside the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A program that was built beside this one.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// `bin/luca-shell` and `bin/luca-run` in the checkout, so that a user need not know where cargo builds.
    pub(crate) fn link_programs(&self) -> Result<(), Failure> {
        let folder = self.path("bin");
        make_folder(&folder)?;
        for name in ["luca-shell", "luca-run"] {
            let (link, program) = (folder.join(name), self.program(name));
            if fs::read_link(&link).is_ok_and(|target| target == program) {
                continue;
            }
            let part = folder.join(format!("{name}.{}", std::process::id()));
            symlink(&program, &part)
                .and_then(|()| fs::rename(&part, &link))
                .map_err(|error| Failure::io("make the link", &link, &error))?;
        }
        Ok(())
    }
}

/// A path as a person would type it: relative where it lies below the working folder.
pub(crate) fn short(path: &Path) -> String {
    let below = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.map_or_else(|| path.display().to_string(), |below| format!("./{}", below.display()))
}
