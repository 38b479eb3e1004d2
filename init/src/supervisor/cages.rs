//! What this kernel gives to cages, and what services try that they may not.

use std::fs::File;
use std::os::fd::AsFd;

use spec::control::{CageInfo, CagesInfo};
use spec::{Layer, Manifest, Name, Origin};

use super::{Supervisor, disk};
use crate::cage::{Abilities, Cage, Part, Sight, Source, describe};
use crate::command_line::{Mode, Options};
use crate::elf;
use crate::layout::Layout;
use crate::plan::program;
use crate::sys::{self, Groups, Input, Launch, LaunchError, Refusal, Step};

/// So many refused calls of one kind are said; of the rest only how many there were.
const SAID: u32 = 3;
/// So many of one process are heard; whoever tries on is refused by the kernel alone, with ENOSYS, and costs init nothing.
const HEARD: u32 = 5_000;
/// So many are answered in a turn: whoever tries without end must not keep init from everything else.
const IN_A_TURN: usize = 64;

impl Supervisor {
    /// Refuses what a service tries that it may not, and says so.
    pub(super) fn hear_refusals(&mut self, number: u32) {
        for _ in 0..IN_A_TURN {
            let Some(service) = self.services.get_mut(&number) else { return };
            let Some(refusals) = &service.refusals else { return };
            let Some(refusal) = refusals.next() else { return };
            let count = service.refused.entry(refusal.name).or_default();
            *count = count.saturating_add(1);
            let count = *count;
            let all = service.refused.values().fold(0_u32, |all, count| all.saturating_add(*count));
            let name = service.name().clone();
            if count <= SAID {
                let rest = if count == SAID { "; more of these are not said" } else { "" };
                self.say(&format!("{name}: {} was refused by its cage{rest}", shown(&refusal)));
            }
            if all >= HEARD {
                self.say(&format!("{name}: what its cage refuses is not counted any more: it tries without end"));
                self.stop_hearing(number);
            }
        }
    }

    /// The cage of a service, in words.
    pub(super) fn cage_info(&self, name: &Name) -> Option<CageInfo> {
        let service = self.services.get(&self.number_of(name)?)?;
        let plan = self.plan(service, &program(&service.candidate.manifest, &self.programs));
        let refused = service.refused.iter().map(|(call, count)| ((*call).to_owned(), *count)).collect();
        let mut may = describe(&plan.cage);
        may.extend(self.kept_on_disk(service));
        Some(CageInfo { name: name.clone(), may, missing: self.missing(), refused })
    }

    /// What this kernel gives to cages.
    pub(super) fn cages_info(&self) -> CagesInfo {
        let there = Layer::ALL.iter().filter(|(layer, ..)| self.abilities.has(*layer));
        CagesInfo { layers: there.map(|(_, word, _)| (*word).to_owned()).collect(), missing: self.missing() }
    }

    fn missing(&self) -> Vec<String> {
        let layers = self.abilities.missing.iter().map(|(layer, why)| format!("{} ({why})", layer.words()));
        layers.chain(self.relief.missing()).collect()
    }

    /// Stops hearing of them: no process of the service is left.
    pub(super) fn end_refusals(&mut self, number: u32) {
        let Some(service) = self.services.get_mut(&number) else { return };
        service.refused.clear();
        service.proxy = None;
        self.stop_hearing(number);
    }

    fn stop_hearing(&mut self, number: u32) {
        let refusals = self.services.get_mut(&number).and_then(|service| service.refusals.take());
        if let Some(refusals) = refusals {
            self.poll.remove(&refusals);
        }
    }
}

/// Of a socket its family and kind tell what was wanted.
fn shown(refusal: &Refusal) -> String {
    let [first, second, _] = refusal.arguments;
    match refusal.name {
        name @ ("socket" | "prctl" | "ioctl" | "fcntl" | "clone") => format!("{name}({first:#x}, {second:#x})"),
        name => name.to_owned(),
    }
}

