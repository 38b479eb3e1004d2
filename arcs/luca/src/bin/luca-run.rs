//! `luca-run METHOD [JSON]`: one call to the running system.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    luca::run(luca::RunOptions::parse())
}
