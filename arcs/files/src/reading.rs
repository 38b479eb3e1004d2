//! Reading a file, whole or a part.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use rustix::fs::OFlags;

use crate::content::Encoding;
use crate::error::FilesError;
use crate::folder::Folder;
use crate::virtual_path::VirtualPath;

/// The most bytes that one call answers. A result travels twice in its frame (as a value and as text), in base64 at
/// 4/3 of its size: 2.7 times this is well under the 16 MiB that a frame may have.
pub(crate) const MOST: u64 = 4 << 20;

/// The most bytes that a text may take up in JSON: text with many control characters grows sixfold.
const MOST_AS_JSON: usize = 6 << 20;

/// What was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) content: String,
    /// Where to go on, when the file has more.
    pub(crate) next: Option<u64>,
}

impl Folder {
    /// Reads the file at `path` from `offset` on, `limit` bytes of it; all of it unless limited.
    pub(crate) fn read(
        &self,
        path: &VirtualPath,
        encoding: Encoding,
        offset: u64,
        limit: Option<u64>,
    ) -> Result<Part, FilesError> {
        let (mut file, stat) = self.file(path, OFlags::RDONLY)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if limit.is_none() && size.saturating_sub(offset) > MOST {
            return Err(FilesError::TooLong { path: path.clone(), size, most: MOST });
        }
        let mut bytes =
            read_part(&mut file, offset, limit.unwrap_or(MOST).min(MOST)).map_err(FilesError::io(path, "reading"))?;
        let mut end = offset.saturating_add(length(&bytes));
        if encoding == Encoding::Text && end < size {
            end -= cut_to_whole_characters(&mut bytes);
        }
        let content = encoding.encode(bytes).ok_or_else(|| FilesError::NotText { path: path.clone() })?;
        let as_json = serde_json::to_string(&content).map_or(usize::MAX, |json| json.len());
        if encoding == Encoding::Text && as_json > MOST_AS_JSON {
            return Err(FilesError::NotText { path: path.clone() });
        }
        Ok(Part { content, next: (end < size).then_some(end) })
    }
}

fn read_part(file: &mut File, offset: u64, limit: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Cuts off the character that the end of a part divides; answers how many bytes that were.
fn cut_to_whole_characters(bytes: &mut Vec<u8>) -> u64 {
    let whole = match std::str::from_utf8(bytes) {
        // `error_len` is `None` where the text ends in the middle of a character.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => return 0,
    };
    let cut = length(bytes.get(whole..).unwrap_or_default());
    bytes.truncate(whole);
    cut
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
