//! The partition that keeps everything: mended, mounted, grown. Where that fails the machine runs with what is in memory,
//! says so, and leaves the partition as it is: nothing here ever makes a new file system over an old one.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::statvfs::statvfs;

use super::disk::Partition;
use super::screen::decimal_size;
use super::{attempt, grow, say};
use crate::sys::{self, Access, Mount};

/// Where the data lie.
pub(super) const DATA: &str = "/data";

/// Where what is written to [`DATA`] goes, and what had to be done for that.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Data {
    /// Why it goes to memory, where it is lost when the machine ends. `None`: to the partition.
    pub(super) lost: Option<String>,
    pub(super) has_grown: bool,
    /// Whether only a full check could mend it.
    pub(super) was_mended: bool,
    /// Whether there are no quotas on it.
    pub(super) is_unbounded: bool,
}

impl Data {
    /// Prepares them; a partition that is not there is one that cannot be used.
    pub(super) fn mount(partition: Option<&Partition>) -> Self {
        let mut data = Self::default();
        match partition.ok_or_else(|| "the disk has no partition of that name".to_owned()) {
            Ok(partition) => data.try_to_mount(partition).unwrap_or_else(|why| data.lose(why)),
            Err(why) => data.lose(why),
        }
        data
    }

    fn try_to_mount(&mut self, partition: &Partition) -> Result<(), String> {
        match grow::grow_partition(partition) {
            Ok(has_grown) => self.has_grown = has_grown,
            Err(error) => say(&format!("data: the partition stays as large as it is: {error}")),
        }
        let device = partition.device.display().to_string();
        self.was_mended = check(&device)?;
        // What is mounted with errors=remount-ro cannot make them worse.
        let mount = |options| {
            let mount = Mount { source: &device, target: DATA, kind: "ext4", access: Access::Programs, options };
            mount.mount()
        };
        if let Err(error) = mount("errors=remount-ro,prjquota") {
            mount("errors=remount-ro").map_err(|error| error.to_string())?;
            say(&format!("data: mounted without quotas, which the partition was not made with: {error}"));
            self.is_unbounded = true;
        }
        match grow::grow_file_system(&partition.device, Path::new(DATA)) {
            Ok(has_grown) => self.has_grown |= has_grown,
            Err(error) => say(&format!("data: the file system stays as large as it is: {error}")),
        }
        Ok(())
    }

    /// Goes on with what is in memory.
    pub(super) fn lose(&mut self, why: String) {
        say(&format!("data: cannot be used ({why}): running without them; nothing is formatted"));
        // What is mounted is left clean; mostly nothing is.
        let _ = sys::unmount(DATA);
        let (kind, access) = ("tmpfs", Access::Programs);
        let mount = Mount { source: "data", target: DATA, kind, access, options: "mode=0700,size=25%" };
        attempt("make room for data in memory", mount.mount());
        self.lost = Some(why);
    }

    /// In words, for the screen.
    pub(super) fn describe(&self) -> String {
        if let Some(why) = &self.lost {
            return format!("cannot be used ({why}): running without them, nothing is formatted");
        }
        let size = statvfs(DATA).map_or_else(
            |error| error.to_string(),
            |data| {
                let bytes = |blocks: u64| decimal_size(blocks.saturating_mul(data.fragment_size()));
                format!("{} free of {}", bytes(data.blocks_available()), bytes(data.blocks()))
            },
        );
        let grown = if self.has_grown { " · grown to fill the disk" } else { "" };
        let mended = if self.was_mended { " · mended" } else { "" };
        let unbounded = if self.is_unbounded { " · without quotas" } else { "" };
        format!("{size}{grown}{mended}{unbounded}")
    }

    /// Leaves them clean.
    pub(super) fn unmount(&self) {
        if self.lost.is_none() {
            attempt("unmount the data", sys::unmount(DATA));
        }
    }
}

/// Mends what a power cut left (e2fsck(8)): first what can be mended without a doubt, and where that is not enough,
/// all of it, with the first of the other copies of the superblock. Answers whether it took that.
fn check(device: &str) -> Result<bool, String> {
    /// `e2fsck` ended with nothing left to mend: 0, 1 (mended), 2 (mended, wants a restart if the root was mounted).
    const WELL: [i32; 3] = [0, 1, 2];
    for how in ["-p", "-fy"] {
        let run = Command::new("/usr/sbin/e2fsck").args([how, device]).stdin(Stdio::null()).output();
        let output = run.map_err(|error| format!("e2fsck: {error}"))?;
        if output.status.code().is_some_and(|code| WELL.contains(&code)) {
            return Ok(how == "-fy");
        }
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).lines().for_each(sys::write_kernel_log);
        say(&format!("data: e2fsck {how}: {}", output.status));
    }
    Err("e2fsck could not mend them".to_owned())
}
