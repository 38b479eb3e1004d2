//! Ollama as its makers release it: a folder or an archive with `bin/ollama`, and in `lib/ollama` what it runs models with.
//! In there each folder holds the runners of one kind of graphics card; the files beside them are for processors.
//!
//! On the root it lies as in the release, below `/usr`, where the hash tree of the root covers it. Its service is described
//! in `image/services/ollama.toml`.

mod gguf;
mod starter;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::architecture::Architecture;
use crate::cache::make_folder;
use crate::failure::Failure;
use crate::process;
use crate::signals::Signals;

pub(crate) use starter::Starter;

/// Its program, and what that starts for each model.
const PROGRAM: &str = "bin/ollama";
const RUNNER: &str = "lib/ollama/llama-server";
/// The folder with its runners.
const RUNNERS: &str = "lib/ollama";
/// Folders in there that are for graphics cards and the like, as they are called in an archive. They are gigabytes.
const ACCELERATORS: [&str; 5] = ["cuda_*", "rocm*", "vulkan*", "mlx*", "include"];
/// Where to get it.
const ADVICE: &str =
    "take ollama-linux-amd64.tar.zst or ollama-linux-arm64.tar.zst of https://github.com/ollama/ollama/releases";

/// A release that was looked at.
#[derive(Debug)]
pub(crate) struct Ollama {
    folder: PathBuf,
    /// Whether its runners for graphics cards are taken as well.
    with_accelerators: bool,
}

impl Ollama {
    /// Looks at what is given, and unpacks an archive into `work`. Everything must be there that a machine of this kind
    /// runs it with.
    pub(crate) fn open(
        given: &Path,
        architecture: Architecture,
        with_accelerators: bool,
        work: &Path,
        signals: &Signals,
    ) -> Result<Self, Failure> {
        let data = fs::metadata(given).map_err(|error| Failure::io("find", given, &error))?;
        let folder = match data.is_dir() {
            true => given.to_owned(),
            false => unpack(given, with_accelerators, &work.join("ollama"), signals)?,
        };
        let wrong = |why: String| Failure::new(format!("{} is no Ollama", given.display()), why, ADVICE);
        for program in [PROGRAM, RUNNER] {
            check(&folder.join(program), architecture).map_err(|why| wrong(format!("{program} {why}")))?;
        }
        Ok(Self { folder, with_accelerators })
    }

    /// Where its files lie: as given, or unpacked.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of its programs and libraries for processors.
    pub(crate) fn programs(&self) -> Result<Vec<PathBuf>, Failure> {
        let runners = entries(&self.folder.join(RUNNERS))?;
        let runners = runners.into_iter().filter(|path| path.is_file() && !path.is_symlink());
        Ok(runners.chain([self.folder.join(PROGRAM)]).collect())
    }

    /// Puts it into the tree of a root.
    pub(crate) fn install(&self, tree: &Path) -> Result<(), Failure> {
        let place = |path: &str| tree.join(path.trim_start_matches('/'));
        make_folder(&place("usr/bin"))?;
        copy(&self.folder.join(PROGRAM), &place("usr/bin/ollama"))?;
        self.copy_folder(&self.folder.join(RUNNERS), &place("usr/lib/ollama"))
    }

    fn copy_folder(&self, source: &Path, target: &Path) -> Result<(), Failure> {
        make_folder(target)?;
        for path in entries(source)? {
            let target = target.join(path.file_name().unwrap_or_default());
            if path.is_symlink() {
                link(&path, &target, source.parent() == Some(&self.folder.join(RUNNERS)))?;
            } else if path.is_file() {
                copy(&path, &target)?;
            } else if self.with_accelerators {
                self.copy_folder(&path, &target)?;
            }
        }
        Ok(())
    }
}

/// Whether the tree of a root has runners for graphics cards: it is larger than others then.
pub(crate) fn has_accelerators(tree: &Path) -> bool {
    let entries = fs::read_dir(tree.join("usr").join(RUNNERS)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.is_dir())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::io("read", folder, &error))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn copy(source: &Path, target: &Path) -> Result<(), Failure> {
    fs::copy(source, target).map(drop).map_err(|error| Failure::io("copy", source, &error))
}

