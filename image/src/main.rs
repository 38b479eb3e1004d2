//! The task runner: developer mode, disk images and the machines that boot them.

mod architecture;
mod bench;
mod buildroot;
mod cache;
mod cli;
mod dev;
mod disk;
mod failure;
mod fetch;
mod flash;
mod grants;
mod http;
mod key;
mod ollama;
mod process;
mod product;
mod progress;
mod quick;
mod release;
mod repository;
mod services;
mod signals;
mod suites;
mod tables;
mod terminal;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::repository::Repository;
use crate::signals::Signals;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = failure.remedied(cli.command.means());
            terminal::print_failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    let signals = Signals::watch()?;
    let repository = Repository::find()?;
    match command {
        Command::Dev(options) => dev::run(options, &repository, &signals),
        Command::Test { suite } => suites::run(*suite, &repository, &signals),
        Command::Build(options) => quick::run(options, None, &repository, &signals),
        Command::Boot(options) => quick::run(&options.build, Some(options), &repository, &signals),
        Command::Product(options) => product::run(options, &repository, &signals),
        Command::Flash(options) => flash::run(options, &repository, &signals),
        Command::Size { arch, output } => {
            let folder = output.clone().unwrap_or_else(|| repository.path("build").join(arch.name()));
            disk::size::run(&folder, &signals)
        }
        Command::Buildroot(command) => buildroot::run(command, &repository, &signals),
        Command::Release { arch } => release::run(*arch, &repository, &signals),
        Command::Bench { data } => bench::run(&data.clone().unwrap_or_else(|| repository.path("data"))),
    }
}
