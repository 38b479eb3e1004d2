//! A card that held another machine before, written by `image flash` as its owner does, with settings; and its first boot as
//! it comes out of the reader, by firmware and boot loader.

use std::fs::{self, File};
use std::process::Command;

use serde_json::json;

use crate::machine::{Machine, TOKEN, built, tool};

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_card_that_was_flashed_boots_as_its_owner_wants_it() {
    let machine = Machine::new();
    machine.put(b"of the machine before", "/old", "644");
    machine.enlarge(1 << 30);
    let (_, small) = machine.partition("data");
    let folder = tempfile::tempdir().expect("a folder");
    let packed = folder.path().join("llmbasedos-x86_64.img.zst");
    let path = |path: &std::path::Path| path.display().to_string();
    tool("zstd", &["-q", "-1", "-T0", &path(&built("disk.img")), "-o", &path(&packed)]);
    let settings = folder.path().join("mine.toml");
    fs::write(&settings, format!("hostname = \"attic\"\n[gateway]\ntokens = [\"{TOKEN}\"]\n")).expect("written");

    let mut flash = Command::new(env!("CARGO_BIN_EXE_image"));
    flash.arg("flash").arg(&packed).arg(machine.disk()).args(["--yes", "--config"]).arg(&settings);
    assert!(flash.status().expect("it runs").success());
    assert_eq!(machine.partition("data").1, small, "the table of the image");
    let mut end = [1; 512];
    let disk = File::open(machine.disk()).expect("there");
    let size = disk.metadata().expect("there").len();
    std::os::unix::fs::FileExt::read_exact_at(&disk, &mut end, size - 512).expect("read");
    assert_eq!(end, [0; 512], "no table of the machine before at the end");

    let guest = machine.boot_by_firmware();
    let status = guest.call_until_answered(&["system.status"]);
    assert_eq!((&status["ready"], &status["host_name"]), (&json!(true), &json!("attic")), "{status}");
    assert!(guest.console().contains(" · grown to fill the disk"));
    guest.power_off();
    assert_eq!(machine.partition("data").1, small + (1 << 30));
    assert!(machine.debugfs("cat /old").is_empty(), "what the machine before had is gone");
    let (code, said) = machine.check_data("-fn");
    assert_eq!(code, Some(0), "{said}");
}
