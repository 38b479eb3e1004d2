//! The tests, in suites of stages; each stage is a command, timed, its output shown as it comes.

use std::process::Command;
use std::time::Instant;

use crate::cli::Suite;
use crate::failure::Failure;
use crate::process;
use crate::repository::Repository;
use crate::signals::Signals;
use crate::terminal;

/// A stage: its name, and the command, of which no word has blanks.
type Stage = (&'static str, &'static str);

/// Once everything is fetched, nothing here needs the network.
const UNIT: &[Stage] = &[
    ("fetch", "cargo fetch --locked"),
    ("format", "cargo fmt --all --check"),
    (
        "scripts",
        "shellcheck --external-sources scripts/setup scripts/run scripts/test scripts/flash scripts/build-image \
         buildroot-config/scripts/post-build.sh buildroot-config/scripts/post-image.sh buildroot-config/scripts/prune-firmware.sh .ci/run",
    ),
    ("lints", "cargo clippy --offline --workspace --all-targets -- --deny warnings"),
    ("tests", "cargo test --offline --workspace --no-fail-fast"),
];

/// The tests that need the real model are marked `#[ignore]` with their reason and run here alone: first those of
/// developer mode, which fetch it, then those in a machine.
const E2E: &[Stage] = &[
    ("end to end", "cargo test --offline --workspace --test it -- --ignored --nocapture --test-threads=1"),
    ("image", "cargo image build"),
    (
        "real model",
        "cargo test --offline --package image --test boot -- --ignored --nocapture --test-threads=1 real_model",
    ),
];

/// The tests that boot the image are marked `#[ignore]` as well, in a test target of their own. Two at a time, for a machine
/// is emulated on one core: what a test said is shown where it fails. Those that measure have the computer for themselves.
const BOOT: &[Stage] = &[
    ("image", "cargo image build"),
    ("aarch64", "cargo image build --arch aarch64"),
    ("radios", "cargo image build --with-radios"),
    (
        "boot",
        "cargo test --offline --package image --test boot -- --ignored --test-threads=2 --skip=real_model \
         --skip=figures",
    ),
    ("figures", "cargo test --offline --package image --test boot -- --ignored --nocapture --test-threads=1 figures"),
];

/// Runs one suite or all, every stage of it even after one failed.
pub(crate) fn run(suite: Option<Suite>, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let stages: Vec<Stage> = match suite {
        Some(Suite::Unit) => UNIT.to_vec(),
        Some(Suite::E2e) => E2E.to_vec(),
        Some(Suite::Boot) => BOOT.to_vec(),
        None => [UNIT, BOOT, E2E].concat(),
    };
    let mut lines = Vec::new();
    let mut failed = 0;
    for (name, command) in stages {
        terminal::result(format_args!("\n── {name}: {command}"));
        let begun = Instant::now();
        let passed = run_stage(command, repository, signals)?;
        failed += u32::from(!passed);
        let verdict = if passed { "passed" } else { "FAILED" };
        lines.push(format!("  {name:14} {verdict} {:>8.1} s", begun.elapsed().as_secs_f64()));
    }
    terminal::result(format_args!("\n{}", lines.join("\n")));
    terminal::result(format_args!("{} passed, {failed} failed", lines.len() - failed as usize));
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::new("not every test passed", "see above", "mend that and run this again"))
    }
}

fn run_stage(command: &str, repository: &Repository, signals: &Signals) -> Result<bool, Failure> {
    let mut words = command.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.current_dir(repository.path("")).args(words);
    Ok(process::Running::start(&mut command)?.wait(signals, || {})?.success())
}
