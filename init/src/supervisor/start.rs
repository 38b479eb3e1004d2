//! Carrying out the plan of a service's start.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use spec::control::fd;
use spec::{Layer, Origin, paths};

use super::Supervisor;
use super::service::{Ends, Process, Service};
use super::sight::{self, Unseen};
use crate::cage::{Content, Part};
use crate::connection::{Connection, LONGEST_ANSWER, LONGEST_LINE};
use crate::elf;
use crate::layout::{Layout, create_folder_in, write_private};
use crate::listeners::Listeners;
use crate::machine::Event;
use crate::plan::{Handed, Plan, Surroundings, plan, program};
use crate::sys::{self, Bounds, Input, Interest, Launch, LaunchError, Launched, Source};

/// Why a plan could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{}: not found: build or install it, or name its folder with --bin", .0.display())]
    NoProgram(PathBuf),
    #[error("{}: is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    #[error("{}: only its owner may execute it, and a service has a user of its own: chmod o+rx it", .0.display())]
    NotForOthers(PathBuf),
    #[error("{}: cannot be created: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{}: cannot be written: {source}", file.display())]
    Settings { file: PathBuf, source: io::Error },
    #[error("the listener {0} has no address: set listen.{0} in llmbasedos.toml")]
    NoListener(spec::Name),
    #[error("its sockets are missing")]
    NoSocket,
    #[error("cannot make its control channel: {0}")]
    Channel(#[source] io::Error),
    #[error("speaks on its standard input and output, and nobody has connected")]
    NoConnection,
    #[error("cannot enter its cgroup: {0}")]
    Group(#[source] io::Error),
    #[error("its cage cannot be bounded: {0}")]
    Bounds(#[source] io::Error),
    #[error("what it keeps on the disk cannot be bounded: {}: {source}", place.display())]
    Disk { place: PathBuf, source: io::Error },
    #[error("{}: {source}", program.display())]
    Launch { program: PathBuf, source: LaunchError },
    #[error("{0}")]
    Sight(#[from] Unseen),
    #[error("this kernel does not give it {0}, which its cage requires; system.cages says why")]
    Lacks(String),
}

impl Failure {
    /// Whether a second try would fare the same.
    fn is_for_good(&self) -> bool {
        match self {
            Self::NoProgram(_)
            | Self::NotExecutable(_)
            | Self::NotForOthers(_)
            | Self::NoListener(_)
            | Self::NoSocket => true,
            Self::Sight(_) | Self::Lacks(_) => true,
            Self::Launch { source, .. } => source.is_for_good(),
            _ => false,
        }
    }
}

impl Supervisor {
    /// Starts a service's process and answers what its machine is to be told.
    pub(super) fn start(&mut self, number: u32) -> Event {
        match self.carry_out(number) {
            Ok(()) => {
                if self.services.get(&number).is_some_and(Service::is_gateway) {
                    self.tell_secrets_to(number);
                }
                self.introduce_arcs(number);
                self.introduce_loopback(number);
                if self.services.get(&number).is_some_and(Service::is_log_keeper) {
                    self.introduce_streams(number);
                }
                Event::Spawned
            }
            Err(failure) => Event::SpawnFailed { reason: failure.to_string(), for_good: failure.is_for_good() },
        }
    }

    /// The plan of a service whose program lies at `program`.
    pub(super) fn plan(&self, service: &Service, program: &Path) -> Plan {
        let surroundings = Surroundings {
            layout: &self.layout,
            programs: &self.programs,
            config: &self.config,
            gateway: self.gateway_start(),
            inherited: &self.inherited,
            abilities: &self.abilities,
            is_dynamic: elf::is_dynamic(program),
        };
        plan(&service.candidate.manifest, &surroundings)
    }

    fn carry_out(&mut self, number: u32) -> Result<(), Failure> {
        let Some(service) = self.services.get(&number) else { return Ok(()) };
        let program = program(&service.candidate.manifest, &self.programs);
        let mode = check_program(&program)?;
        let mut plan = self.plan(service, &program);
        if plan.cage.has(Layer::User) && mode & 0o001 == 0 {
            return Err(Failure::NotForOthers(program));
        }
        sight::check(&plan, &self.inherited)?;
        if service.candidate.origin == Origin::User {
            sight::check_mounts(&service.candidate.manifest, &self.layout)?;
            let missing = sight::missing_mounts(&service.candidate.manifest, &self.layout);
            missing.iter().for_each(|line| self.say(line));
        }
        self.hand_secrets(&mut plan);
        if !plan.cage.lacking.is_empty() {
            let lacking: Vec<&str> = plan.cage.lacking.iter().map(|layer| layer.words()).collect();
            return Err(Failure::Lacks(lacking.join(" and ")));
        }
        prepare_folders(&plan, &self.layout)?;
        if plan.cage.has(Layer::Disk) {
            self.bound_disk(number)?;
        }
        let Some(service) = self.services.get_mut(&number) else { return Ok(()) };
        service.mend(&self.layout);
        let ends = service.ends.as_mut().map_err(|_| Failure::NoSocket)?;
        ends.stream.begin();
        let ends = &*ends;
        let channel = match plan.descriptors.iter().any(|(_, handed)| *handed == Handed::ControlChannel) {
            true => Some(sys::pair().map_err(Failure::Channel)?),
            false => None,
        };
        let theirs = channel.as_ref().map(|(_, theirs)| theirs);
        let connection = if plan.speaks_on_stdio { Some(accept(ends)?) } else { None };
        let entrance = service.group.entrance().map_err(Failure::Group)?;
        let limits = plan.cage.limits;
        let bounds = Bounds {
            memory: limits.memory,
            memory_kept: limits.memory_kept,
            processes: limits.processes,
            cpu_weight: limits.cpu_weight,
        };
        service.group.bound(&bounds).map_err(Failure::Bounds)?;
        let launch = Launch {
            program: &plan.program,
            arguments: &plan.arguments,
            environment: &plan.environment,
            folder: &plan.folder,
            descriptors: descriptors(&plan, ends, theirs, &self.listeners)?,
            input: match &connection {
                Some(connection) => Input::Connection(connection.as_fd()),
                None => Input::Nothing(self.null.as_fd()),
            },
            output: ends.stream.writer.as_fd(),
            group: entrance.as_ref().map(AsFd::as_fd),
            name: plan.service.as_str(),
            cage: &plan.cage,
        };
        let launched =
            sys::launch(&launch).map_err(|source| Failure::Launch { program: plan.program.clone(), source })?;
        let longest = if service.is_log_keeper() { LONGEST_ANSWER } else { LONGEST_LINE };
        let ours = channel.map(|(ours, _)| Connection::new(ours, longest));
        self.took_off(number, launched, ours, connection);
        Ok(())
    }

    /// Puts the values of its secrets into a plan, for the one start that it is for.
    fn hand_secrets(&mut self, plan: &mut Plan) {
        let name = &plan.service;
        let mut problems = Vec::new();
        for (secret, place) in &plan.secrets {
            match self.secrets.store.get(secret) {
                Ok(value) => {
                    let content = Content(value.bytes().to_vec().into());
                    plan.cage.parts.push(Part::File { target: place.clone(), content });
                }
                Err(error) => problems.push(format!("{name}: is not handed the secret {secret}: {error}")),
            }
        }
        if !plan.secrets.is_empty() && !plan.cage.has(Layer::Files) {
            plan.cage.parts.retain(|part| !plan.secrets.iter().any(|(_, place)| place == part.target()));
            problems.push(format!("{name}: is handed no secrets: that takes a file system of its own"));
        }
        problems.iter().for_each(|problem| self.say(problem));
    }

    fn took_off(
        &mut self,
        number: u32,
        launched: Launched,
        channel: Option<Connection>,
        conversation: Option<UnixStream>,
    ) {
        let Some(service) = self.services.get_mut(&number) else { return };
        let child = launched.child;
        let mut watched = self.poll.add(&child, Source::Process(number), Interest::READ);
        if let Some(channel) = &channel {
            watched = watched.and(self.poll.add(channel, Source::Channel(number), Interest::READ));
        }
        if let Some(refusals) = &launched.refusals {
            watched = watched.and(self.poll.add(refusals, Source::Refusals(number), Interest::READ));
        }
        if let Some(conversation) = &conversation {
            watched = watched.and(self.poll.add(conversation, Source::Conversation(number), Interest::END));
        }
        service.conversation = conversation;
        service.refusals = launched.refusals;
        service.proxy = launched.proxy;
        service.channel = channel;
        service.status = None;
        service.access_point = None;
        service.last_line = None;
        service.process = Some(Process { pid: child.pid(), child, ended: None });
        if let Err(error) = watched {
            let name = service.name().clone();
            self.say(&format!("{name}: cannot wait for its process: {error}"));
        }
    }
}

impl Service {
    /// Replaces an Arc's own socket where the Arc has made it useless, and lets it block again, which an Arc may have
    /// changed as well: both belong to the open socket, which the Arc shared.
    pub(super) fn mend(&mut self, layout: &Layout) {
        let path = paths::arc_socket(&layout.run, self.name().as_str());
        let Ok(Ends { arc: Some(listener), .. }) = &mut self.ends else { return };
        if sys::is_broken(&*listener)
            && let Ok(fresh) = sys::bind_unix(&path)
        {
            *listener = fresh;
        }
        // Only a descriptor that is not open refuses this.
        let _ = sys::set_blocking(listener.as_fd(), true);
    }
}

/// Answers the mode of the program.
fn check_program(program: &Path) -> Result<u32, Failure> {
    let metadata = program.metadata().map_err(|_| Failure::NoProgram(program.to_owned()))?;
    let mode = metadata.permissions().mode();
    let is_executable = metadata.is_file() && mode & 0o111 != 0;
    if is_executable { Ok(mode) } else { Err(Failure::NotExecutable(program.to_owned())) }
}

fn prepare_folders(plan: &Plan, layout: &Layout) -> Result<(), Failure> {
    for folder in &plan.folders {
        let base = if folder.starts_with(&layout.data) { &layout.data } else { &layout.run };
        create_folder_in(base, folder).map_err(|source| Failure::Folder { folder: folder.clone(), source })?;
    }
    // What is there already needs no room on a full disk.
    let is_there = |(file, text): &&(PathBuf, String)| fs::read_to_string(file).is_ok_and(|there| there == *text);
    if let Some((file, text)) = plan.settings.as_ref().filter(|settings| !is_there(settings)) {
        write_private(file, text.as_bytes()).map_err(|source| Failure::Settings { file: file.clone(), source })?;
    }
    Ok(())
}

/// The connection that woke a service which speaks on its standard input and output.
fn accept(ends: &Ends) -> Result<UnixStream, Failure> {
    let listener: &UnixListener = ends.arc.as_ref().ok_or(Failure::NoSocket)?;
    let accepted = listener.set_nonblocking(true).and_then(|()| listener.accept());
    accepted.map(|(connection, _)| connection).map_err(|_| Failure::NoConnection)
}

fn descriptors<'a>(
    plan: &Plan,
    ends: &'a Ends,
    channel: Option<&'a OwnedFd>,
    listeners: &'a Listeners,
) -> Result<Vec<(String, BorrowedFd<'a>)>, Failure> {
    let find = |handed: &Handed| match handed {
        Handed::ArcSocket => ends.arc.as_ref().map(AsFd::as_fd).ok_or(Failure::NoSocket),
        Handed::GatewaySocket => ends.gateway.as_ref().map(AsFd::as_fd).ok_or(Failure::NoSocket),
        Handed::ControlChannel => channel.map(AsFd::as_fd).ok_or(Failure::NoSocket),
        Handed::Listener(name) => listeners.get(name).map(AsFd::as_fd).ok_or_else(|| Failure::NoListener(name.clone())),
    };
    // Without a certificate's door the gateway still has the other one.
    let is_there =
        |(name, _): &&(String, Handed)| name != fd::HTTPS || listeners.keys().any(|one| one.as_str() == name);
    let handed = plan.descriptors.iter().filter(is_there);
    handed.map(|(name, handed)| Ok((name.clone(), find(handed)?))).collect()
}
