//! Programs that this one starts: each in a process group of its own, so that a Ctrl-C reaches them through us alone
//! and none of their children is left behind.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::failure::{Advice, Failure, plain};
use crate::signals::Signals;

/// How often a running program and the signals are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a tool (pip) may take to end once asked.
const TOOL_PATIENCE: Duration = Duration::from_secs(3);

/// A running program with its process group. Dropping it ends the group.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts `command` in a process group of its own, with no standard input.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let started = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = started.map_err(|error| not_started(command, &error))?;
        Ok(Self { child, ended: None })
    }

    /// Its standard output, where that was piped; once.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end, calling `look` again and again; a signal ends the whole group.
    pub(crate) fn wait(&mut self, signals: &Signals, mut look: impl FnMut()) -> Result<ExitStatus, Failure> {
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if let Err(interrupted) = signals.check() {
                self.end_group(Signal::TERM);
                self.wait_at_most(TOOL_PATIENCE);
                return Err(interrupted);
            }
            look();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Sends a signal to the program itself, which does with its children as it sees fit.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let (None, Some(pid)) = (self.ended(), self.pid()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end, but no longer than `patience`.
    pub(crate) fn wait_at_most(&mut self, patience: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while self.ended().is_none() && begun.elapsed() < patience {
            std::thread::sleep(LOOK_EVERY);
        }
        self.ended()
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn end_group(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.end_group(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a program that says little: what it says, or the last line of what it complains of.
pub(crate) fn ask(command: &mut Command, signals: &Signals) -> Result<Result<String, String>, Failure> {
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let status = running.wait(signals, || {})?;
    let (mut said, mut complained) = (String::new(), String::new());
    let _ = running.child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut said));
    let _ = running.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut complained));
    if status.success() {
        return Ok(Ok(said));
    }
    Ok(Err(complained.lines().last().map_or_else(|| status.to_string(), str::to_owned)))
}

/// Runs a program in the foreground: it shares the terminal and gets a Ctrl-C itself, which is then not ours.
pub(crate) fn foreground(command: &mut Command, signals: &Signals) -> Result<ExitStatus, Failure> {
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(not_started(command, &error)),
        }
        signals.forget_ctrl_c();
        if let Err(interrupted) = signals.check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(interrupted);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Says that a command could not be started.
pub(crate) fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy().into_owned();
    Failure::new(format!("cannot start {program}"), plain(error), Advice::Install)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn what_is_dropped_is_ended_with_its_children() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 60 & echo started; wait"]).stdout(Stdio::piped());
        let mut running = Running::start(&mut shell).expect("sh starts");
        let mut output = BufReader::new(running.output().expect("piped"));
        output.read_line(&mut String::new()).expect("a line");
        let begun = Instant::now();
        drop(running);
        // The pipe ends when the last process that holds it does.
        assert_eq!(output.read_to_string(&mut String::new()).expect("its end"), 0);
        assert!(begun.elapsed() < Duration::from_secs(30), "the child outlived its group");
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = Running::start(&mut Command::new("no-such-program")).expect_err("it is not there");
        assert!(failure.to_string().starts_with("cannot start no-such-program: no such file"), "{failure}");
    }
}
