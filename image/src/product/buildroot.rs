//! What of Buildroot's output a system is made of.

use std::fs;
use std::path::{Path, PathBuf};

use super::Board;
use crate::architecture::Architecture;
use crate::disk::esp::Grub;
use crate::disk::modules::Modules;
use crate::disk::raspberry_pi::{BOARD_CONFIGURATION, Firmware, Model};
use crate::disk::{Loader, Parts};
use crate::failure::Failure;
use crate::ollama::has_accelerators;

/// The stub of a unified kernel image (`buildroot-config/package/systemd-stub`).
const STUB: &str = "linuxx64.efi.stub";

/// The parts, all of which must be there.
pub(super) fn parts(board: Board, images: &Path, target: &Path, host: &Path) -> Result<Parts, Failure> {
    let kernel = match board.architecture() {
        Architecture::X86_64 => "bzImage",
        Architecture::Aarch64 => "Image",
    };
    let loader = match board.raspberry_pi() {
        None => Loader::Grub { grub: grub(host)?, stub: there(images.join(STUB), "BR2_PACKAGE_SYSTEMD_STUB")? },
        Some(model) => Loader::RaspberryPi(firmware(model, images)?),
    };
    Ok(Parts {
        architecture: board.architecture(),
        tree: there(target.to_owned(), "the build of a root")?,
        kernel: there(images.join(kernel), "BR2_LINUX_KERNEL")?,
        modules: modules(target)?,
        loader,
        settings: String::new(),
        data: Vec::new(),
        data_mib: 0,
        has_large_root: has_accelerators(target),
    })
}

/// What GRUB is made with: the programs of the host's package, the modules where the target's has built them, because no
/// package installs those.
fn grub(host: &Path) -> Result<Grub, Failure> {
    let kind = Grub::kind(Architecture::X86_64);
    let built = host.parent().unwrap_or(host).join("build");
    let entries = fs::read_dir(&built).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_grub = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("grub2-"));
    let folders = entries.filter(is_grub).map(|folder| folder.join(format!("build-{kind}/grub-core")));
    let modules = folders.chain([host.join("lib/grub").join(kind)]).find(|folder| folder.join("normal.mod").is_file());
    let modules = modules.ok_or_else(|| missing(&built.join("grub2-*"), "BR2_TARGET_GRUB2_X86_64_EFI"))?;
    there(host.join("bin/grub-mkimage"), "BR2_TARGET_GRUB2")?;
    Ok(Grub { programs: host.join("bin"), modules })
}

fn firmware(model: Model, images: &Path) -> Result<Firmware, Failure> {
    let files = images.join("rpi-firmware");
    for name in model.firmware() {
        there(files.join(name), "BR2_PACKAGE_RPI_FIRMWARE")?;
    }
    there(files.join(BOARD_CONFIGURATION), "BR2_PACKAGE_RPI_FIRMWARE_CONFIG_FILE")?;
    Ok(Firmware { model, files, device_trees: images.to_owned() })
}

/// The kernel's modules, if it has any.
fn modules(target: &Path) -> Result<Modules, Failure> {
    let releases = fs::read_dir(target.join("lib/modules")).into_iter().flatten().flatten();
    let release = releases.map(|entry| entry.file_name().to_string_lossy().into_owned()).max();
    Ok(Modules::read(target, &release.unwrap_or_default())?.of_own_kernel())
}

fn there(path: PathBuf, option: &str) -> Result<PathBuf, Failure> {
    if path.exists() { Ok(path) } else { Err(missing(&path, option)) }
}

fn missing(path: &Path, option: &str) -> Failure {
    let what = format!("{} is not there", path.display());
    Failure::new(what, "Buildroot has not built it", format!("build it with {option}, and run this again"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::disk::layout::{Layout, Table};

    /// Folders as Buildroot leaves them, with these files.
    fn output(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("target")).expect("made");
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(&path, "").expect("written");
        }
        folder
    }

    fn parts_of(board: Board, output: &TempDir) -> Result<Parts, Failure> {
        let path = |name: &str| output.path().join(name);
        parts(board, &path("images"), &path("target"), &path("host"))
    }

    const OF_PC: [&str; 4] = [
        "images/bzImage",
        "images/linuxx64.efi.stub",
        "host/bin/grub-mkimage",
        "build/grub2-2.14/build-x86_64-efi/grub-core/normal.mod",
    ];
    const OF_RASPBERRY_PI: [&str; 4] = [
        "images/Image",
        "images/rpi-firmware/config.txt",
        "images/rpi-firmware/start4.elf",
        "images/rpi-firmware/fixup4.dat",
    ];

    #[test]
    fn a_pc_has_the_layout_of_the_quick_image_and_a_raspberry_pi_the_same_partitions_on_an_mbr() {
        let pc = parts_of(Board::Pc, &output(&OF_PC)).expect("complete");
        assert_eq!(pc.layout(), Layout::default());
        let card = parts_of(Board::RaspberryPi4, &output(&OF_RASPBERRY_PI)).expect("complete");
        assert_eq!(card.layout(), Layout { table: Table::Mbr, ..Layout::default() });
        assert!(!pc.has_large_root && !card.has_large_root);
    }

    #[test]
    fn a_root_with_runners_for_graphics_cards_is_a_large_one() {
        let runners = ["target/usr/lib/ollama/llama-server", "target/usr/lib/ollama/cuda_v13/libggml-cuda.so"];
        let has_large_root = |runners: &[&str]| {
            parts_of(Board::Pc, &output(&[&OF_PC[..], runners].concat())).expect("complete").has_large_root
        };
        assert!(!has_large_root(&runners[..1]) && has_large_root(&runners));
    }

    #[test]
    fn what_is_missing_is_named_with_what_builds_it() {
        for (board, all) in [(Board::Pc, &OF_PC[..]), (Board::RaspberryPi4, &OF_RASPBERRY_PI)] {
            for missing in 0..all.len() {
                let mut files = all.to_vec();
                let name = files.remove(missing);
                let failure = parts_of(board, &output(&files)).expect_err(name);
                let Failure::Error { what, advice, .. } = failure else { panic!("{name}: {failure}") };
                assert!(
                    what.contains("is not there") && advice.to_string().contains("BR2_"),
                    "{name}: {what}: {advice}"
                );
            }
        }
    }
}
