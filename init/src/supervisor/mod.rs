//! The supervisor: it owns every service and carries out what their state machines ask for.
//!
//! One thread, one loop. A turn waits for sources, turns what they say into events, feeds these to the state machines,
//! and then settles what follows from the states: whose turn it is to start, who is waiting for an answer, what the
//! gateway is to be told. Nothing in a turn waits, and what one source may say in a turn is bounded.

mod cages;
mod claim;
mod disk;
mod end;
mod life;
mod logs;
mod metrics;
mod output;
mod peers;
mod pressure;
mod reload;
mod screen;
mod secrets;
mod service;
mod sight;
mod start;
mod stream;
mod wifi;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use spec::control::{Certificate, ServiceState};
use spec::{Activation, Name, SystemConfig, paths};

use crate::boot::{Appliance, seconds_since_boot};
use crate::cage::Abilities;
use crate::claim::Claim;
use crate::command_line::{Mode, Options};
use crate::connection::Connection;
use crate::error::StartError;
use crate::layout::Layout;
use crate::library::{self, Complaint, Library};
use crate::listeners::{self, Listeners};
use crate::machine::Event;
use crate::manifests::Candidate;
use crate::plan;
use crate::sys::{self, Clock, FolderWatch, Groups, Halt, Interest, Millis, Poll, Ready, Signals, Source, Wish};
use end::Stage;
use logs::Logs;
use peers::{Peer, Pending};
use pressure::Relief;
use secrets::Keeping;
use service::Service;
pub(crate) use wifi::Question;
use wifi::Wifi;

/// How long the owner's folder must be quiet before it is read.
const QUIET: Millis = 100;
/// How often it is looked whether the processes of a service are gone, beside each time that a child ends.
const SWEEP: Millis = 5;

/// The supervisor.
pub(crate) struct Supervisor {
    mode: Mode,
    layout: Layout,
    programs: PathBuf,
    config: SystemConfig,
    inherited: BTreeMap<String, String>,
    /// Where init itself says that it is ready.
    ready_to: Option<String>,
    listeners: Listeners,
    poll: Poll,
    signals: Signals,
    clock: Clock,
    groups: Groups,
    /// What this kernel gives to cages.
    abilities: Abilities,
    /// What is done when memory runs short.
    relief: Relief,
    watch: FolderWatch,
    null: File,
    /// A descriptor to have when there are no more.
    spare: Option<File>,
    server: UnixListener,
    library: Library,
    /// What is to run, in start order.
    wanted: Vec<Candidate>,
    /// Whether `wanted` changed and the services do not match it yet.
    is_stale: bool,
    /// When the owner's folder is read.
    look_at: Option<Millis>,
    services: BTreeMap<u32, Service>,
    clients: BTreeMap<u32, Connection>,
    pending: Vec<Pending>,
    /// The number of the next service or client; none is used twice.
    next_number: u32,
    logs: Logs,
    own_name: Option<Name>,
    stage: Stage,
    /// How many seconds after the kernel's start all was up.
    ready_seconds: Option<f64>,
    /// What becomes of the machine when all has ended.
    halt: Halt,
    /// The machine, where it is ours.
    appliance: Option<Appliance>,
    /// What is wrong with files of the owner, in words.
    problems: Vec<String>,
    /// What the owner keeps from everybody but the Arcs that are granted it.
    secrets: Keeping,
    /// What was joined, and who asks the radio.
    wifi: Wifi,
    /// Whose the machine is, where it is an appliance.
    claim: Option<Claim>,
    /// By what the gateway is known, once it has said so.
    certificate: Option<Certificate>,
    /// Whether the machine has an address of its network.
    has_address: bool,
    /// Kept for as long as init runs: the lock on the data folder.
    _lock: File,
}