/// Copies a link between files of one folder, as those between the names of a library are; or, from one folder with
/// runners, into another, where two have the same library. No other gets onto the root of a quick image.
fn link(source: &Path, target: &Path, is_below: bool) -> Result<(), Failure> {
    let leads_to = fs::read_link(source).map_err(|error| Failure::io("read", source, &error))?;
    let parts: Vec<Component<'_>> = leads_to.components().collect();
    match parts.as_slice() {
        [Component::Normal(_)] => {}
        [Component::ParentDir, Component::Normal(_), Component::Normal(_)] if is_below => {}
        _ => {
            let what = format!("{} leads to {}", source.display(), leads_to.display());
            return Err(Failure::new(what, "in a release links lead to other files of its runners", ADVICE));
        }
    }
    let _ = fs::remove_file(target);
    symlink(&leads_to, target).map_err(|error| Failure::io("make the link", target, &error))
}

/// Unpacks an archive, but for what is not wanted of it.
fn unpack(archive: &Path, with_accelerators: bool, folder: &Path, signals: &Signals) -> Result<PathBuf, Failure> {
    make_folder(folder)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--no-same-permissions", "--file"]).arg(archive);
    tar.arg("--directory").arg(folder);
    if !with_accelerators {
        tar.args(ACCELERATORS.map(|name| format!("--exclude={RUNNERS}/{name}")));
    }
    let what = format!("cannot unpack {}", archive.display());
    process::ask(&mut tar, signals)?.map_err(|why| Failure::new(what, why, ADVICE))?;
    Ok(folder.to_owned())
}

/// Whether a file is a program for such a machine (elf(5)); says what it is in its place.
fn check(file: &Path, architecture: Architecture) -> Result<(), String> {
    let mut head = [0; 20];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut head));
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        std::io::ErrorKind::UnexpectedEof => "is no program".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    // `e_ident` with 64 bits and the low byte first, `e_machine`.
    let [0x7F, b'E', b'L', b'F', 2, 1, .., low, high] = head else {
        return Err("is no program for Linux on such machines".to_owned());
    };
    let machine = u16::from_le_bytes([low, high]);
    match [Architecture::X86_64, Architecture::Aarch64].into_iter().find(|kind| number(*kind) == machine) {
        Some(kind) if kind == architecture => Ok(()),
        Some(kind) => Err(format!("is for {kind}, and the image for {architecture}")),
        None => Err(format!("is for another machine than {architecture}")),
    }
}

