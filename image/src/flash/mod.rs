//! Writing an image onto a disk or a card, such that nothing else is harmed and nobody is left in doubt of what is on it.
//!
//! What is in use is refused twice: by what the kernel tells of it ([`disks`]), and by the kernel itself, which is asked for
//! the disk for us alone ([`target`]). It is held until the settings are on it, so that no desktop mounts it meanwhile.

mod ask;
mod card;
mod choice;
mod disks;
mod input;
mod options;
mod piece;
mod questions;
mod settings;
mod source;
mod table;
mod target;
mod write;

use std::env;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

pub(crate) use options::FlashOptions;

use crate::failure::{Failure, plain};
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};
use ask::Person;
use card::Card;
use settings::Settings;
use source::Source;
use target::Target;
use write::{Medium, Writing};

/// Writes an image, and what its machine is to know at its first start.
pub(crate) fn run(options: &FlashOptions, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let (image, stated) = arguments(options);
    let settings = Settings::of(&options.settings)?;
    let stated = stated.map(|stated| choice::find(stated, options.fixed_disk)).transpose()?;
    let person = Person::find(signals).filter(|_| !options.yes);
    if person.is_none() && !options.yes {
        return Err(choice::nobody(stated.is_some(), options.fixed_disk));
    }
    become_root(stated.as_ref(), person.is_some())?;
    let image = image.map_or_else(|| source::newest(&repository.path("build")), |image| Ok(image.to_owned()))?;
    let terminal = Terminal::new(format!("llmbasedos {} · flash · {}", env!("CARGO_PKG_VERSION"), short(&image)));
    let flash = Flash { options, person, terminal, signals };
    let (source, target) = flash.choose(&image, stated).map_err(|failure| failure.keeping("nothing was written"))?;
    flash.write(source, &target, settings)
}

/// One run of this command.
struct Flash<'a> {
    options: &'a FlashOptions,
    /// Who is asked; nobody in a script.
    person: Option<Person<'a>>,
    terminal: Terminal,
    signals: &'a Signals,
}

impl Flash<'_> {
    /// Checks the image, and has a person say what it is written to.
    fn choose(&self, image: &Path, stated: Option<Target>) -> Result<(Source, Target), Failure> {
        source::check_sum(image, &self.terminal, self.signals)?;
        let source = Source::open(image, self.signals)?;
        let allows_fixed = self.options.fixed_disk;
        let target = match (stated, &self.person) {
            (Some(target), person) => {
                target.takes(image, source.size)?;
                person.as_ref().map_or(Ok(()), |person| choice::confirm(&target, person))?;
                target
            }
            (None, Some(person)) => choice::choose(person, allows_fixed)?,
            (None, None) => return Err(choice::nobody(false, allows_fixed)),
        };
        target.takes(image, source.size)?;
        Ok((source, target))
    }

    /// Writes the image, then the settings that were stated or that a person is asked for.
    fn write(&self, source: Source, target: &Target, stated: Option<Settings>) -> Result<(), Failure> {
        let name = target.path().display().to_string();
        let mut opened = target.open(self.options.fixed_disk)?;
        let card = Card::new(&target.path(), source.table.config);
        let (terminal, signals) = (&self.terminal, self.signals);
        Writing { medium: &mut opened, name: &name, size: target.size(), terminal, signals }.run(source)?;
        let state = format!("{name} is written and verified");
        let is_asked = stated.is_none() && !self.options.settings.no_config;
        let settings = match self.person.as_ref().filter(|_| is_asked) {
            Some(person) => Settings::ask(person)
                .map_err(|failure| failure.keeping(&format!("{state}, with the settings that the image has")))?,
            None => stated,
        };
        if let Some(settings) = &settings {
            let images = card.read(settings::FILE)?.unwrap_or_default();
            card.write(settings::FILE, &settings.onto(&images)?)?;
            let kept = opened.settle();
            kept.map_err(|error| Failure::new(format!("cannot write {name}"), plain(&error), "run this again"))?;
            terminal.note("settings", settings::FILE);
        }
        drop(opened);
        show_partitions(target);
        let host = settings.map_or("llmbasedos".to_owned(), |settings| settings.host_name());
        say(format_args!("\n{state}. Put it in, power on, open http://{host}.local in a minute."));
        Ok(())
    }
}

/// Has the kernel read the new table, where it can: else the partitions of before stay to be seen until the card is put in
/// again.
fn show_partitions(target: &Target) {
    if let Target::Disk(disk) = target {
        let mut reread = Command::new("blockdev");
        reread.arg("--rereadpt").arg(disk.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = reread.status();
    }
}

/// IMAGE and DEVICE. One argument that is a disk is no image.
fn arguments(options: &FlashOptions) -> (Option<&Path>, Option<&Path>) {
    let is_disk = |path: &Path| fs::metadata(path).is_ok_and(|data| data.file_type().is_block_device());
    match (options.image.as_deref(), options.device.as_deref()) {
        (Some(one), None) if is_disk(one) => (None, Some(one)),
        both => both,
    }
}

/// A disk is root's: this program becomes it by sudo(8), before anything is asked.
fn become_root(stated: Option<&Target>, may_ask: bool) -> Result<(), Failure> {
    let may_write = |target: &Target| access(target.path(), Access::WRITE_OK).is_ok();
    if geteuid().is_root() || stated.is_some_and(|target| matches!(target, Target::File { .. }) || may_write(target)) {
        return Ok(());
    }
    say("writing a disk takes root: asking sudo");
    let mut sudo = Command::new("sudo");
    if !may_ask {
        sudo.arg("-n");
    }
    let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("image"));
    let error = sudo.arg("--").arg(program).args(env::args_os().skip(1)).exec();
    Err(Failure::new("writing a disk takes root", format!("sudo: {}", plain(&error)), "run this as root"))
}
