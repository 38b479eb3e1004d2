//! The same inputs give the same bytes.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::machine::{built_quick, repository};

#[test]
#[ignore = "builds the image: scripts/test boot"]
fn an_image_that_is_built_again_is_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    // Under another umask than that of most.
    let mut again = Command::new("sh");
    again.args(["-c", "umask 077; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_image"), "build", "--output"]);
    again.arg(folder.path()).current_dir(repository());
    assert!(again.status().expect("it runs").success(), "it is built");
    for name in ["disk.img", "vmlinux", "initramfs.cpio.zst", "command-line", "work/boot-b.img", "work/root.img"] {
        assert_eq!(digest(&folder.path().join(name)), digest(&built_quick(name)), "{name}");
    }
}

fn digest(path: &Path) -> Vec<u8> {
    let mut file = std::fs::File::open(path).expect("built");
    let (mut digest, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).expect("read") {
            0 => return digest.finalize().to_vec(),
            count => digest.update(&piece[..count]),
        }
    }
}