/// `EM_X86_64`, `EM_AARCH64`.
fn number(architecture: Architecture) -> u16 {
    match architecture {
        Architecture::X86_64 => 62,
        Architecture::Aarch64 => 183,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What begins as a program for such a machine does.
    fn program(architecture: Architecture) -> Vec<u8> {
        let mut head = b"\x7fELF\x02\x01".to_vec();
        head.resize(18, 0);
        head.extend(number(architecture).to_le_bytes());
        head
    }

    /// A folder as a release is one, for a PC.
    fn release() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        for below in ["bin", "lib/ollama/cuda_v12"] {
            fs::create_dir_all(at(below)).expect("made");
        }
        for path in [PROGRAM, RUNNER, "lib/ollama/libggml-cpu-x64.so", "lib/ollama/cuda_v12/libggml-cuda.so"] {
            fs::write(at(path), program(Architecture::X86_64)).expect("written");
        }
        fs::set_permissions(at(PROGRAM), fs::Permissions::from_mode(0o755)).expect("set");
        fs::write(at("lib/ollama/libllama.so.0.1"), "").expect("written");
        symlink("libllama.so.0.1", at("lib/ollama/libllama.so")).expect("made");
        // As its makers put what two folders have into one (`scripts/deduplicate_cuda_libs.sh` of Ollama).
        fs::create_dir(at("lib/ollama/mlx_cuda_v12")).expect("made");
        symlink("../cuda_v12/libggml-cuda.so", at("lib/ollama/mlx_cuda_v12/libggml-cuda.so")).expect("made");
        folder
    }

    fn open(given: &Path, architecture: Architecture, with_accelerators: bool) -> Result<Ollama, String> {
        let (signals, work) = (Signals::watch().expect("signals"), tempfile::tempdir().expect("a folder"));
        // What is unpacked there is looked at by the test that is about that alone.
        let opened = Ollama::open(given, architecture, with_accelerators, &work.keep(), &signals);
        opened.map_err(|failure| failure.to_string())
    }

    #[test]
    fn it_lies_on_the_root_as_in_the_release_without_what_is_for_graphics_cards() {
        let given = release();
        for (with_accelerators, has_them) in [(false, false), (true, true)] {
            let tree = tempfile::tempdir().expect("a folder");
            let ollama = open(given.path(), Architecture::X86_64, with_accelerators).expect("sound");
            ollama.install(tree.path()).expect("copied");
            let at = |path: &str| tree.path().join(path);
            let mode = fs::metadata(at("usr/bin/ollama")).expect("there").permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "it can be run");
            assert!(at("usr/lib/ollama/llama-server").is_file());
            assert_eq!(fs::read_link(at("usr/lib/ollama/libllama.so")).expect("a link"), Path::new("libllama.so.0.1"));
            for folder in ["cuda_v12", "mlx_cuda_v12"] {
                assert_eq!(at("usr/lib/ollama").join(folder).join("libggml-cuda.so").exists(), has_them, "{folder}");
            }
            assert_eq!(has_accelerators(tree.path()), has_them);
        }
    }

    #[test]
    fn an_archive_is_unpacked_without_what_is_not_wanted() {
        let given = release();
        let archive = given.path().join("ollama-linux-amd64.tar.zst");
        let mut tar = Command::new("tar");
        let made = tar.arg("-C").arg(given.path()).args(["--zstd", "-cf"]).arg(&archive).args(["./bin", "./lib"]);
        assert!(made.status().expect("tar runs").success());
        let ollama = open(&archive, Architecture::X86_64, false).expect("sound");
        assert!(ollama.folder.join(RUNNER).is_file() && !ollama.folder.join("lib/ollama/cuda_v12").exists());
        let ollama = open(&archive, Architecture::X86_64, true).expect("sound");
        assert!(ollama.folder.join("lib/ollama/cuda_v12/libggml-cuda.so").is_file());
    }

    #[test]
    fn what_is_no_ollama_or_one_for_another_machine_is_told_by_its_file() {
        let given = release();
        let why = |architecture| open(given.path(), architecture, false).expect_err("wrong");
        let said = why(Architecture::Aarch64);
        assert!(said.contains("bin/ollama is for x86_64, and the image for aarch64"), "{said}");
        fs::write(given.path().join(RUNNER), "#!/bin/sh, and some more words").expect("written");
        let said = why(Architecture::X86_64);
        assert!(said.contains("lib/ollama/llama-server is no program"), "{said}");
        fs::remove_file(given.path().join(RUNNER)).expect("there");
        let said = why(Architecture::X86_64);
        assert!(said.contains("lib/ollama/llama-server is not there"), "{said}");
        assert!(open(Path::new("/nowhere"), Architecture::X86_64, false).expect_err("nothing").contains("/nowhere"));
        fs::write(given.path().join("x.tar.zst"), "rubbish").expect("written");
        let said = open(&given.path().join("x.tar.zst"), Architecture::X86_64, false).expect_err("rubbish");
        assert!(said.contains("cannot unpack"), "{said}");
    }

    #[test]
    fn no_link_leads_out_of_the_folder() {
        for (link, leads_to) in [
            ("libevil.so", "../../../etc/passwd"),
            ("libevil.so", "../bin/ollama"),
            ("cuda_v12/libevil.so", "../../bin/ollama"),
            ("cuda_v12/libevil.so", "/etc/passwd"),
        ] {
            let given = release();
            symlink(leads_to, given.path().join("lib/ollama").join(link)).expect("made");
            let tree = tempfile::tempdir().expect("a folder");
            let ollama = open(given.path(), Architecture::X86_64, true).expect("its programs are sound");
            let said = ollama.install(tree.path()).expect_err("it leads out").to_string();
            assert!(said.contains(&format!("libevil.so leads to {leads_to}")), "{said}");
        }
    }
}
