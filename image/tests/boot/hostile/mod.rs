//! An Arc that tries everything that an Arc may not (`arcs/hostile`), in developer mode and in a booted machine: whatever it
//! tries fails, and nobody else notices. Then layers of the cage are left out, one at a time, to show that each of them is
//! what an attempt fails at.
//!
//! It is there twice: with an ordinary cage, and with every exception that a manifest can ask for.

mod capture;
mod developer;
mod figures;
mod guest;
mod judge;
mod table;
mod visitor;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::repository;

/// Where it stands in the ordinary cage, and where with every exception.
pub(crate) const PROFILES: [&str; 2] = ["hostile", "hostile_exceptions"];

/// The folder of the static programs that `image build` has made, this one among them now.
fn programs() -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_image"));
    let target = own.parent().and_then(Path::parent).expect("a target folder");
    let kind = concat!("x86_64", "-unknown-linux-gnu");
    let built = Command::new(env!("CARGO"))
        .current_dir(repository())
        .args(["build", "--offline", "--locked", "--profile", "quick", "--bin", "hostile", "--target", kind])
        // As `image build` does it, so that nothing is built twice (`image/src/release.rs`).
        .env("RUSTFLAGS", "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the hostile Arc is built");
    target.join(kind).join("quick")
}

/// All exceptions that a manifest can ask for. The one host that it may reach is nobody's (RFC 5737).
const EXCEPTIONS: &str = "allow = [\"jit\", \"libraries\", \"processes\", \"openat2\", \"runtime\"]\nproc = true\n\
                          egress = [\"198.51.100.7:443\"]\n";

/// Its manifest under that name; the program lies at `exec`.
fn manifest(name: &str, exec: &str) -> String {
    let cage = if name == PROFILES[1] { EXCEPTIONS } else { "" };
    format!(
        "name = \"{name}\"\nversion = \"1\"\ndescription = \"Tries everything\"\nexec = [\"{exec}\"]\n\
         ready = \"exec\"\ntimeout = \"500s\"\n[tools.answer]\ntimeout = \"10s\"\n[cage]\n{cage}\
         mounts = [{{ path = \"/data/sites\", mode = \"rw\" }}]\nmemory_max = \"64M\"\npids_max = 48\n\
         disk_max = \"{}M\"\n",
        table::DISK_MAX >> 20
    )
}
