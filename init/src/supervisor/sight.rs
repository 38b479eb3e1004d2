//! What a program needs and its cage does not show: said with the key of the manifest that would.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use spec::{Manifest, Mount, paths};

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
    #[error("{}, one of its `mounts`, leads to {}, which is the system's own: name another folder", path, real.display())]
    Mount { path: String, real: PathBuf },
    #[error("{}: its program lies where it may write: put it elsewhere, for nothing that an Arc has written is run", program.display())]
    Written { program: PathBuf },
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
    let real = plan.program.canonicalize().unwrap_or_else(|_| plan.program.clone());
    if plan.cage.writes(&real) || plan.cage.writes(&plan.program) {
        return Err(Unseen::Written { program: plan.program.clone() });
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

/// Whether what the mounts of an owner's manifest really are is for anybody: a link, or another way to write a path, could
/// lead to what `spec` refuses by its name.
///
/// # Errors
/// The first that is the system's own.
pub(super) fn check_mounts(manifest: &Manifest, layout: &Layout) -> Result<(), Unseen> {
    let own = paths::SYSTEMS_OWN.iter().map(|name| layout.data.join(name)).chain([layout.run.clone()]);
    let machines = ["/run", "/dev", "/proc", "/sys"].map(PathBuf::from);
    let forbidden: Vec<PathBuf> = own.chain(machines).map(|path| path.canonicalize().unwrap_or(path)).collect();
    for mount in &manifest.cage.mounts {
        // What is not there is not shown.
        let Ok(real) = layout.resolve(&mount.path).canonicalize() else { continue };
        if forbidden.iter().any(|own| real.starts_with(own) || own.starts_with(&real)) {
            return Err(Unseen::Mount { path: mount.path.clone(), real });
        }
    }
    Ok(())
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
    fn no_way_to_write_a_path_leads_to_what_is_the_systems_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().canonicalize().expect("there").join("data");
        let layout = Layout { data: data.clone(), run: data.join("run") };
        for name in ["secrets", "run/mcp", "notes"] {
            fs::create_dir_all(data.join(name)).expect("made");
        }
        for name in ["wifi.toml", "machine-id", "clock", "random-seed"] {
            fs::write(data.join(name), "").expect("written");
            std::os::unix::fs::symlink(data.join(name), data.join("notes").join(name)).expect("linked");
        }
        std::os::unix::fs::symlink(data.join("secrets"), folder.path().join("link")).expect("linked");
        let check = |path: &Path| {
            let text = format!(
                "name = \"a\"\nversion = \"1\"\ndescription = \"\"\nexec = [\"x\"]\n[cage]\nmounts = [{{ path = {path:?} }}]"
            );
            let manifest = Manifest::parse("arc.toml", &text, spec::Origin::User).expect("sound");
            check_mounts(&manifest, &layout)
        };
        let refused =
            [data.join("secrets"), data.join("run/mcp"), folder.path().join("link"), data.clone(), "/".into()];
        let linked = ["wifi.toml", "machine-id", "clock", "random-seed"].map(|name| data.join("notes").join(name));
        for path in refused.iter().chain(&linked).filter(|path| path.as_path() != Path::new("/")) {
            let error = check(path).expect_err("the system's own").to_string();
            assert!(error.contains("which is the system's own"), "{error}");
        }
        assert!(check(Path::new("/data/notes")).is_ok() && check(Path::new("/usr/share/zoneinfo")).is_ok());
    }

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
