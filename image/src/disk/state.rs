//! The partition with the state sector and its backup (`spec::boot::BootState`): a FAT file system, because the boot loader
//! finds them as files, laid out so that they lie where PID 1 finds them without one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use spec::InvalidValue;
use spec::boot::{BACKUP_OFFSET, BootState, SECTOR, STATE_OFFSET, STATE_PARTITION};

use super::Tools;
use super::tools::set_size;
use crate::failure::Failure;

/// Clusters of a sector, and before them 16 sectors: three for the boot sector, six for each table and one for the root
/// folder (`-r16`), so that the first cluster lies at [`STATE_OFFSET`].
const FORM: [&str; 7] = ["-F12", "-s1", "-r16", "-R3", "-a", "-n", "STATE"];

/// Makes the partition, with both sectors saying the same.
pub(super) fn make(tools: &Tools<'_>, state: BootState) -> Result<PathBuf, Failure> {
    let (sector, between) = (tools.work.join("state-sector"), tools.work.join("state-between"));
    fs::write(&sector, state.to_sector()).map_err(|error| Failure::io("write", &sector, &error))?;
    // The clusters of an empty file system are given away in order.
    set_size(&between, BACKUP_OFFSET - STATE_OFFSET - SECTOR as u64)?;
    let files = [(&*sector, "state"), (&between, "between"), (&sector, "backup")];
    let image = tools.fat(STATE_PARTITION, &FORM, &files)?;
    for offset in [STATE_OFFSET, BACKUP_OFFSET] {
        let mut bytes = [0; SECTOR];
        let read = File::open(&image).and_then(|file| file.read_exact_at(&mut bytes, offset));
        read.map_err(|error| Failure::io("read", &image, &error))?;
        BootState::parse(&bytes).map_err(|InvalidValue(why)| {
            Failure::new(format!("the state sector does not lie at byte {offset} of its partition"), why, "report this")
        })?;
    }
    Ok(image)
}