/// Finds out what this kernel gives, by building cages until one holds: what a step cannot be done for is left out of
/// the next. `--without` leaves out layers from the start.
pub(super) fn find_abilities(options: &Options, layout: &Layout, groups: &mut Groups) -> Abilities {
    let is_strict = options.mode == Mode::Appliance;
    let mut abilities = Abilities {
        missing: Vec::new(),
        is_unprivileged: !sys::is_privileged(),
        is_strict,
        are_data_lost: is_strict && sys::is_in_memory(&layout.data),
        memory: sys::memory().map_or(0, |memory| memory.total),
    };
    for layer in &options.without {
        abilities.miss(*layer, "left out by --without");
    }
    if let Err(why) = disk::try_out(layout, abilities.are_data_lost) {
        abilities.miss(Layer::Disk, &why);
    }
    if abilities.is_unprivileged {
        abilities.miss(Layer::User, "init runs without privileges");
    }
    if let Err(error) = sys::check_seccomp() {
        abilities.miss(Layer::Seccomp, &error.to_string());
    }
    match sys::landlock_version() {
        0 => {
            abilities.miss(Layer::Landlock, "not in this kernel");
            abilities.miss(Layer::Scope, "not in this kernel");
        }
        version if version < sys::LANDLOCK_SCOPES => {
            abilities
                .miss(Layer::Scope, &format!("this kernel has version {version}, {} is needed", sys::LANDLOCK_SCOPES));
        }
        _ => {}
    }
    // Each failure leaves at least one layer out, or ends this.
    for _ in 0..Layer::ALL.len() {
        let Err(error) = try_out(layout, groups, &abilities) else { break };
        let layers = blamed(&error, &abilities);
        if layers.is_empty() && error.step() == Some(Step::Birth) && groups.are_cgroups() {
            groups.give_up();
            continue;
        }
        if layers.is_empty() {
            break;
        }
        layers.into_iter().for_each(|layer| abilities.miss(layer, &error.to_string()));
    }
    for (layer, controller) in [(Layer::Memory, "memory"), (Layer::Pids, "pids"), (Layer::Cpu, "cpu")] {
        if !groups.has_controller(controller) {
            abilities.miss(layer, "the cgroup controller is not delegated to init");
        }
    }
    abilities
}

/// Builds a cage with every layer that is not known to be missing, and runs a program in it that ends at once.
fn try_out(layout: &Layout, groups: &Groups, abilities: &Abilities) -> Result<(), LaunchError> {
    let Ok(program) = std::env::current_exe() else { return Ok(()) };
    let text = "name = \"trial\"\nversion = \"1\"\ndescription = \"\"\nexec = [\"init\"]\n[cage]\negress = [\"127.0.0.1:1\"]\n";
    let Ok(manifest) = Manifest::parse("trial", text, Origin::System) else { return Ok(()) };
    let source = Source { path: layout.data.clone(), is_ours: true };
    let parts = vec![Part::Bound { source, target: "/data".to_owned(), sight: Sight::Read }];
    let cage = Cage::plan(&manifest, parts, elf::is_dynamic(&program), abilities);
    let group = groups.group("trial", 0, String::new());
    let Ok(null) = File::options().read(true).write(true).open("/dev/null") else { return Ok(()) };
    let entrance = group.entrance().ok().flatten();
    let launched = sys::launch(&Launch {
        program: &program,
        arguments: &["init".to_owned(), "--version".to_owned()],
        environment: &[],
        folder: "/".as_ref(),
        descriptors: Vec::new(),
        input: Input::Nothing(null.as_fd()),
        output: null.as_fd(),
        group: entrance.as_ref().map(File::as_fd),
        name: "trial",
        cage: &cage,
    })?;
    launched.child.end();
    Ok(())
}

/// The layers that a failed step belongs to, of those that were tried.
fn blamed(error: &LaunchError, abilities: &Abilities) -> Vec<Layer> {
    let namespaces = [Layer::Files, Layer::Processes, Layer::Network, Layer::Names];
    let layers: Vec<Layer> = match error.step() {
        _ if error.is_for_id_maps() => vec![Layer::User],
        Some(Step::Birth | Step::UserNamespace) => namespaces.to_vec(),
        Some(Step::Loopback) => vec![Layer::Network],
        Some(Step::HostName) => vec![Layer::Names],
        Some(Step::Root | Step::Tree | Step::Pivot) => vec![Layer::Files],
        Some(Step::Rules | Step::Landlock) => vec![Layer::Landlock, Layer::Scope],
        Some(Step::Capabilities) => vec![Layer::User, Layer::Privileges],
        Some(Step::Seccomp) => vec![Layer::Seccomp],
        _ => Vec::new(),
    };
    layers.into_iter().filter(|layer| abilities.has(*layer)).collect()
}

/// What is said at the start: the layers that there are, and those that there are not, with why.
pub(super) fn introduction(abilities: &Abilities) -> Vec<String> {
    let is_there = |(layer, word, _): &(Layer, &'static str, &'static str)| abilities.has(*layer).then_some(*word);
    let there: Vec<&str> = Layer::ALL.iter().filter_map(is_there).collect();
    let mut lines = vec![format!("cages: {}", there.join(", "))];
    let missing = abilities.missing.iter();
    lines.extend(missing.map(|(layer, why)| format!("cages: not on this kernel: {} ({why})", layer.words())));
    lines
}
