use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const USB: &str = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0";
const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
const CARD: &str = "platform/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa";

/// A tree as the kernel shows it: each disk below the bus that it hangs on, a link to it in `block`.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(tree.0.path().join("block")).expect("made");
        tree
    }

    fn disk(&self, bus: &str, name: &str, files: &[(&str, &str)]) {
        let folder = format!("devices/{bus}/block/{name}");
        self.files(&folder, files);
        symlink(self.0.path().join(&folder), self.0.path().join("block").join(name)).expect("linked");
    }

    fn partition(&self, bus: &str, disk: &str, name: &str, number: &str) {
        self.files(&format!("devices/{bus}/block/{disk}/{name}"), &[("dev", number), ("partition", "1")]);
    }

    fn files(&self, folder: &str, files: &[(&str, &str)]) {
        for (file, content) in files {
            let path = self.0.path().join(folder).join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, format!("{content}\n")).expect("written");
        }
    }

    fn facts(&self, mounts: &str, swaps: &str) -> Facts {
        Facts { block: self.0.path().join("block"), mounts: mounts.to_owned(), swaps: swaps.to_owned() }
    }
}

/// A stick, a drive on a cable that does not call itself removable, a card, a disk inside, and much that is none.
fn machine() -> Tree {
    let tree = Tree::new();
    let of = |number, size, removable| [("dev", number), ("size", size), ("removable", removable), ("ro", "0")];
    let stick = [("device/vendor", "SanDisk "), ("device/model", "Ext\u{1b}[2Jreme"), ("device/type", "0")];
    tree.disk(USB, "sdb", &[&of("8:16", "124735488", "1")[..], &stick].concat());
    tree.partition(USB, "sdb", "sdb1", "8:17");
    tree.disk(USB, "sdd", &[&of("8:48", "1953525168", "0")[..], &[("device/model", "Portable")]].concat());
    tree.disk(USB, "sde", &[&of("8:64", "0", "1")[..], &[("device/model", "Card Reader")]].concat());
    let card = [("device/type", "SD"), ("device/name", "SD32G")];
    tree.disk(CARD, "mmcblk0", &[&of("179:0", "62333952", "0")[..], &card].concat());
    tree.partition(CARD, "mmcblk0", "mmcblk0p1", "179:1");
    tree.disk(CARD, "mmcblk1boot0", &[&of("179:8", "8192", "0")[..], &[("device/type", "MMC")]].concat());
    tree.disk(SATA, "sda", &[&of("8:0", "500118192", "0")[..], &[("device/model", "Disk Inside")]].concat());
    tree.partition(SATA, "sda", "sda2", "8:2");
    tree.disk(SATA, "sr0", &[&of("11:0", "2097152", "1")[..], &[("device/type", "5")]].concat());
    tree.disk("virtual", "loop0", &of("7:0", "16384", "0"));
    tree
}

fn refusal(facts: &Facts, name: &str) -> String {
    facts.disk(name).expect("there").refusal(false).map_or("none".to_owned(), |(why, _)| why)
}

#[test]
fn the_disks_that_a_person_would_call_one() {
    let disks = machine().facts("", "").disks();
    let told: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.connection, disk.is_removable)).collect();
    let expected = [("mmcblk0", "SD card", true), ("sda", "SATA", false), ("sdb", "USB", true), ("sdd", "USB", true)];
    assert_eq!(told, expected);
    let stick = disks.iter().find(|disk| disk.name == "sdb").expect("there");
    assert_eq!((stick.number.as_str(), stick.size), ("8:16", 63_864_569_856));
    assert_eq!(stick.described(), "SanDisk Ext[2Jreme, 63.8 GB", "nothing that moves a cursor");
    assert_eq!(stick.refusal(false), None);
}

#[test]
fn a_line_says_what_it_is_and_why_it_is_not_offered() {
    let tree = machine();
    let facts = tree.facts("36 1 179:1 / /media/My\\040card rw - vfat /dev/mmcblk0p1 rw\n", "");
    let line = |name: &str| facts.disk(name).expect("there").line(false);
    let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(line("sdd")), "/dev/sdd Portable 1000.2 GB USB, removable");
    let card = "/dev/mmcblk0 SD32G 31.9 GB SD card, removable, mounted at /media/My card, not offered";
    assert_eq!(words(line("mmcblk0")), card);
    assert!(line("sda").ends_with("SATA, built in, it is built into this machine, not offered"), "{}", line("sda"));
}

#[test]
fn what_is_in_use_is_refused() {
    let tree = machine();
    let mounts = "\
27 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
28 1 0:40 / /media/stick rw shared:2 master:1 - btrfs /dev/sdb1 rw
29 1 0:41 / /srv rw - nfs sdd rw
";
    let facts = tree.facts(mounts, "Filename Type Size Used Priority\n/dev/mmcblk0p1 partition 1 0 -2\n");
    assert_eq!(refusal(&facts, "sda"), "it is mounted at /");
    assert_eq!(refusal(&facts, "sdb"), "it is mounted at /media/stick", "numbers of its own");
    assert_eq!(refusal(&facts, "mmcblk0"), "it is used as swap");
    assert_eq!(refusal(&facts, "sdd"), "none");
    let inside = facts.disk("sda").expect("there").refusal(true).expect("whatever is stated").1;
    assert_eq!(inside, "this machine runs from it: choose another disk");

    // An encrypted disk that is open, and not mounted.
    tree.files("devices/virtual/block/dm-0", &[("dm/name", "luks-home"), ("dev", "252:0")]);
    let holders = tree.0.path().join(format!("devices/{USB}/block/sdb/sdb1/holders"));
    fs::create_dir(&holders).expect("made");
    symlink(tree.0.path().join("devices/virtual/block/dm-0"), holders.join("dm-0")).expect("linked");
    assert_eq!(refusal(&tree.facts("", ""), "sdb"), "it is part of luks-home");
}

#[test]
fn what_nothing_can_be_written_to_is_refused() {
    let tree = machine();
    tree.disk(USB, "sdf", &[("dev", "8:80"), ("size", "99"), ("removable", "1"), ("ro", "1")]);
    let large = ("queue/logical_block_size", "4096");
    tree.disk(USB, "sdg", &[("dev", "8:96"), ("size", "99"), ("removable", "1"), large]);
    let facts = tree.facts("", "");
    assert_eq!(refusal(&facts, "sdf"), "it is read-only");
    assert_eq!(refusal(&facts, "sdg"), "its sectors are not of 512 bytes");
    assert_eq!(refusal(&facts, "sde"), "there is nothing in the drive");
    assert_eq!(refusal(&facts, "sda"), "it is built into this machine");
    assert_eq!(facts.disk("sda").expect("there").refusal(true), None, "it is stated");
    assert_eq!(facts.disk("sdz"), None);
    assert_eq!(facts.disk_of_partition("sdb1").as_deref(), Some("sdb"));
    assert_eq!(facts.disk_of_partition("sdb"), None);
}
