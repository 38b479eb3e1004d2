//! The running system: init as a child, asked over its socket, stopped in order whatever happens here.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spec::control::{self, CagesInfo, ServiceInfo, ServiceState};
use spec::paths;

use crate::cache::{make_folder, try_lock, user_cache};
use crate::dev::DATA_UNUSABLE;
use crate::dev::plan::{Plan, dev_folder};
use crate::failure::Failure;
use crate::process::{LOOK_EVERY, Running};
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::say;

/// How long the services that start at boot may take together.
const START_MAX: Duration = Duration::from_secs(60);

/// How long an ordered stop may take. init itself kills what does not stop in its own time, and ends all after 90 s.
const STOP_MAX: Duration = Duration::from_secs(100);

/// After so long a stop is said to take its time.
const STOP_SAID: Duration = Duration::from_secs(2);

/// init answers at once or not at all.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running system. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct System {
    init: Running,
    run: PathBuf,
    log: PathBuf,
    /// The file by which `luca-*` find the gateway from any folder.
    note: Option<PathBuf>,
    signals: Signals,
    is_stopping: bool,
}

/// An answer of init.
#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

/// init's exit code for a second system on a data folder (`init/src/error.rs`), for where that shows before init runs.
const ALREADY_RUNNING: u8 = 3;

/// Refuses a data folder on which a system runs already, before anything in it is touched.
pub(crate) fn refuse_second(data: &Path) -> Result<(), Failure> {
    match UnixStream::connect(paths::init_socket(&data.join("run"))) {
        Err(_) => Ok(()),
        Ok(_) => Err(second(
            data,
            "a system runs on this data folder already",
            "talk to it: bin/luca-shell; or stop it; or start another beside it: --data DIR --listen 127.0.0.1:PORT",
        )),
    }
}

/// Takes the data folder for one that is about to start there, which fetches and builds before init runs.
pub(crate) fn lock(data: &Path) -> Result<File, Failure> {
    let folder = data.join("run");
    let path = folder.join("dev.lock");
    let open = || {
        make_folder(data)?;
        make_folder(&folder)?;
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        opened.map_err(|error| Failure::io("write", &path, &error))
    };
    let file = open().map_err(|failure| failure.with_exit(DATA_UNUSABLE))?;
    if try_lock(&file, &path)? {
        return Ok(file);
    }
    Err(second(
        data,
        "another scripts/run is just starting or stopping a system there",
        "wait for that one; or start another beside it: --data DIR --listen 127.0.0.1:PORT",
    ))
}

fn second(data: &Path, why: &str, advice: &str) -> Failure {
    Failure::new(format!("cannot start on {}", short(data)), why, advice).with_exit(ALREADY_RUNNING)
}

impl System {
    /// Starts init and waits until all that starts at boot is up.
    pub(crate) fn start(plan: &Plan, repository: &Repository, signals: &Signals) -> Result<Self, Failure> {
        let log = dev_folder(&plan.data).join("init.log");
        let output = File::create(&log).map_err(|error| Failure::io("write", &log, &error))?;
        let errors = output.try_clone().map_err(|error| Failure::io("write", &log, &error))?;
        let init = Running::start(init_command(plan, repository).stdout(output).stderr(errors))?;
        let mut system =
            Self { init, run: plan.data.join("run"), log, note: None, signals: signals.clone(), is_stopping: false };
        system.wait_until_up(signals)?;
        system.note = leave_note(&system.gateway());
        Ok(system)
    }

    /// How init ended, if it has: nothing runs without it.
    ///
    /// What it supervises is killed, and missed, a moment before it is seen to have ended itself, so that one that does
    /// not answer is looked at until [`ANSWER_MAX`] has passed.
    pub(crate) fn lost(&mut self) -> Option<Failure> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.init.ended() {
                break status;
            }
            if self.services().is_some() || begun.elapsed() > ANSWER_MAX {
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let advice = format!("what it said is in {}; run this again, what was kept is there", self.log.display());
        Some(Failure::new("the supervisor is gone, and everything with it", format!("init ended: {status}"), advice))
    }

    /// The gateway's socket.
    pub(crate) fn gateway(&self) -> PathBuf {
        paths::gateway_socket(&self.run)
    }

    /// All services, in start order.
    pub(crate) fn services(&self) -> Option<Vec<ServiceInfo>> {
        self.ask(control::SERVICES)
    }

    /// What this kernel gives to cages.
    pub(crate) fn cages(&self) -> Option<CagesInfo> {
        self.ask(control::CAGES)
    }

