//! The card of a Raspberry Pi. QEMU has none of its firmware, so these tests do what that does: they read `autoboot.txt`,
//! and start what lies on the boot partition of a slot. What they cannot show is that the real one does the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use spec::boot::{BootState, STATE_OFFSET, STATE_PARTITION, Slot};
use tempfile::TempDir;

use crate::guest::{Guest, until};
use crate::machine::{Architecture, Machine, repository, tool};

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_card_grows_and_its_other_slot_is_tried_by_one_restart_and_kept() {
    let image = Image::find_or_make();
    let card = Card::new(&image);
    card.machine.enlarge(1 << 30);
    let guest = card.boot(card.usual());
    for words in ["(slot A, verified)", " · grown to fill the disk", " up · 0 failed"] {
        guest.says(words);
    }
    guest.call_until_answered(&["kv.set", "greeting", "hello"]);
    guest.power_off();
    let (code, said) = card.machine.check_data("-fn");
    assert_eq!(code, Some(0), "{said}");

    eprintln!("slot B has been written, and is to be tried");
    card.machine.overwrite("boot-b", &image.part("work/boot-b.img"));
    card.machine.overwrite("root-b", &image.part("work/root.img"));
    card.machine.poke(STATE_PARTITION, STATE_OFFSET, &BootState::only(Slot::A).trying(Slot::B).to_sector());
    let mut guest = card.boot(card.usual());
    guest.says("it is the turn of slot B: the machine restarts");
    guest.ends();
    drop(guest);

    assert_eq!(card.usual(), Slot::A, "until the other one has shown that it works");
    let guest = card.boot(Slot::B);
    guest.says("slot B has yet to come up well; 2 more tries are left");
    guest.says("(slot B, verified)");
    until("the slot is the usual one", || Some(()).filter(|()| card.usual() == Slot::B));
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    guest.power_off();

    let guest = card.boot(card.usual());
    guest.says("(slot B, verified)");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    let services = guest.call_until_answered(&["system.services"]);
    for service in services.as_array().expect("a list") {
        assert_eq!(service["restarts"], json!(0), "{service}");
    }
    let console = guest.console();
    assert!(!console.contains("grown") && !console.contains("has yet to come up well"), "{console}");
    guest.power_off();
}

/// The variable that names the output folder of a real product image for a Raspberry Pi.
const OTHER_CARD: &str = "LLMBASEDOS_BOOT_CARD";

/// A product image for a Raspberry Pi: the one that [`OTHER_CARD`] names, or one that is made of the parts of the quick image
/// for its kind of machine, which stand where Buildroot puts its own. The firmware of that is nobody's: no machine of QEMU's
/// runs it.
struct Image {
    folder: PathBuf,
    _made: Option<TempDir>,
}

impl Image {
    fn find_or_make() -> Self {
        match std::env::var_os(OTHER_CARD) {
            Some(folder) => Self { folder: repository().join(folder), _made: None },
            None => Self::make(),
        }
    }

    fn make() -> Self {
        let made = tempfile::tempdir().expect("a folder");
        let image = Self { folder: made.path().to_owned(), _made: Some(made) };
        let quick = repository().join("build/aarch64");
        let (images, target, host) = (image.part("images"), image.part("target"), image.part("host"));
        fs::create_dir_all(images.join("rpi-firmware")).expect("made");
        fs::create_dir_all(&host).expect("made");
        for name in ["start4.elf", "fixup4.dat"] {
            fs::write(images.join("rpi-firmware").join(name), name).expect("written");
        }
        let configuration = repository().join("buildroot-config/board/raspberrypi/rpi4/config.txt");
        fs::copy(configuration, images.join("rpi-firmware/config.txt")).expect("copied");
        fs::copy(quick.join("vmlinux"), images.join("Image")).expect("an image was built");
        fs::copy(quick.join("bcm2837-rpi-3-b.dtb"), images.join("bcm2711-rpi-4-b.dtb")).expect("an image was built");
        tool("cp", &["-a", &quick.join("work/tree").display().to_string(), &target.display().to_string()]);
        modules(&quick, &target.join("usr/lib/modules/1"));
        std::os::unix::fs::symlink("usr/lib", target.join("lib")).expect("made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_image"));
        command.args(["product", "--board", "rpi4", "--images"]).arg(images).arg("--target").arg(target);
        command.arg("--host").arg(host).arg("--output").arg(image.part(""));
        assert!(command.status().expect("it runs").success(), "it is made");
        image
    }

    fn part(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Copies the modules of an image to where a kernel's are before some of them get into one, by their own names.
fn modules(image: &Path, target: &Path) {
    fs::create_dir_all(target).expect("made");
    for folder in [image.join("work/modules"), image.join("work/root/usr/lib/llmbasedos/modules")] {
        for entry in fs::read_dir(folder).expect("an image was built").flatten() {
            let name = entry.file_name().into_string().expect("text");
            let (_, name) = name.split_once('-').expect("a place and a name");
            fs::copy(entry.path(), target.join(name)).expect("copied");
        }
    }
}

/// A card in a machine that does what firmware does.
struct Card {
    machine: Machine,
    folder: TempDir,
}

impl Card {
    fn new(image: &Image) -> Self {
        let machine = Machine::with_disk(Architecture::Aarch64, &image.part("disk.img"));
        Self { machine, folder: tempfile::tempdir().expect("a folder") }
    }

    /// A file on a FAT partition of the card.
    fn file(&self, partition: &str, name: &str) -> PathBuf {
        let at = format!("{}@@{}", self.machine.disk().display(), self.machine.partition(partition).0);
        let file = self.folder.path().join(name);
        tool("mcopy", &["-o", "-n", "-i", &at, &format!("::/{name}"), &file.display().to_string()]);
        file
    }

    /// The slot whose partition is what `[all]` of `autoboot.txt` names.
    fn usual(&self) -> Slot {
        let text = fs::read_to_string(self.file("config", "autoboot.txt")).expect("copied");
        let (all, _) = text.split_once("[tryboot]").expect("two sections");
        let number = all.lines().find_map(|line| line.strip_prefix("boot_partition=")).expect("a partition");
        if number == "2" { Slot::A } else { Slot::B }
    }

    /// Starts what lies on the boot partition of a slot.
    fn boot(&self, slot: Slot) -> Guest<'_> {
        let file = |name: &str| self.file(slot.boot_partition(), name);
        let line = fs::read_to_string(file("cmdline.txt")).expect("copied");
        // Of two lines of one driver Linux takes the first, and that of a Pi 5 has a number that is not in QEMU's machine.
        let line: Vec<&str> =
            line.split_ascii_whitespace().filter(|word| !word.starts_with("console=ttyAMA")).collect();
        let config = fs::read_to_string(file("config.txt")).expect("copied");
        let value = |key: &str| config.lines().find_map(|line| line.strip_prefix(key)).expect(key).trim();
        let kernel = file(value("kernel="));
        let initramfs = file(value("initramfs ").split(' ').next().expect("a name"));
        let drive = format!("format=raw,file={}", self.machine.disk().display());
        self.machine.boot_kernel(&kernel, &initramfs, &line.join(" "), &drive, &[])
    }
}
