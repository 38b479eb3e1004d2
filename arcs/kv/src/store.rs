//! The database: opened, read, changed a batch at a time, and opened anew after the disk has failed.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Database, DatabaseError, Durability, ReadableDatabase, TableDefinition};
use serde_json::Value;

use crate::change::{Applied, Change, Refusal, Stored, Tables, lives, read};
use crate::key::Key;

const ENTRIES: TableDefinition<'_, &str, Stored> = TableDefinition::new("entries");
const EXPIRIES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("expiries");
/// How many batches were committed, under `()`. Tells after a failed commit whether it took place all the same.
const BATCHES: TableDefinition<'_, (), u64> = TableDefinition::new("batches");

/// redb's own default is 1 GiB; a page that is not here is in the kernel's page cache.
const CACHE_BYTES: usize = 8 << 20;

/// How many entries one listing looks at, and how many bytes of values it answers, whatever was asked for.
const LIST_LOOKS_AT: usize = 10_000;
const LIST_BYTES: usize = 4 << 20;

/// Which step of the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the folder {path} cannot be made")]
    Folder { path: PathBuf, source: io::Error },
    #[error("{path} is in use by another process: is a second llmbasedos running on this data folder?")]
    InUse { path: PathBuf },
    #[error("{path} cannot be opened: {reason}. It was left as it is; move it away to start with an empty store",
        reason = described(.source))]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the key-value store cannot be read: {}; try again", described(.source))]
    Read { source: Box<redb::Error> },
    #[error("the key-value store cannot be written: {}; nothing was changed", described(.source))]
    Write { source: Box<redb::Error> },
    #[error("the key-value store failed while it was written: {}; the change may have been kept or not: \
        read the key before you try again", described(.source))]
    Uncertain { source: Box<redb::Error> },
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Milliseconds since 1970.
    pub(crate) expires_ms: Option<u64>,
}

/// A part of a listing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Listed {
    pub(crate) entries: Vec<Entry>,
    /// The key after which to go on, where there is more.
    pub(crate) next: Option<String>,
}

/// The database.
pub(crate) struct Store {
    path: PathBuf,
    /// `None` after it has failed and could not be opened again: the next use tries once more.
    database: RwLock<Option<Database>>,
}