    fn ask<T: DeserializeOwned>(&self, method: &str) -> Option<T> {
        let stream = UnixStream::connect(paths::init_socket(&self.run)).ok()?;
        stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        let request = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method});
        writeln!(&stream, "{request}").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str::<Answer<T>>(&line).ok().map(|answer| answer.result)
    }

    /// What init says of files that are wrong: each such line names a `.toml`.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(".toml")).map(str::to_owned).collect()
    }

    /// Stops it in order; a Ctrl-C meanwhile is passed on to init, which then kills what does not stop.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.take_note_away();
        self.is_stopping = true;
        self.signals.forget_ctrl_c();
        self.init.signal(Signal::TERM);
        let begun = Instant::now();
        let mut is_said = false;
        while self.init.ended().is_none() {
            if self.signals.forget_ctrl_c() {
                self.init.signal(Signal::INT);
            }
            if begun.elapsed() > STOP_MAX {
                let why = format!("init did not stop within {} s and is killed", STOP_MAX.as_secs());
                let log = self.log.display();
                return Err(Failure::new("the system was not stopped in order", why, format!("see {log}")));
            }
            if begun.elapsed() > STOP_SAID && !is_said {
                say("stopping; Ctrl-C kills what takes too long");
                is_said = true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn wait_until_up(&mut self, signals: &Signals) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            signals.check()?;
            if let Some(status) = self.init.ended() {
                let exit = status.code().and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0);
                return Err(refused(&fs::read_to_string(&self.log).unwrap_or_default()).with_exit(exit.unwrap_or(1)));
            }
            let services = self.services().unwrap_or_default();
            if !services.is_empty() && services.iter().all(is_settled) {
                return require_gateway(&services, &self.log);
            }
            if begun.elapsed() > START_MAX {
                // What is not up yet may come later, and holds nobody up who does not need it.
                return require_gateway(&services, &self.log);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn take_note_away(&mut self) {
        let Some(note) = self.note.take() else { return };
        let ours = fs::read_to_string(&note).is_ok_and(|text| Path::new(text.trim_end()) == self.gateway());
        if ours {
            let _ = fs::remove_file(note);
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if !self.is_stopping {
            let _ = self.stop();
        }
    }
}

fn init_command(plan: &Plan, repository: &Repository) -> Command {
    let mut init = Command::new(repository.program("init"));
    init.arg("--dev").arg("--data").arg(&plan.data);
    for folder in &plan.manifests {
        init.arg("--manifests").arg(folder);
    }
    for file in &plan.configs {
        init.arg("--config").arg(file);
    }
    if let Some(address) = plan.listen {
        init.args(["--listen", &address.to_string()]);
    }
    init.arg("--with-parent");
    init
}

/// Says where the gateway is, for `luca-*` started in another folder. Without a cache folder they must be told.
fn leave_note(gateway: &Path) -> Option<PathBuf> {
    let note = paths::last_gateway(&user_cache()?);
    make_folder(note.parent()?).ok()?;
    fs::write(&note, format!("{}\n", gateway.display())).ok()?;
    Some(note)
}

fn is_settled(service: &ServiceInfo) -> bool {
    matches!(
        service.state,
        ServiceState::Running | ServiceState::Listening | ServiceState::Stopped | ServiceState::Failed
    )
}

/// Without a gateway nothing can be asked of the system; anything else may be down.
fn require_gateway(services: &[ServiceInfo], log: &Path) -> Result<(), Failure> {
    let up = |service: &ServiceInfo| service.name.as_str() == "gateway" && service.state == ServiceState::Running;
    if services.iter().any(up) { Ok(()) } else { Err(not_up(services, log)) }
}

fn not_up(services: &[ServiceInfo], log: &Path) -> Failure {
    let down = services.iter().filter(|service| !is_settled(service) || service.state == ServiceState::Failed);
    let words: Vec<_> = down.map(describe_trouble).collect();
    let why = if words.is_empty() { "init does not answer".to_owned() } else { words.join("\n") };
    Failure::new("the system did not come up", why, format!("see {}", log.display()))
}

/// A service that is not well, in words.
pub(crate) fn describe_trouble(service: &ServiceInfo) -> String {
    let state = format!("{:?}", service.state).to_lowercase();
    format!("{} is {state}: {}", service.name, service.reason.as_deref().unwrap_or("it gave no reason"))
}

/// init's own message, as it wrote it.
fn refused(log: &str) -> Failure {
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("init ended without a word");
    Failure::new(last.trim_start_matches("init: "), "", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, state: ServiceState) -> ServiceInfo {
        ServiceInfo {
            name: name.parse().expect("a name"),
            description: String::new(),
            version: String::new(),
            state,
            reason: Some("exit code 1".to_owned()),
            pid: None,
            since_ms: 0,
            restarts: 0,
        }
    }

    #[test]
    fn a_system_without_its_gateway_is_not_up() {
        let log = Path::new("init.log");
        let up = [service("gateway", ServiceState::Running), service("kv", ServiceState::Failed)];
        assert_eq!(require_gateway(&up, log), Ok(()));
        let down = [service("gateway", ServiceState::Failed)];
        let text = require_gateway(&down, log).expect_err("no gateway").to_string();
        assert_eq!(text, "the system did not come up: gateway is failed: exit code 1");
    }

    #[test]
    fn what_init_says_is_passed_on() {
        let failure = refused("init: 127.0.0.1:8000 is in use (gateway): choose another with --listen\n");
        assert_eq!(failure.to_string(), "127.0.0.1:8000 is in use (gateway): choose another with --listen");
        assert_eq!(refused("").to_string(), "init ended without a word");
    }

    #[test]
    fn a_second_system_on_a_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(refuse_second(folder.path()), Ok(()));
        fs::create_dir(folder.path().join("run")).expect("made");
        let socket = paths::init_socket(&folder.path().join("run"));
        let _listener = std::os::unix::net::UnixListener::bind(socket).expect("bound");
        let text = refuse_second(folder.path()).expect_err("one is there").to_string();
        assert!(text.ends_with("a system runs on this data folder already"), "{text}");
    }
}
