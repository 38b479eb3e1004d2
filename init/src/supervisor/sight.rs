//! What a program needs and its cage does not show: said with the key of the manifest that would.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use spec::{Manifest, Mount};

use crate::layout::Layout;
use crate::plan::Plan;

/// Why a program cannot be started as its manifest has it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unseen {
    #[error(
        "{} is a script, and nothing in a cage looks up what runs it: name that first in `exec`: exec = [{exec}]",
        program.display()
    )]
    Script { program: PathBuf, exec: String },
    #[error(
        "{}, which its `exec` names, is not in its cage: add {{ path = \"{}\" }} to `mounts` of [cage]",
        file.display(),
        folder.display()
    )]
    Argument { file: PathBuf, folder: PathBuf },
}

/// The longest first line that Linux reads of a script (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// Whether the program can be executed and sees the files that it is called with. `environment` is where an interpreter
/// is looked for.
///
/// # Errors
/// The first thing that is missing.
pub(super) fn check(plan: &Plan, environment: &BTreeMap<String, String>) -> Result<(), Unseen> {
    if let Some(interpreter) = interpreter(&plan.program) {
        let search = environment.get("PATH").map_or("", String::as_str);
        let rest = plan.arguments.iter().skip(1).cloned();
        let words = found(&interpreter, search).into_iter().chain([plan.program.display().to_string()]).chain(rest);
        let exec: Vec<String> = words.map(|word| format!("{word:?}")).collect();
        return Err(Unseen::Script { program: plan.program.clone(), exec: exec.join(", ") });
    }
    let files = plan.arguments.iter().skip(1).map(Path::new).filter(|path| path.is_absolute() && path.is_file());
    match files.into_iter().find(|path| !plan.cage.shows(path)) {
        Some(file) => {
            let folder = file.parent().unwrap_or(file).to_owned();
            Err(Unseen::Argument { file: file.to_owned(), folder })
        }
        None => Ok(()),
    }
}

/// The words after `#!` where the file is a script.
fn interpreter(program: &Path) -> Option<Vec<String>> {
    let mut head = Vec::new();
    File::open(program).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut head)).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    // Linux passes on what follows the interpreter as one argument.
    let words = line.trim().splitn(2, [' ', '\t']).map(|word| word.trim().to_owned());
    Some(words.filter(|word| !word.is_empty()).collect())
}

/// The interpreter itself, for `/usr/bin/env` what that would find.
fn found(interpreter: &[String], search: &str) -> Vec<String> {
    match interpreter {
        [env, name] if env.ends_with("/env") && !name.starts_with('-') => {
            let found = search.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
            vec![found.map_or_else(|| name.clone(), |path| path.display().to_string())]
        }
        other => other.to_vec(),
    }
}

/// The files and folders that the manifest shows to a service and that are not there, each in a line for the log. Those
/// of the data folder are made.
pub(super) fn missing_mounts(manifest: &Manifest, layout: &Layout) -> Vec<String> {
    let is_missing = |mount: &&Mount| {
        let path = layout.resolve(&mount.path);
        !path.starts_with(&layout.data) && !path.exists()
    };
    let missing = manifest.cage.mounts.iter().filter(is_missing);
    missing.map(|mount| format!("{}: {} of its `mounts` is not there", manifest.name, mount.path)).collect()
}

/// What a program that failed with `words`, and was `refused` these system calls, may lack.
pub(super) fn hint<'a>(plan: &Plan, mut refused: impl Iterator<Item = &'a str>, words: &str) -> Option<String> {
    if let Some((call, word)) = refused.find_map(|call| Some((call, plan.cage.profile.word_for(call)?))) {
        return Some(format!("its cage refused {call}: allow = [\"{word}\"] in [cage] permits it"));
    }
    if words.contains("failed to map segment from shared object") {
        return Some("libraries are loaded from `mounts` of [cage] with mode = \"rx\" alone".to_owned());
    }
    if words.contains("error while loading shared libraries") {
        return Some("show it their folder: `mounts` of [cage], mode = \"rx\"".to_owned());
    }
    // Where a runtime lies in a folder of its own, its libraries lie beside its programs.
    let program = plan.program.canonicalize().ok()?;
    let folder = program.parent().filter(|folder| folder.ends_with("bin"))?.parent()?;
    let has_own_libraries = !["/", "/usr"].map(Path::new).contains(&folder) && folder.join("lib").is_dir();
    let is_seen = plan.cage.shows(&folder.join("lib"));
    (has_own_libraries && !is_seen).then(|| {
        let folder = folder.display();
        format!("it does not see what lies beside its program: {{ path = \"{folder}\", mode = \"rx\" }} in `mounts` of [cage] shows it")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_script_is_run_by_stands_in_its_first_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        let table = [
            ("#!/bin/sh\nexit", Some(vec!["/bin/sh"])),
            ("#! /bin/sh -e \n", Some(vec!["/bin/sh", "-e"])),
            ("#!/usr/bin/env sh", Some(vec!["sh"])),
            ("\x7fELF", None),
            ("", None),
        ];
        for (text, expected) in table {
            fs::write(&script, text).expect("written");
            let found = interpreter(&script).map(|words| found(&words, ""));
            assert_eq!(found, expected.map(|words| words.into_iter().map(str::to_owned).collect()), "{text}");
        }
        fs::write(folder.path().join("sh"), "").expect("written");
        let words = ["/usr/bin/env".to_owned(), "sh".to_owned()];
        let search = format!("/nowhere:{}", folder.path().display());
        assert_eq!(found(&words, &search), [folder.path().join("sh").display().to_string()]);
    }
}
