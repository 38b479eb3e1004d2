//! The file systems on the disk, each made as a file of the size of its partition.

use std::path::{Path, PathBuf};

use spec::boot::{CONFIG_PARTITION, DATA_PARTITION};

use super::{Tools, layout, set_size, text};
use crate::failure::Failure;
use crate::repository::Repository;

impl Tools<'_> {
    /// Makes the FAT file system of a partition, of a form that mkfs.vfat(8) is told, with files at their paths.
    pub(super) fn fat(&self, partition: &str, form: &[&str], files: &[(&Path, &str)]) -> Result<PathBuf, Failure> {
        let image = self.empty(partition)?;
        let at = text(&image);
        self.run("mkfs.vfat", &[&["--invariant"], form, &[&at]].concat())?;
        for (source, target) in files {
            for (slash, _) in target.match_indices('/') {
                self.run("mmd", &["-i", &at, &format!("::/{}", target.get(..slash).unwrap_or_default())])?;
            }
            self.run("mcopy", &["-i", &at, &text(source), &format!("::/{target}")])?;
        }
        Ok(image)
    }

    /// The partition with the owner's `llmbasedos.toml`, which every PC can write.
    pub(super) fn config(&self, repository: &Repository) -> Result<PathBuf, Failure> {
        let example = repository.path("image/src/quick/llmbasedos.toml");
        self.fat(CONFIG_PARTITION, &["-n", "LLMBASEDOS"], &[(&example, "llmbasedos.toml")])
    }

    /// The empty data partition: ext4.
    ///
    /// Without sums of its metadata, because the superblock has one as well, is two sectors large and written in place:
    /// a power cut between them leaves a sum that is wrong, and nothing can replay a journal that no superblock leads to.
    /// What matters of it lies in the first sector.
    pub(super) fn data(&self) -> Result<PathBuf, Failure> {
        let image = self.empty(DATA_PARTITION)?;
        let (name, seed) = (layout::identifier("data").to_string(), layout::identifier("hash seed").to_string());
        let options = format!("hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0");
        let features = "^metadata_csum,uninit_bg,64bit,quota,project";
        self.run(
            "mke2fs",
            &["-q", "-t", "ext4", "-O", features, "-U", &name, "-L", "data", "-E", &options, &text(&image)],
        )?;
        Ok(image)
    }

    /// A file of the size of a partition, without anything in it.
    fn empty(&self, partition: &str) -> Result<PathBuf, Failure> {
        let image = self.work.join(partition).with_extension("img");
        set_size(&image, layout::place(partition)?.size)?;
        Ok(image)
    }
}
