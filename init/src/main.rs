//! `init`: starts every other process of llmbasedos, keeps it running, and never dies of an error.
//!
//! | module | what it is |
//! | --- | --- |
//! | `boot` | from the kernel's first process to a machine on which services can run, and its end |
//! | `machine` | the life of one service: pure, `step(state, event)` |
//! | `plan` | how a service is to be started: pure |
//! | `cage` | what it may see and do: pure |
//! | `catalogue`, `library`, `manifests` | which manifests count, and in which order |
//! | `supervisor` | the loop that carries out what the machines and plans ask for |
//! | `rpc`, `connection` | what is spoken on `init.sock` and the control channel |
//! | `log` | what services write, as init and `logd` see it |
//! | `logd` | the service that keeps it: this program, started as `init --logd` |
//! | `elf` | whether a program needs a dynamic loader |
//! | `claim` | whose an appliance is: its set-up code, and the token that it gives |
//! | `secrets` | what the owner keeps from everybody but the Arcs that are granted it |
//! | `sys` | the one seam to the kernel |

mod boot;
mod cage;
mod catalogue;
mod claim;
mod command_line;
mod connection;
mod elf;
mod error;
mod governor;
mod layout;
mod library;
mod listeners;
mod log;
mod logd;
mod machine;
mod manifests;
mod plan;
mod rpc;
mod secrets;
mod supervisor;
mod sys;

use std::io::Write;
use std::process::ExitCode;

use command_line::{Command, Options};
use error::StartError;
use supervisor::Supervisor;

fn main() -> ExitCode {
    if boot::is_first_stage() {
        boot::first_stage();
    }
    let outcome = match command_line::parse(std::env::args_os()) {
        Ok(Command::Help) => return print(command_line::HELP),
        Ok(Command::Version) => return print(concat!("init ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Appliance(inheritance)) => boot::appliance(&inheritance),
        Ok(Command::Logd) => return logd::run(),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sys::write_stderr(&format!("init: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(options: &Options) -> Result<(), StartError> {
    sys::restrict_new_files();
    if options.with_parent {
        sys::end_with_parent().map_err(StartError::kernel("end with its parent"))?;
    }
    Supervisor::build(options)?.run(None);
    Ok(())
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
