//! Manifests, found in folders and read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use spec::{Manifest, Origin, Problems};

/// A larger file is no manifest.
const LARGEST: u64 = 256 * 1024;

/// A manifest with where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) manifest: Manifest,
    /// Its text, as it was read.
    pub(crate) text: String,
    /// Its file, as it is named to people.
    pub(crate) file: String,
    pub(crate) origin: Origin,
}

impl Candidate {
    /// Whether both describe the same service; the file may have another name by now.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.text == other.text && self.origin == other.origin
    }
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Problems(Problems),
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: is larger than {} KiB, which no such file is", .0.display(), LARGEST / 1024)]
    TooLarge(PathBuf),
}

/// A file in which a manifest was looked for, with what was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) candidate: Result<Candidate, Fault>,
}

/// The services that are part of init.
const OWN: [(&str, &str); 2] = [
    ("init/services/logd.toml", include_str!("../services/logd.toml")),
    ("init/services/gateway.toml", include_str!("../services/gateway.toml")),
];

/// The manifests of the services that are part of init.
pub(crate) fn own() -> Vec<Found> {
    let read = |(file, text): &(&str, &str)| Found {
        path: PathBuf::from(file),
        candidate: parse(file, (*text).to_owned(), Origin::System),
    };
    OWN.iter().map(read).collect()
}

/// Reads `<folder>/*.toml` and `<folder>/*/arc.toml`, in the order of their paths.
///
/// # Errors
/// Where the folder itself cannot be read; a file's own fault stands in its place in the list.
pub(crate) fn read_folder(folder: &Path, origin: Origin) -> Result<Vec<Found>, Fault> {
    let entries = folder.read_dir().map_err(|source| Fault::Read { path: folder.to_owned(), source })?;
    let manifest_of = |path: PathBuf| match path.is_dir() {
        true => Some(path.join("arc.toml")).filter(|path| path.is_file()),
        false => Some(path).filter(|path| path.extension().is_some_and(|extension| extension == "toml")),
    };
    let visible = |path: &PathBuf| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    let paths = entries.flatten().map(|entry| entry.path()).filter(visible).filter_map(manifest_of);
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    let read = |path: PathBuf| {
        let candidate = read_text(&path).and_then(|text| parse(&path.to_string_lossy(), text, origin));
        Found { path, candidate }
    };
    Ok(paths.into_iter().map(read).collect())
}

fn parse(file: &str, text: String, origin: Origin) -> Result<Candidate, Fault> {
    let manifest = Manifest::parse(file, &text, origin).map_err(Fault::Problems)?;
    Ok(Candidate { manifest, text, file: file.to_owned(), origin })
}

/// Reads a text that somebody else wrote: a pipe in its place does not hold init up, and its size is bounded.
pub(crate) fn read_text(path: &Path) -> Result<String, Fault> {
    let failed = |source| Fault::Read { path: path.to_owned(), source };
    let file: File = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    // With room from the start: no copies are left behind as the buffer grows.
    let length = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length.min(1 << 20).saturating_add(64));
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Fault::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| failed(io::Error::other("it is not UTF-8 text")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_services_of_init_itself_are_sound() {
        for Found { path, candidate } in own() {
            assert!(candidate.is_ok(), "{}: {:?}", path.display(), candidate.err());
        }
    }

    #[test]
    fn both_forms_are_found_and_others_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = |name: &str| format!("name = {name:?}\nversion = \"1\"\ndescription = \"\"\nexec = [\"x\"]\n");
        for (path, text) in [
            ("b/arc.toml", manifest("b")),
            ("a.toml", manifest("a")),
            ("c.toml", "name = 1".to_owned()),
            (".hidden.toml", manifest("h")),
            ("notes.txt", String::new()),
            ("empty/other.toml", manifest("o")),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        fs::write(folder.path().join("d.toml"), [0xff]).expect("written");
        nix::unistd::mkfifo(&folder.path().join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        let found = read_folder(folder.path(), Origin::User).expect("readable");
        let shown: Vec<String> = found
            .iter()
            .map(|Found { path, candidate }| {
                let path = path.strip_prefix(folder.path()).expect("inside").display().to_string();
                let outcome = match candidate {
                    Ok(candidate) => candidate.manifest.name.to_string(),
                    Err(Fault::Problems(problems)) => format!("{} problems", problems.list().len()),
                    Err(Fault::Read { source, .. }) => source.to_string(),
                    Err(Fault::TooLarge(_)) => "too large".to_owned(),
                };
                format!("{path}: {outcome}")
            })
            .collect();
        let expected = [
            "a.toml: a",
            "b/arc.toml: b",
            "c.toml: 4 problems",
            "d.toml: it is not UTF-8 text",
            "pipe.toml: it is not a file",
        ];
        assert_eq!(shown, expected);
    }
}
