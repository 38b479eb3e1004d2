//! Listing a folder.

use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::FilesError;
use crate::folder::{Folder, Item};
use crate::virtual_path::VirtualPath;

/// The most entries of one list.
const MOST: usize = 20_000;

/// The most bytes of all names and paths of one list, which is twice in a frame of 16 MiB.
const BYTES_MOST: usize = 4 << 20;

/// A file or folder in a list.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// Its whole path.
    pub(crate) path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// Bytes; 0 for a folder.
    pub(crate) size: u64,
    /// When it was changed last, ISO 8601 in UTC.
    pub(crate) modified_at: String,
}

/// What is in a list.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Kind {
    File,
    Directory,
}

impl Folder {
    /// The files and folders in the folder at `path`, in the order of their names.
    pub(crate) fn list(&self, path: &VirtualPath) -> Result<Vec<Listed>, FilesError> {
        let mut items = self.items(path, MOST + 1)?;
        let bytes: usize = items.iter().map(|item| item.name.len() + item.path.to_string().len()).sum();
        if items.len() > MOST || bytes > BYTES_MOST {
            return Err(FilesError::TooMany { path: path.clone(), most: MOST });
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items.into_iter().map(Listed::from).collect())
    }
}

impl From<Item> for Listed {
    fn from(item: Item) -> Self {
        let kind = if item.is_folder { Kind::Directory } else { Kind::File };
        let size = if item.is_folder { 0 } else { u64::try_from(item.stat.st_size).unwrap_or(0) };
        let modified = OffsetDateTime::from_unix_timestamp(item.stat.st_mtime).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let modified_at = modified.format(&Rfc3339).unwrap_or_default();
        Self { path: item.path.to_string(), name: item.name, kind, size, modified_at }
    }
}