impl Store {
    /// Opens the database at `path`, made where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let failed = |source| StoreError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let store = Self { path: path.to_owned(), database: RwLock::default() };
        store.reopen()?;
        // A new file is there after a power cut only if its folder was written; the folder itself is init's to make.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(store)
    }

    /// What is under `key` at that time.
    pub(crate) fn get(&self, key: &Key, now_ms: u64) -> Result<Option<Value>, StoreError> {
        self.read(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let stored = entries.get(key.as_str())?;
            Ok(stored.and_then(|stored| {
                let (expires, text) = stored.value();
                lives(expires, now_ms).then(|| read(text))
            }))
        })
    }

    /// The entries at that time whose keys begin with `prefix` and come after `after`, in the order of the keys' bytes,
    /// `limit` at the most.
    pub(crate) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Listed, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.read(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let mut listed = Listed::default();
            let mut bytes = 0;
            for (looked_at, item) in entries.range::<&str>((start, Bound::Unbounded))?.enumerate() {
                let (key, stored) = item?;
                let (expires_ms, text) = stored.value();
                if !key.value().starts_with(prefix) {
                    return Ok(Listed { next: None, ..listed });
                }
                bytes += text.len();
                let is_full = listed.entries.len() == limit || (bytes > LIST_BYTES && !listed.entries.is_empty());
                if is_full || looked_at == LIST_LOOKS_AT {
                    return Ok(listed);
                }
                let key = key.value().to_owned();
                listed.next = Some(key.clone());
                if lives(expires_ms, now_ms) {
                    listed.entries.push(Entry { key, value: read(text), expires_ms });
                }
            }
            Ok(Listed { next: None, ..listed })
        })
    }

    /// Whether anything has expired at that time and lies there still.
    pub(crate) fn has_expired(&self, now_ms: u64) -> Result<bool, StoreError> {
        self.read(|database| {
            let expiries = database.begin_read()?.open_table(EXPIRIES)?;
            let first = redb::ReadableTable::first(&expiries)?;
            Ok(first.is_some_and(|(expiry, _)| !lives(Some(expiry.value().0), now_ms)))
        })
    }

    /// How many batches were ever committed.
    pub(crate) fn batches(&self) -> Result<u64, StoreError> {
        self.read(batches)
    }

    /// Applies changes in their order and commits them together. When this returns without error, they are on disk.
    pub(crate) fn apply(&self, changes: &[Change], now_ms: u64) -> Result<Vec<Result<Applied, Refusal>>, StoreError> {
        let before = self.batches()?;
        self.attempt(|database| write(database, changes, now_ms)).map_err(|source| {
            let source = Box::new(source);
            // redb refuses all use after a failure of the disk until it is opened anew.
            match self.reopen().and_then(|()| self.batches()) {
                Ok(after) if after == before => StoreError::Write { source },
                _ => StoreError::Uncertain { source },
            }
        })
    }

    fn read<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        if let Ok(value) = self.attempt(&work) {
            return Ok(value);
        }
        self.reopen()?;
        self.attempt(&work).map_err(|source| StoreError::Read { source: Box::new(source) })
    }

    fn attempt<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(database.as_ref().ok_or(redb::Error::DatabaseClosed)?)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the file's lock until it is dropped.
        *database = None;
        let path = || self.path.clone();
        // What cannot be looked at is not taken for absent: making it would replace it.
        let is_there = self.path.try_exists();
        let is_there = is_there.map_err(|error| StoreError::Open { path: path(), source: Box::new(error.into()) })?;
        if !is_there {
            make(&self.path).map_err(|source| StoreError::Open { path: path(), source: Box::new(source) })?;
        }
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(&self.path);
        let opened = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path() },
            error => StoreError::Open { path: path(), source: Box::new(error.into()) },
        })?;
        make_tables(&opened).map_err(|source| StoreError::Open { path: path(), source: Box::new(source) })?;
        *database = Some(opened);
        Ok(())
    }
}

/// Makes an empty database under another name and gives it its own when it is whole: a power cut between the first
/// bytes of a file and its header would leave one that nobody can open.
fn make(path: &Path) -> Result<(), redb::Error> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => make_tables(&Database::create(&new)?)?,
    }
    Ok(fs::rename(&new, path)?)
}

/// Makes the tables where they are missing, so that every reader finds them.
fn make_tables(database: &Database) -> Result<(), redb::Error> {
    if database.begin_read()?.list_tables()?.next().is_some() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(EXPIRIES)?;
    transaction.open_table(BATCHES)?.insert((), 0)?;
    Ok(transaction.commit()?)
}

fn batches(database: &Database) -> Result<u64, redb::Error> {
    Ok(database.begin_read()?.open_table(BATCHES)?.get(())?.map_or(0, |count| count.value()))
}

fn write(database: &Database, changes: &[Change], now_ms: u64) -> Result<Vec<Result<Applied, Refusal>>, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let applied = {
        let mut tables =
            Tables { entries: transaction.open_table(ENTRIES)?, expiries: transaction.open_table(EXPIRIES)?, now_ms };
        changes.iter().map(|change| change.apply(&mut tables)).collect::<Result<Vec<_>, _>>()?
    };
    {
        let mut batches = transaction.open_table(BATCHES)?;
        let next = redb::ReadableTable::get(&batches, ())?.map_or(0, |count| count.value()) + 1;
        batches.insert((), next)?;
    }
    transaction.commit()?;
    Ok(applied)
}

/// Why, in words; what to do where that is known.
fn described(error: &redb::Error) -> String {
    let redb::Error::Io(error) = error else { return error.to_string() };
    match error.kind() {
        io::ErrorKind::StorageFull => "no space left on the disk (free some)".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up (free some space)".to_owned(),
        io::ErrorKind::FileTooLarge => "the file may not grow any more (a limit on its size)".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => format!("it is not a database of this Arc, or is damaged ({error})"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
