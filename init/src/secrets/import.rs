//! `[secrets]` of `llmbasedos.toml`: moved into the store, and scrubbed from the file.
//!
//! The values are overwritten in place with as many `*`: on a FAT card the same clusters are written again. What the
//! card's own controller keeps of the old blocks is beyond anybody's reach from here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use spec::{Name, OwnersSecrets};
use zeroize::Zeroizing;

use super::{Secret, Secrets};

/// A larger file is no configuration.
const LARGEST: u64 = 256 * 1024;

/// What came of it, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    /// What was done.
    pub(crate) done: Option<String>,
    /// What went wrong.
    pub(crate) problem: Option<String>,
}

/// Moves the secrets of `file` into the store. `writable` calls what it is given while the file can be written.
pub(crate) fn import(
    file: &Path,
    secrets: &mut Secrets,
    now_ms: u64,
    writable: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>,
) -> Imported {
    // What cannot be read, the configuration's own reader complains of.
    let Ok(text) = read(file) else { return Imported::default() };
    let mut found = OwnersSecrets::find(&text);
    let shown = file.display();
    let mut problems = Vec::new();
    for (name, value) in std::mem::take(&mut found.values) {
        let secret = Secret::new(Zeroizing::new(value.as_str().as_bytes().to_vec()));
        match secrets.set(&name, &secret, now_ms) {
            Ok(()) => drop(found.values.insert(name, value)),
            // One that cannot be moved keeps none of the others in the file.
            Err(error) => {
                problems.push(format!(
                    "{shown}: secrets.{name}: cannot be moved to the store and stays in the file: {error}"
                ));
                found.leave(&name);
            }
        }
    }
    let names: Vec<&str> = found.values.keys().map(Name::as_str).collect();
    let names = names.join(", ");
    let mut done = None;
    if !found.values.is_empty() {
        let mut scrub = || scrub(file, &text, &found);
        done = Some(format!("{shown}: moved to the secrets store: {names}"));
        problems.extend(writable(&mut scrub).err().map(|error| {
            format!(
                "{shown}: secrets.{names}: still in the file for whoever takes the card: they were moved to the store, and \
                 cannot be overwritten: {error}\ndelete them from the file"
            )
        }));
    }
    Imported { done, problem: Some(problems.join("\n")).filter(|problems| !problems.is_empty()) }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if !file.metadata()?.is_file() || length > LARGEST {
        return Err(io::Error::other("it is no configuration"));
    }
    // With room from the start: what a buffer leaves behind when it grows would not be wiped.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).map_err(io::Error::other)? + 64));
    file.take(length).read_to_string(&mut text)?;
    Ok(text)
}

fn scrub(path: &Path, text: &str, found: &OwnersSecrets) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if read(path)?.as_str() != text {
        return Err(io::Error::other("somebody has just changed the file"));
    }
    let scrubbed = found.scrubbed(text);
    for span in found.spans.values() {
        file.write_all_at(scrubbed.get(span.clone()).unwrap_or_default(), span.start as u64)?;
    }
    file.sync_all()?;
    let left = OwnersSecrets::find(&read(path)?).values;
    let is_clean = !found.values.keys().any(|name| left.contains_key(name));
    if is_clean { Ok(()) } else { Err(io::Error::other("it was written, and reads as before")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn secrets_move_once_and_the_file_stays_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llmbasedos.toml");
        fs::write(&file, "[secrets]\nopenai = \"sk-canary-1\" # mine\n[listen]\n").expect("written");
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("there"));
        let before = inode(&file);
        let mut secrets = Secrets::open(folder.path().join("secrets"), None);
        let imported = import(&file, &mut secrets, 7, |scrub| scrub());
        assert!(imported.done.is_some_and(|done| done.ends_with("moved to the secrets store: openai")));
        assert_eq!(imported.problem, None);
        assert_eq!(secrets.get(&"openai".parse().expect("a name")).expect("there").bytes(), b"sk-canary-1");
        assert_eq!(fs::read_to_string(&file).expect("there"), "[secrets]\nopenai = \"***********\" # mine\n[listen]\n");
        assert_eq!(inode(&file), before);
        assert_eq!(import(&file, &mut secrets, 8, |scrub| scrub()), Imported::default());
    }

    #[test]
    fn one_that_cannot_be_moved_keeps_none_of_the_others_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llmbasedos.toml");
        let long = "x".repeat(65 * 1024);
        fs::write(&file, format!("[secrets]\na = \"sk-canary-1\"\nb = \"{long}\"\nc = \"sk-canary-2\"\n"))
            .expect("written");
        let mut secrets = Secrets::open(folder.path().join("secrets"), None);
        let imported = import(&file, &mut secrets, 7, |scrub| scrub());
        assert!(imported.done.is_some_and(|done| done.ends_with(": a, c")));
        let problem = imported.problem.expect("a problem");
        assert!(problem.contains("secrets.b: cannot be moved") && !problem.contains("xxx"), "{problem}");
        let left = fs::read_to_string(&file).expect("there");
        assert!(!left.contains("canary") && left.contains(&long));
    }

    #[test]
    fn what_cannot_be_scrubbed_is_said_without_its_value() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llmbasedos.toml");
        fs::write(&file, "[secrets]\nopenai = \"sk-canary-1\"\n").expect("written");
        let mut secrets = Secrets::open(folder.path().join("secrets"), None);
        let imported = import(&file, &mut secrets, 7, |_| Err(io::Error::other("read-only")));
        let problem = imported.problem.expect("a problem");
        assert!(problem.contains("secrets.openai: still in the file") && !problem.contains("canary"), "{problem}");
    }
}
