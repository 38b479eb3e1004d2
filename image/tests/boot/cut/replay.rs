//! A start on a disk after a power cut, as far as it decides over the data, without a machine: the partition is found as
//! Linux finds it, mended as init mends it, and what services kept is read out of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gpt::GptConfig;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde_json::Value;

use super::disk::{Disk, SECTOR};
use crate::machine::{repository, tool};

/// What of a disk can hold a partition table, at either end.
const TABLE: u64 = 1 << 20;
/// Where the key-value store and the record of calls lie on the data partition.
const STORE: &str = "/arcs/kv/kv.redb";
const AUDIT: &str = "/log/audit.jsonl";
/// The store's table of entries: when each expires, and its JSON text (`arcs/kv/src/store.rs`).
const ENTRIES: TableDefinition<'_, &str, (Option<u64>, &str)> = TableDefinition::new("entries");

/// The data partition after it was mended.
#[derive(Debug)]
pub(crate) struct Recovered {
    folder: PathBuf,
    /// Whether it took a full check, with another copy of the superblock.
    pub(crate) by_full_check: bool,
    /// Whether a full check would find something that is not mended.
    pub(crate) is_unsound: bool,
    /// Of the partition, in bytes.
    pub(crate) size: u64,
}

impl Recovered {
    /// Finds and mends the data of a disk, in an empty folder.
    ///
    /// # Errors
    /// In words, where the machine would run without its data.
    pub(crate) fn of(disk: &Disk, folder: &Path) -> Result<Self, String> {
        let partition = find_data(disk, folder).map_err(|error| error.to_string())?;
        let size = partition.end - partition.start;
        let mut recovered = Self { folder: folder.to_owned(), by_full_check: false, is_unsound: false, size };
        let data = recovered.data();
        let copied = File::create(&data).and_then(|file| disk.copy_to(partition.clone(), &file, partition.start));
        copied.expect("the data are copied");
        /// Ends with nothing left to mend (`init/src/boot/data.rs`).
        const WELL: [i32; 3] = [0, 1, 2];
        let mut said = String::new();
        for how in ["-p", "-fy"] {
            let output = check(how, &data);
            if output.status.code().is_some_and(|code| WELL.contains(&code)) {
                recovered.by_full_check = how == "-fy";
                recovered.is_unsound = !check("-fn", &data).status.success();
                return Ok(recovered);
            }
            said += &format!("e2fsck {how}: {}\n{}", output.status, words(&output));
        }
        Err(said)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data.img")
    }

    /// All entries of the key-value store.
    ///
    /// # Errors
    /// In words, where the Arc could not open it.
    pub(crate) fn entries(&self) -> Result<BTreeMap<String, Value>, String> {
        let file = self.folder.join("kv.redb");
        tool("debugfs", &["-R", &format!("dump {STORE} {}", file.display()), &self.data().display().to_string()]);
        // The Arc makes one where there is none.
        let read = || -> Result<BTreeMap<String, Value>, redb::Error> {
            let database = Database::create(&file)?;
            let table = match database.begin_read()?.open_table(ENTRIES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                table => table?,
            };
            let mut entries = BTreeMap::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                let value = serde_json::from_str(value.value().1).unwrap_or_default();
                entries.insert(key.value().to_owned(), value);
            }
            Ok(entries)
        };
        read().map_err(|error| format!("the key-value store: {error}"))
    }

    /// How many calls of a tool are written down.
    pub(crate) fn recorded(&self, called: &str) -> usize {
        let output = tool("debugfs", &["-R", &format!("cat {AUDIT}"), &self.data().display().to_string()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["tool"] == called).count()
    }
}

fn check(how: &str, data: &Path) -> Output {
    // The one that init runs.
    let program = repository().join("build/x86_64/work/root/usr/sbin/e2fsck");
    Command::new(program).arg(how).arg(data).output().expect("e2fsck runs")
}

fn words(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Where the data lie, by the first table that is whole: that at the disk's beginning, or the other at its very end
/// (Linux, `block/partitions/efi.c`, when it is told `gpt`).
fn find_data(disk: &Disk, folder: &Path) -> io::Result<Range<u64>> {
    let path = folder.join("table.img");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    disk.copy_to(0..TABLE, &file, 0)?;
    disk.copy_to(disk.size - TABLE..disk.size, &file, 0)?;
    let open = || GptConfig::new().open(&path);
    let table = open().or_else(|_| {
        // A header whose entries are not its own would be taken before the other end's.
        file.write_all_at(&[0; SECTOR], SECTOR as u64)?;
        open()
    });
    let table = table.map_err(io::Error::other)?;
    let data = table.partitions().values().find(|partition| partition.name == "data");
    let data = data.ok_or_else(|| io::Error::other("a table without the data"))?;
    fs::remove_file(&path)?;
    Ok(data.first_lba * SECTOR as u64..(data.last_lba + 1) * SECTOR as u64)
}
