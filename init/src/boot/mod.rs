//! What PID 1 does before it supervises and after: from the kernel's first process to a machine on which services can
//! run, and back to the power switch.
//!
//! The kernel starts `/init` of the initramfs ([`first_stage`]), which becomes `init --appliance` on the real root
//! ([`second_stage`]): the same program. Where the first stage fails there is nothing to run, so the machine restarts
//! after a pause, and the boot loader may choose the other slot. Nothing of the second stage fails the boot: what does
//! not work is said, and the rest is done.

mod autoboot;
mod data;
mod disk;
mod first_stage;
mod grow;
mod grow_mbr;
mod keepsakes;
mod led;
mod screen;
mod second_stage;
mod sectors;
mod slots;
mod upkeep;

use std::path::Path;
use std::time::Duration;

pub(crate) use led::{Condition, Signs, has_address};
pub(crate) use screen::{Screen, seconds_since_boot};
pub(crate) use second_stage::Appliance;

use crate::command_line::Inheritance;
use crate::error::StartError;
use crate::supervisor::Supervisor;
use crate::sys::{self, Access, Halt, Mount};

/// The arguments that tell `init` that it is PID 1 on the real root, since when, and which descriptor is the watchdog.
const APPLIANCE: &str = "--appliance";
const STARTED: &str = "--started";
const WATCHDOG: &str = "--watchdog";

/// How long a message about a boot that failed stands on the screen before the machine restarts.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What the kernel shows of itself, mounted by the first stage and kept by the second.
const KERNEL_FILE_SYSTEMS: [Mount<'static>; 3] = [
    Mount { source: "dev", target: "/dev", kind: "devtmpfs", access: Access::Devices, options: "mode=0755" },
    Mount { source: "proc", target: "/proc", kind: "proc", access: Access::Files, options: "" },
    Mount { source: "sys", target: "/sys", kind: "sysfs", access: Access::Files, options: "" },
];

/// Whether this process is what the kernel started from the initramfs.
pub(crate) fn is_first_stage() -> bool {
    std::process::id() == 1 && std::env::args_os().next().is_some_and(|name| name == "/init")
}

/// Goes on on the real root. Where that fails, says why and restarts the machine.
pub(crate) fn first_stage() -> ! {
    let Err(trouble) = first_stage::run();
    say(&format!("cannot boot: {trouble}"));
    say(&format!("the machine restarts in {} s", LAST_WORDS.as_secs()));
    std::thread::sleep(LAST_WORDS);
    end(Halt::Reboot)
}

/// Prepares the machine, which the first stage has begun to do, runs its services, and ends it.
pub(crate) fn appliance(inheritance: &Inheritance) -> ! {
    let mut appliance = Appliance::prepare(inheritance);
    sys::restrict_new_files();
    attempt("keep init in memory", sys::stay_in_memory());
    let options = appliance.options();
    let built = Supervisor::build(&options).or_else(|error| match error {
        StartError::Data { path, source, .. } => {
            appliance.lose_data(format!("{}: {source}", path.display()));
            Supervisor::build(&options)
        }
        other => Err(other),
    });
    let how = match built {
        Ok(supervisor) => {
            let (how, returned) = supervisor.run(Some(appliance));
            match returned {
                Some(appliance) => appliance.end(how),
                None => how,
            }
        }
        Err(error) => {
            say(&format!("cannot supervise: {error}"));
            appliance.led.show(Condition::Failed);
            say(&format!("the machine restarts in {} s", LAST_WORDS.as_secs()));
            std::thread::sleep(LAST_WORDS);
            Halt::Reboot
        }
    };
    end(how)
}

/// Ends or restarts the machine. Should the kernel refuse, waits: PID 1 must not end.
pub(crate) fn end(how: Halt) -> ! {
    let error = sys::halt(how);
    say(&format!("the machine cannot be ended: {error}; switch it off"));
    loop {
        std::thread::park();
    }
}

/// Loads every module of a folder in the order of their names; answers what is to be said.
fn load_modules(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    let load = |file: &std::path::PathBuf| match sys::load_module(file) {
        Ok(()) => None,
        Err(error) => Some(format!("{}: cannot be loaded: {error}", file.display())),
    };
    files.iter().filter_map(load).collect()
}

/// Says it where an optional step failed.
fn attempt(step: &str, outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        say(&format!("cannot {step}: {error}"));
    }
}

/// Says something on every console and in the kernel's log.
fn say(text: &str) {
    sys::write_screens(text);
    sys::write_kernel_log(text);
}
