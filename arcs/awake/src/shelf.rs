//! The Sentinels: those that ship, and the owner's.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use kit::{Error, Quest, Result, Sentinel};

use crate::act;

/// What ships, by file name.
const SHIPPED: [(&str, &str); 1] = [("quick-money.toml", include_str!("../../../quests/quick-money.toml"))];

/// All Sentinels that can be read, by name, and what is wrong with the others.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) sentinels: Vec<Sentinel>,
    /// One text for each broken file, a line for each of its problems.
    pub(crate) broken: Vec<String>,
}

impl Shelf {
    /// Reads what ships and the files of `folder`, which need not be there.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut shelf = Self::default();
        let mut sources: BTreeMap<String, String> =
            SHIPPED.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect();
        shelf.add_files(folder, &mut sources);
        for (file, source) in &sources {
            match read(file, source) {
                Ok(Some(sentinel)) => shelf.sentinels.push(sentinel),
                Ok(None) => {}
                Err(problems) => shelf.broken.push(problems),
            }
        }
        shelf
    }

    /// The Sentinel called `name`.
    ///
    /// # Errors
    /// There is none; says which there are, and what is wrong with files that cannot be read.
    pub(crate) fn find(&self, name: &str) -> Result<&Sentinel> {
        self.sentinels.iter().find(|sentinel| sentinel.name.as_str() == name).ok_or_else(|| {
            let names: Vec<&str> = self.sentinels.iter().map(|sentinel| sentinel.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let broken = self.broken.iter().map(|problems| format!("\n{problems}")).collect::<String>();
            Error::invalid("/sentinel", format!("there is no Sentinel {name:?}. There are: {known}{broken}"))
        })
    }

    /// Writes to the log what is wrong.
    pub(crate) fn log_broken(&self) {
        for problems in &self.broken {
            tracing::warn!("a Sentinel cannot be woken: {problems}");
        }
    }

    fn add_files(&mut self, folder: &Path, sources: &mut BTreeMap<String, String>) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return self.broken.push(format!("/data/quests: cannot be read: {error}")),
        };
        for entry in entries.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if !file.ends_with(".toml") || file.starts_with('.') {
                continue;
            }
            match std::fs::read_to_string(entry.path()) {
                Ok(source) => drop(sources.insert(file, source)),
                Err(error) => {
                    // What it was to replace does not run in its place.
                    sources.remove(&file);
                    self.broken.push(format!("{file}: cannot be read: {error}"));
                }
            }
        }
    }
}

/// The Sentinel in a file; `None` where it is a Quest, which lies in the same folder.
fn read(file: &str, source: &str) -> std::result::Result<Option<Sentinel>, String> {
    let sentinel = match Sentinel::parse(file, source) {
        Ok(sentinel) => sentinel,
        Err(_) if Quest::parse(file, source).is_ok() => return Ok(None),
        Err(problems) => return Err(problems.to_string()),
    };
    if file.strip_suffix(".toml") != Some(sentinel.name.as_str()) {
        return Err(format!("{file}: name: must be that of the file, not {:?}", sentinel.name.as_str()));
    }
    match act::check_templates(&sentinel) {
        Ok(()) => Ok(Some(sentinel)),
        Err(problem) => Err(format!("{file}: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kit::Trigger;

    use super::*;

    fn shelf(files: &[(&str, &str)]) -> Shelf {
        let folder = tempfile::tempdir().expect("a folder");
        for (file, source) in files {
            fs::write(folder.path().join(file), source).expect("written");
        }
        Shelf::read(folder.path())
    }

    fn shipped() -> &'static str {
        SHIPPED[0].1
    }

    #[test]
    fn what_ships_is_there_without_a_folder() {
        let shelf = Shelf::read(Path::new("/nowhere"));
        assert_eq!((shelf.sentinels.len(), shelf.broken.len()), (1, 0));
        assert_eq!(shelf.sentinels[0].triggers, [Trigger::Tick]);
        assert_eq!(shelf.sentinels[0].think, "Give me one specific, trending topic for a crypto beginner's blog.");
    }

    #[test]
    fn a_file_of_the_owner_takes_the_place_of_what_ships() {
        let own = shipped().replace("n_articles = 1", "n_articles = 2");
        let shelf = shelf(&[("quick-money.toml", &own)]);
        assert_eq!(shelf.sentinels.len(), 1);
        assert_eq!(shelf.sentinels[0].steps[0].args["n_articles"].as_integer(), Some(2));
    }

    #[test]
    fn a_broken_file_is_reported_whole_and_does_not_fall_back() {
        let own = shipped().replace("think", "thnik").replace("tick = true", "tick = 1");
        let shelf = shelf(&[("quick-money.toml", &own)]);
        assert!(shelf.sentinels.is_empty());
        let [problems] = shelf.broken.as_slice() else { panic!("{:?}", shelf.broken) };
        assert!(problems.contains("`think` is missing") && problems.contains("thnik"), "{problems}");
        assert!(problems.contains("on.tick"), "{problems}");
    }

    #[test]
    fn a_name_is_that_of_its_file_and_a_template_can_be_read() {
        let shelf =
            shelf(&[("other.toml", shipped()), ("quick-money.toml", &shipped().replace("{{ topic }}", "{{ topic"))]);
        assert_eq!(shelf.broken.len(), 2);
        assert!(shelf.broken[0].contains("other.toml: name: must be that of the file"), "{}", shelf.broken[0]);
        assert!(shelf.broken[1].contains("quick-money.toml: step write: args.keyword"), "{}", shelf.broken[1]);
    }

    #[test]
    fn quests_and_other_files_are_left_alone() {
        let quest = "name = \"q\"\ndescription = \"d\"\n[[steps]]\nname = \"a\"\ntool = \"kv.get\"\n";
        let shelf = shelf(&[("q.toml", quest), ("notes.txt", "x"), (".hidden.toml", "x")]);
        assert_eq!((shelf.sentinels.len(), shelf.broken.len()), (1, 0));
    }
}
