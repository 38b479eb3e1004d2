//! The file systems on the disk, each made as a file of the size of its partition.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use spec::boot::{CONFIG_PARTITION, DATA_PARTITION};

use super::tools::set_size;
use super::{Tools, layout, text, write};
use crate::failure::Failure;

/// What the owner finds in `llmbasedos.toml`.
const EXAMPLE: &str = include_str!("llmbasedos.toml");

/// What mcopy(1) says where a file does not fit.
const FAT_FULL: &str = "Disk full";

/// A file of the data partition: where it comes from, its path there, whether it is run.
pub(crate) type DataFile = (PathBuf, String, bool);

impl Tools<'_> {
    /// Makes the FAT file system of a partition, of a form that mkfs.vfat(8) is told, with files at their paths.
    pub(super) fn fat(&self, partition: &str, form: &[&str], files: &[(&Path, &str)]) -> Result<PathBuf, Failure> {
        let image = self.empty(partition)?;
        let at = text(&image);
        self.run("mkfs.vfat", &[&["--invariant"], form, &[&at]].concat())?;
        let mut folders = BTreeSet::new();
        for (source, target) in files {
            for (slash, _) in target.match_indices('/') {
                let folder = target.get(..slash).unwrap_or_default();
                if folders.insert(folder) {
                    self.run("mmd", &["-i", &at, &format!("::/{folder}")])?;
                }
            }
            let copied = self.run("mcopy", &["-i", &at, &text(source), &format!("::/{target}")]);
            copied.map_err(|failure| match failure.to_string().ends_with(FAT_FULL) {
                true => self.fat_full(partition, files),
                false => failure,
            })?;
        }
        Ok(image)
    }

    /// Says how much these files take, and what their file system has.
    fn fat_full(&self, partition: &str, files: &[(&Path, &str)]) -> Failure {
        const ADVICE: &str = "leave drivers out of the kernel, or have them built as modules: buildroot-config/board";
        let bytes = files.iter().filter_map(|(source, _)| fs::metadata(source).ok()).map(|data| data.len()).sum();
        let of_it = "it without the tables of its file system";
        self.too_large("what the firmware starts", of_it, bytes, partition, ADVICE)
    }

    /// The partition with the owner's `llmbasedos.toml`, which every PC can write, and with a file of the
    /// loader's, if it looks for one there.
    pub(super) fn config(&self, settings: &str, of_loader: Option<(&Path, &str)>) -> Result<PathBuf, Failure> {
        let file = self.work.join("llmbasedos.toml");
        write(&file, &[EXAMPLE, settings].join("\n"))?;
        let mut files: Vec<(&Path, &str)> = of_loader.into_iter().collect();
        files.push((&file, "llmbasedos.toml"));
        self.fat(CONFIG_PARTITION, &["-n", "LLMBASEDOS"], &files)
    }

    /// The data partition: ext4, with these files.
    ///
    /// Without sums of its metadata, because the superblock has one as well, is two sectors large and written in place:
    /// a power cut between them leaves a sum that is wrong, and nothing can replay a journal that no superblock leads to.
    /// What matters of it lies in the first sector.
    pub(super) fn data(&self, files: &[DataFile]) -> Result<PathBuf, Failure> {
        let image = self.empty(DATA_PARTITION)?;
        let (name, seed) = (layout::identifier("data").to_string(), layout::identifier("hash seed").to_string());
        let options = format!("hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0");
        let features = "^metadata_csum,uninit_bg,64bit,quota,project";
        self.run(
            "mke2fs",
            &["-q", "-t", "ext4", "-O", features, "-U", &name, "-L", "data", "-E", &options, &text(&image)],
        )?;
        if !files.is_empty() {
            self.fill(&image, files)?;
        }
        Ok(image)
    }

    /// Puts files, each into a folder or deeper, on an ext4 file system. All of them are root's.
    fn fill(&self, image: &Path, files: &[DataFile]) -> Result<(), Failure> {
        // A folder comes before what is in it.
        let folders: BTreeSet<&str> = files.iter().flat_map(|(_, target, _)| folders_above(target)).collect();
        let mut script: String = folders.iter().map(|folder| format!("mkdir {folder}\n")).collect();
        for (source, target, is_run) in files {
            let mode = if *is_run { "0100755" } else { "0100644" };
            // A path in quotes may have blanks.
            script.push_str(&format!("write \"{}\" {target}\nsif {target} mode {mode}\n", source.display()));
        }
        let file = self.work.join("data.debugfs");
        write(&file, &script)?;
        // debugfs(8) succeeds whatever comes of a command.
        let merged = ["-c", "exec debugfs -w -f \"$1\" \"$2\" 2>&1", "sh", &text(&file), &text(image)];
        let said = self.run("sh", &merged)?;
        let expected = |line: &&str| line.is_empty() || line.starts_with("debugfs") || line.starts_with("Allocated");
        if let Some(complaint) = said.lines().find(|line| !expected(line)) {
            return Err(Failure::new("cannot fill the data partition", complaint, "report this"));
        }
        // Nothing that debugfs writes is in the quotas; e2fsck(8) counts it, and says by its exit code that it did.
        self.run("sh", &["-c", "e2fsck -fy \"$1\" || [ $? -eq 1 ]", "sh", &text(image)]).map(|_| ())
    }

    /// A file of the size of a partition, without anything in it.
    fn empty(&self, partition: &str) -> Result<PathBuf, Failure> {
        let image = self.work.join(partition).with_extension("img");
        set_size(&image, self.layout.place(partition)?.size)?;
        Ok(image)
    }
}

/// The folders that a path lies in: of `a/b/c` these are `a` and `a/b`.
fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(move |(slash, _)| path.get(..slash))
}

#[cfg(test)]
mod tests {
    use spec::boot::Slot;

    use super::*;
    use crate::disk::layout::Layout;
    use crate::signals::Signals;

    #[test]
    fn a_kernel_that_is_too_large_is_refused_with_both_sizes() {
        let (work, signals) = (tempfile::tempdir().expect("a folder"), Signals::watch().expect("signals"));
        let tools = Tools { work: work.path(), host: None, layout: Layout::default(), epoch: 0, signals: &signals };
        let (kernel, sum) = (work.path().join("uki.efi"), work.path().join("uki.sum"));
        set_size(&kernel, 64 << 20).expect("made");
        write(&sum, "0").expect("written");
        let files = [(sum.as_path(), "uki.sum"), (kernel.as_path(), "uki.efi")];
        let failure = tools.fat(Slot::A.boot_partition(), &["-n", "BOOT"], &files).expect_err("it has tables, too");
        let words = "what the firmware starts is too large: it without the tables of its file system takes 65 MiB, and \
                     the partition boot-a has 64";
        assert_eq!(failure.to_string(), words);
        set_size(&kernel, 63 << 20).expect("made");
        tools.fat(Slot::A.boot_partition(), &["-n", "BOOT"], &files).expect("it fits");
    }
}
