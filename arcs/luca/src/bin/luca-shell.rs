//! `luca-shell`: the interactive command line of the running system.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    luca::shell(luca::ShellOptions::parse())
}
