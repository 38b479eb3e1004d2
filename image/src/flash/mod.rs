//! Writing an image onto a disk or a card, such that nothing else is harmed and nobody is left in doubt of what is on it.
//!
//! What is in use is refused twice: by what the kernel tells of it ([`disks`]), and by the kernel itself, which is asked for
//! the disk for us alone ([`target`]). It is held until the settings are on it, so that no desktop mounts it meanwhile.

mod ask;
mod card;
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
use std::io::{self, IsTerminal};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

pub(crate) use options::FlashOptions;

use crate::failure::{Failure, plain};
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};
use ask::Person;
use card::Card;
use disks::{Disk, Facts};
use settings::Settings;
use source::Source;
use target::Target;
use write::{Medium, Writing, too_small};

/// Writes an image, and what its machine is to know at its first start.
pub(crate) fn run(options: &FlashOptions, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let (image, stated) = arguments(options);
    let settings = Settings::of(&options.settings)?;
    become_root(stated)?;
    let image = image.map_or_else(|| source::newest(repository), |image| Ok(image.to_owned()))?;
    let terminal = Terminal::new(format!("llmbasedos {} · flash · {}", env!("CARGO_PKG_VERSION"), short(&image)));
    let person = Person::find(signals).filter(|_| !options.yes);
    let stated = stated.map(|stated| find(stated, options.fixed_disk)).transpose()?;
    if person.is_none() && !options.yes {
        return Err(nobody(stated.is_some(), options.fixed_disk));
    }
    source::check_sum(&image, &terminal, signals)?;
    let source = Source::open(&image, signals)?;
    let target = match (stated, &person) {
        (Some(target), None) => target,
        (Some(target), Some(person)) => confirm(target, person)?,
        (None, Some(person)) => choose(person, options.fixed_disk)?,
        (None, None) => return Err(nobody(false, options.fixed_disk)),
    };
    suits(&target, &image, &source)?;
    write(&target, source, options, settings, person.as_ref(), &terminal, signals)
}

/// Writes the image, then the settings that were stated or that a person is asked for.
fn write(
    target: &Target,
    source: Source,
    options: &FlashOptions,
    stated: Option<Settings>,
    person: Option<&Person<'_>>,
    terminal: &Terminal,
    signals: &Signals,
) -> Result<(), Failure> {
    let name = target.path().display().to_string();
    let mut opened = target.open(options.fixed_disk)?;
    let card = Card::new(&target.path(), source.table.config);
    Writing { medium: &mut opened, name: &name, size: target.size(), terminal, signals }.run(source)?;
    let state = format!("{name} is written and verified");
    let settings = match person.filter(|_| stated.is_none() && !options.settings.no_config) {
        Some(person) => Settings::ask(person)
            .map_err(|failure| failure.keeping(&format!("{state}, with the settings that the image has")))?,
        None => stated,
    };
    if let Some(settings) = &settings {
        let images = card.read(settings::FILE)?.unwrap_or_default();
        card.write(settings::FILE, &settings.onto(&images)?)?;
        opened
            .settle()
            .map_err(|error| Failure::new(format!("cannot write {name}"), plain(&error), "run this again"))?;
        terminal.note("settings", settings::FILE);
    }
    let host = settings.map_or("llmbasedos".to_owned(), |settings| settings.host_name());
    say(format_args!("\n{state}. Put it in, power on, open http://{host}.local in a minute."));
    Ok(())
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
fn become_root(stated: Option<&Path>) -> Result<(), Failure> {
    let may_write = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    if geteuid().is_root() || stated.is_some_and(|path| path.is_file() || may_write(path)) {
        return Ok(());
    }
    say("writing a disk takes root: asking sudo");
    let mut sudo = Command::new("sudo");
    if !io::stdin().is_terminal() {
        sudo.arg("-n");
    }
    let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("image"));
    let error = sudo.arg("--").arg(program).args(env::args_os().skip(1)).exec();
    Err(Failure::new("writing a disk takes root", format!("sudo: {}", plain(&error)), "run this as root"))
}

/// What was stated, if it may be written to.
fn find(stated: &Path, allows_fixed: bool) -> Result<Target, Failure> {
    let target = Target::find(stated, &Facts::now())?;
    target.check(allows_fixed)?;
    Ok(target)
}

/// Has the name of what was stated typed.
fn confirm(target: Target, person: &Person<'_>) -> Result<Target, Failure> {
    let (path, name) = (target.path(), target.name());
    let about = match &target {
        Target::Disk(disk) => disk.described(),
        Target::File { size, .. } => format!("a file, {}", disks::gigabytes(*size)),
    };
    let all = format!("Everything on {} ({about}) will be erased.", path.display());
    let answer = person.ask(&format!("{all} Type its name to go on, {name}:"))?.unwrap_or_default();
    if answer == name || Path::new(&answer) == path { Ok(target) } else { Err(unnamed(&answer)) }
}

/// Has the name of one of the disks typed.
fn choose(person: &Person<'_>, allows_fixed: bool) -> Result<Target, Failure> {
    let disks = offered(allows_fixed)?;
    let question = "Everything on the one that you choose will be erased. Type its name to go on:";
    let answer = person.ask(question)?.unwrap_or_default();
    let chosen = disks.into_iter().find(|disk| disk.name == answer || disk.path() == Path::new(&answer));
    let target = chosen.map(Target::Disk).ok_or_else(|| unnamed(&answer))?;
    target.check(allows_fixed)?;
    Ok(target)
}

/// Shows the disks and answers them; refuses where there is none to choose from.
fn offered(allows_fixed: bool) -> Result<Vec<Disk>, Failure> {
    let mut disks = Facts::now().disks();
    disks.retain(|disk| disk.is_removable || allows_fixed);
    disks.iter().for_each(|disk| say(disk.line(allows_fixed)));
    if disks.iter().any(|disk| disk.refusal(allows_fixed).is_none()) {
        return Ok(disks);
    }
    let why = if disks.is_empty() { "no removable disk is plugged in" } else { "none of these can be written to" };
    Err(Failure::new("there is nothing to write to", why, "plug in a card or a stick, and run this again"))
}

/// Whether the image can be written there.
fn suits(target: &Target, image: &Path, source: &Source) -> Result<(), Failure> {
    let (path, size) = (target.path(), target.size());
    if size < source.size {
        return Err(too_small(&path.display().to_string(), size, source.size));
    }
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    if identity(&path) == identity(image) {
        return Err(Failure::new("an image cannot be written onto itself", "", "state another file or a disk"));
    }
    Ok(())
}

/// There is no terminal: what there is to choose from is shown all the same.
fn nobody(is_stated: bool, allows_fixed: bool) -> Failure {
    if let Some(nothing) = (!is_stated).then(|| offered(allows_fixed).err()).flatten() {
        return nothing;
    }
    let advice = "run this in a terminal; or state DEVICE and --yes";
    Failure::new("there is nobody to ask what may be erased", "this is no terminal", advice)
}

fn unnamed(answer: &str) -> Failure {
    let why = if answer.is_empty() { "no name was typed".to_owned() } else { format!("{answer:?} is none of them") };
    Failure::new("nothing was written", why, "run this again, and type the name as it is shown")
}
