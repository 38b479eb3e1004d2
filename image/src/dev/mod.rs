//! Developer mode: the whole system on this machine, as ordinary processes, and one tick.

mod engine;
mod model;
mod plan;
mod probe;
mod system;
mod tick;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spec::control::ServiceState;

use crate::cli::DevOptions;
use crate::dev::model::Model;
use crate::dev::plan::Plan;
use crate::dev::system::System;
use crate::dev::tick::Site;
use crate::failure::Failure;
use crate::process;
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{self, Terminal, say};

/// init's exit code for a data folder that cannot be used (`init/src/error.rs`), for where that shows before init runs.
pub(crate) const DATA_UNUSABLE: u8 = 5;

/// Developer mode from start to stop.
pub(crate) fn run(options: &DevOptions, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let data = data_folder(options, repository)?;
    let version = env!("CARGO_PKG_VERSION");
    let terminal = Terminal::new(format!("llmbasedos {version} · developer mode · data in {}", short(&data)));
    system::refuse_second(&data)?;
    let _lock = system::lock(&data)?;
    plan::prepare(&data).map_err(|failure| failure.with_exit(DATA_UNUSABLE))?;
    let owner = plan::owner_config(&data, terminal::form())?;
    let model = Model::choose(options, &owner, &terminal, signals)?;
    let plan = Plan::write(options, &data, &owner, &model, repository)?;
    repository.link_programs()?;
    let begun = Instant::now();
    let mut system = System::start(&plan, repository, signals)?;
    announce(&terminal, &system, &model, begun.elapsed());
    let session = Session { options, plan: &plan, repository, signals, terminal: &terminal };
    let outcome = session.live(&mut system, &model).map_err(|failure| failure.keeping(&kept(&data)));
    system.stop()?;
    let site = outcome?;
    match site.filter(|_| options.once) {
        Some(site) => print_result(&plan, &site),
        None => say(format_args!("stopped; data kept in {}", short(&data))),
    }
    Ok(())
}

/// What a session at the running system needs.
struct Session<'a> {
    options: &'a DevOptions,
    plan: &'a Plan,
    repository: &'a Repository,
    signals: &'a Signals,
    terminal: &'a Terminal,
}

impl Session<'_> {
    /// One tick, and then the shell until the user leaves it.
    fn live(&self, system: &mut System, model: &Model) -> Result<Option<Site>, Failure> {
        let ticked = match model {
            Model::None => {
                say("\nno tick was fired: there is no model");
                Ok(None)
            }
            _ => self.tick(system, model).map(Some),
        };
        if let Some(lost) = ticked.as_ref().err().and_then(|_| system.lost()) {
            return Err(lost);
        }
        match ticked {
            Err(interrupted @ Failure::Interrupted { .. }) => return Err(interrupted),
            ticked if self.options.once => return ticked,
            Err(failure) => terminal::print_failure(&failure),
            Ok(_) => {}
        }
        say("next   type `help`, or press Ctrl-D to stop everything\n");
        let mut shell = Command::new(self.repository.program("luca-shell"));
        shell.arg("--gateway").arg(format!("unix:{}", system.gateway().display()));
        process::foreground(&mut shell, self.signals)?;
        system.lost().map_or(Ok(None), Err)
    }

    fn tick(&self, system: &System, model: &Model) -> Result<Site, Failure> {
        model.wait(system, self.terminal, self.signals)?;
        say("\ntick 1");
        let site = tick::fire(&self.repository.program("luca-run"), &system.gateway(), self.signals)?;
        let tokens = site.usage.total();
        say(format_args!("  by       {} · {tokens} tokens · not checked by a person\n", site.model));
        say(format_args!("open   {}", url(self.plan, &site)));
        Ok(site)
    }
}

fn data_folder(options: &DevOptions, repository: &Repository) -> Result<PathBuf, Failure> {
    let stated = options.data.clone().unwrap_or_else(|| repository.path("data"));
    std::path::absolute(&stated).map_err(|error| Failure::io("find", &stated, &error))
}

fn kept(data: &Path) -> String {
    format!("data kept in {}; scripts/run starts it again", short(data))
}

fn url(plan: &Plan, site: &Site) -> String {
    format!("http://{}/{}/", plan.sites, site.site_id)
}

fn print_result(plan: &Plan, site: &Site) {
    say("stopped; the site is served while the system runs: scripts/run");
    terminal::result(format_args!("site    {}", spec::paths::sites(&plan.data).join(site.site_id.as_str()).display()));
    terminal::result(format_args!("url     {}", url(plan, site)));
}

/// Says what runs: in the header's line where nothing had to be done before.
fn announce(terminal: &Terminal, system: &System, model: &Model, took: Duration) {
    let services = system.services().unwrap_or_default();
    let (down, up): (Vec<_>, Vec<_>) = services.iter().partition(|service| service.state == ServiceState::Failed);
    let took = format!("{:.1} s", took.as_secs_f64());
    if terminal.has_stages() {
        let names: Vec<_> = ["init"].into_iter().chain(up.iter().map(|service| service.name.as_str())).collect();
        terminal.note("model", &model.describe());
        terminal.note("system", &format!("{}   up in {took}", names.join(" · ")));
        if let Some(cages) = system.cages() {
            let missing = cages.missing.join(", ");
            let missing = if missing.is_empty() { missing } else { format!("   not on this kernel: {missing}") };
            terminal.note("cages", &format!("{}{missing}", cages.layers.join(", ")));
        }
    } else {
        let count = up.len();
        let missing = system.cages().map_or(0, |cages| cages.missing.len());
        let cages = match missing {
            0 => String::new(),
            missing => format!(" · {missing} layers of their cages are not on this kernel: luca-run system.cages"),
        };
        terminal.summary(&format!("{} · {count} services up in {took}{cages}", model.describe()));
    }
    for line in system.complaints() {
        terminal.note("trouble", &line);
    }
    for service in down {
        terminal.note("trouble", &system::describe_trouble(service));
    }
}
