//! What an image is written to: stated and confirmed, or chosen from what there is.

use std::path::Path;

use super::ask::Person;
use super::disks::{self, Disk, Facts};
use super::target::Target;
use crate::failure::Failure;
use crate::terminal::say;

/// What was stated, if it may be written to.
pub(super) fn find(stated: &Path, allows_fixed: bool) -> Result<Target, Failure> {
    let target = Target::find(stated, &Facts::now())?;
    target.check(allows_fixed)?;
    Ok(target)
}

/// Has the name of what was stated typed.
pub(super) fn confirm(target: &Target, person: &Person<'_>) -> Result<(), Failure> {
    let (path, name) = (target.path(), target.name());
    let about = match target {
        Target::Disk(disk) => disk.described(),
        Target::File { size, .. } => format!("a file, {}", disks::gigabytes(*size)),
    };
    let all = format!("Everything on {} ({about}) will be erased.", path.display());
    let answer = person.ask(&format!("{all} Type its name to go on, {name}:"))?.unwrap_or_default();
    if answer == name || Path::new(&answer) == path { Ok(()) } else { Err(unnamed(&answer)) }
}

/// Has the name of one of the disks typed.
pub(super) fn choose(person: &Person<'_>, allows_fixed: bool) -> Result<Target, Failure> {
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

/// There is no terminal: what there is to choose from is shown all the same.
pub(super) fn nobody(is_stated: bool, allows_fixed: bool) -> Failure {
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