impl Supervisor {
    /// Takes hold of the data folder, the addresses and the signals, and reads what is to run. Nothing is started yet.
    ///
    /// # Errors
    /// Whatever makes it pointless to start at all.
    pub(crate) fn build(options: &Options) -> Result<Self, StartError> {
        let clock = Clock::start();
        let (layout, lock) = Layout::prepare(&options.data, options.run.as_deref())?;
        let signals = Signals::block().map_err(StartError::kernel("read signals"))?;
        sys::raise_open_files().map_err(StartError::kernel("raise the bound on its open files"))?;
        sys::adopt_orphans().map_err(StartError::kernel("adopt orphans"))?;
        let (mut secrets, mut config, mut complaints) = secrets::open(options, &layout)?;
        let wifi = wifi::open(&layout, &mut config, &mut complaints);
        let claim = claim::open(options, &layout, &config, &mut secrets, &mut complaints);
        let (mut library, more) = Library::open(&options.manifests, paths::user_manifests(&layout.data));
        complaints.extend(more);
        let (catalogue, more) = library.look();
        complaints.extend(more);
        complaints.extend(library::unknown_names(&config, &catalogue));
        let named: BTreeSet<Name> =
            catalogue.services.iter().flat_map(|service| service.manifest.listen.iter().cloned()).collect();
        let (listeners, troubles) = listeners::bind(&named, options, &config);
        match (options.mode, troubles) {
            (Mode::Developer, mut troubles) if !troubles.is_empty() => return Err(troubles.remove(0)),
            (_, troubles) => complaints.extend(troubles.iter().map(|trouble| Complaint::plain(trouble.to_string()))),
        }
        let mut groups = Groups::open(&layout.data, &layout.mark_prefix());
        let abilities = cages::find_abilities(options, &layout, &mut groups);
        let socket = paths::init_socket(&layout.run);
        let server = sys::bind_unix(&socket).map_err(StartError::data(&socket, "listen there"))?;
        let mut supervisor = Self {
            listeners,
            poll: Poll::new().map_err(StartError::kernel("use epoll"))?,
            watch: FolderWatch::new().map_err(StartError::kernel("use inotify"))?,
            spare: File::open("/dev/null").ok(),
            null: open_null().map_err(StartError::kernel("open /dev/null"))?,
            programs: programs(options).map_err(StartError::kernel("find the folder of its programs"))?,
            inherited: plan::inherited(
                std::env::vars_os()
                    .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))),
            ),
            ready_to: std::env::var("NOTIFY_SOCKET").ok(),
            relief: Relief::prepare(&abilities),
            abilities,
            groups,
            logs: Logs::make().map_err(StartError::kernel("make a pipe"))?,
            own_name: "init".parse().ok(),
            wanted: catalogue.services,
            is_stale: true,
            look_at: None,
            services: BTreeMap::new(),
            clients: BTreeMap::new(),
            pending: Vec::new(),
            next_number: 1,
            stage: Stage::Starting,
            ready_seconds: None,
            halt: Halt::PowerOff,
            mode: options.mode,
            layout,
            config,
            signals,
            clock,
            server,
            library,
            appliance: None,
            problems: Vec::new(),
            secrets,
            wifi,
            claim,
            certificate: None,
            has_address: false,
            _lock: lock,
        };
        supervisor.register().map_err(StartError::kernel("wait for its sources"))?;
        supervisor.introduce(complaints);
        Ok(supervisor)
    }

    fn register(&self) -> io::Result<()> {
        self.server.set_nonblocking(true)?;
        self.poll.add(&self.signals, Source::Signals, Interest::READ)?;
        self.poll.add(&self.watch, Source::Manifests, Interest::READ)?;
        self.poll.add(&self.server, Source::Server, Interest::READ)?;
        if let Some(pressure) = self.relief.pressure() {
            self.poll.add(pressure, Source::Pressure, Interest::NOTICE)?;
        }
        self.watch.cover(&paths::user_manifests(&self.layout.data))
    }

    fn introduce(&mut self, complaints: Vec<Complaint>) {
        let version = env!("CARGO_PKG_VERSION");
        let mode = if self.mode == Mode::Developer { "developer mode" } else { "appliance" };
        self.say(&format!("llmbasedos {version} · {mode} · data in {}", self.layout.data.display()));
        cages::introduction(&self.abilities).iter().for_each(|line| self.say(line));
        if let Some(why) = self.relief.missing() {
            self.say(&format!("cages: not on this kernel: {why}"));
        }
        if !self.groups.are_cgroups() {
            self.say("cages: no cgroup can be made here: processes that leave their service are searched for instead");
        }
        std::mem::take(&mut self.secrets.imported).iter().for_each(|done| self.say(done));
        let addresses: Vec<String> = self
            .listeners
            .iter()
            .filter_map(|(name, listener)| Some(format!("{name} on {}", listener.local_addr().ok()?)))
            .collect();
        if !addresses.is_empty() {
            self.say(&format!("listening: {}", addresses.join(", ")));
        }
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
    }

    /// Runs until a person or the parent ends it, and leaves nothing behind. Answers what is to become of the machine,
    /// and gives it back.
    pub(crate) fn run(mut self, appliance: Option<Appliance>) -> (Halt, Option<Appliance>) {
        if appliance.is_some() {
            self.appliance = appliance;
            self.take_host_name();
        }
        self.settle();
        while self.stage != Stage::Ended {
            match self.poll.wait(self.patience()) {
                Ok(ready) => ready.into_iter().for_each(|ready| self.hear(ready)),
                Err(error) => self.say(&format!("cannot wait for events: {error}")),
            }
            self.tick();
            self.settle();
        }
        self.clean_up();
        (self.halt, self.appliance)
    }

    /// How long nothing has to be done unless somebody says something.
    fn patience(&self) -> Option<Millis> {
        let now = self.clock.now();
        let deadlines = self.services.values().filter_map(|service| service.machine.deadline());
        let upkeep = self.appliance.as_ref().map(|appliance| appliance.upkeep.deadline());
        let deadlines = deadlines.chain(self.relief.deadline());
        let earliest = deadlines.chain(self.look_at).chain(self.stage.deadline()).chain(upkeep).min();
        let until = earliest.map(|deadline| deadline.saturating_sub(now));
        let sweeps = self.services.values().any(|service| service.process.is_some() && service.living().is_none());
        until.into_iter().chain(sweeps.then_some(SWEEP)).min()
    }

    fn hear(&mut self, ready: Ready) {
        match ready.source {
            Source::Signals => self.hear_signals(),
            Source::Manifests => {
                self.watch.drain();
                self.look_at = Some(self.clock.now().saturating_add(QUIET));
            }
            Source::Server => self.accept(),
            Source::Client(number) => self.hear_peer(Peer::Client(number), ready),
            Source::Channel(number) => self.hear_peer(Peer::Service(number), ready),
            Source::Demand(number) => self.feed(number, Event::Demand),
            Source::Notify(number) => self.hear_notify(number),
            Source::Output(number) => self.hear_output(number),
            Source::Process(number) => self.main_ended(number),
            Source::Refusals(number) => self.hear_refusals(number),
            Source::Conversation(number) => {
                self.end_conversation(number);
                self.feed(number, Event::Abandoned);
            }
            Source::Pressure => self.hear_pressure(ready),
        }
    }

    fn hear_signals(&mut self) {
        while let Some(wish) = self.signals.next() {
            match wish {
                Wish::Reap => self.reap_orphans(),
                Wish::End => self.begin_end(Halt::PowerOff),
                Wish::EndNow if self.stage.is_ending() => self.end_now(),
                Wish::EndNow => self.begin_end(Halt::Reboot),
            }
        }
    }

    fn reap_orphans(&self) {
        sys::reap_orphans(|pid| self.services.values().filter_map(Service::living).any(|main| main.pid == pid));
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        let is_due = |service: &Service| service.machine.deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<u32> = self.numbers(is_due);
        due.into_iter().for_each(|number| self.feed(number, Event::Tick));
        self.relieve(now);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.look();
        }
        let is_well = self.stage == Stage::Up && self.services.values().any(Service::is_running_gateway);
        if let Some(appliance) = &mut self.appliance {
            appliance.upkeep.turn(is_well, now);
        }
    }

    /// Does what follows from the states until nothing follows any more.
    fn settle(&mut self) {
        self.sweep();
        self.match_wanted();
        self.start_waiting();
        self.go_on_ending();
        self.answer_pending();
        self.say_when_up();
        self.settle_logs();
        self.settle_peers();
        self.show_light();
    }

    /// The numbers of the services that `is` holds of.
    fn numbers(&self, is: impl Fn(&Service) -> bool) -> Vec<u32> {
        self.services.iter().filter(|(_, service)| is(service)).map(|(number, _)| *number).collect()
    }

    fn number_of(&self, name: &Name) -> Option<u32> {
        self.services.iter().find(|(_, service)| service.name() == name).map(|(number, _)| *number)
    }

    fn new_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1).max(1);
        number
    }

    /// Once every service that starts at boot runs or will not: says so, to people and to whoever started init.
    fn say_when_up(&mut self) {
        let is_boot = |service: &&Service| service.rules.activation == Activation::Boot;
        let boot: Vec<&Service> = self.services.values().filter(is_boot).collect();
        let done = [ServiceState::Running, ServiceState::Failed, ServiceState::Stopped];
        if self.stage != Stage::Starting || !boot.iter().all(|service| done.contains(&service.state())) {
            return;
        }
        self.stage = Stage::Up;
        self.ready_seconds = Some(seconds_since_boot());
        let named = |state: ServiceState| {
            let is = |candidate: &&Candidate| {
                let found = self.services.values().find(|service| service.name() == &candidate.manifest.name);
                found.is_some_and(|service| service.state() == state)
            };
            let names: Vec<&str> = self.wanted.iter().filter(is).map(|found| found.manifest.name.as_str()).collect();
            names.join(", ")
        };
        let mut line = format!("up in {}: {}", plan::seconds(self.clock.now()), named(ServiceState::Running));
        for (words, names) in
            [("at the first call", named(ServiceState::Listening)), ("failed", named(ServiceState::Failed))]
        {
            if !names.is_empty() {
                line.push_str(&format!(" · {words}: {names}"));
            }
        }
        self.say(&line);
        self.show_screen();
        if let Some(Err(error)) = self.ready_to.as_deref().map(|socket| sys::tell_starter(socket, "READY=1")) {
            self.say(&format!("cannot say that it is ready on NOTIFY_SOCKET: {error}"));
        }
    }
}

fn open_null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// The folder of programs without a path, absolute: services start in folders of their own.
fn programs(options: &Options) -> io::Result<PathBuf> {
    match &options.programs {
        Some(folder) => std::path::absolute(folder),
        None => Ok(std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default()),
    }
}
