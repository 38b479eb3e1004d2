//! Searching by the words in names and texts. No index: it looks at files until a bound, and says no more than it saw.

use std::io::Read;

use rustix::fs::OFlags;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::FilesError;
use crate::folder::{Folder, Item};
use crate::virtual_path::VirtualPath;

/// How many files and folders one search looks at.
const MOST_ITEMS: usize = 20_000;
/// How many bytes of text one search reads.
const MOST_BYTES: u64 = 64 << 20;
/// A longer file is searched by its name alone.
const MOST_BYTES_A_FILE: u64 = 1 << 20;
/// How many words of a query count.
const MOST_WORDS: usize = 16;
/// How many characters of the line with the first word are shown.
const PREVIEW: usize = 160;

/// How often a word must stand in a text to count in full.
const OFTEN: u16 = 5;
/// How much a word in the name counts, and how much one in the text.
const IN_NAME: f64 = 0.6;
const IN_TEXT: f64 = 0.4;

/// A file or folder that has words of the query.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// Its path.
    pub(crate) path: String,
    /// How well it fits, from 0 to 1.
    pub(crate) score: f64,
    /// The first line that has a word of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preview: Option<String>,
}

impl Folder {
    /// The files and folders below `scope` that have words of `query` in their name or text, the best `most` of them.
    pub(crate) fn search(&self, query: &str, most: usize, scope: &VirtualPath) -> Result<Vec<Found>, FilesError> {
        let words: Vec<String> = query.split_whitespace().take(MOST_WORDS).map(str::to_lowercase).collect();
        let mut found = Vec::new();
        let (mut items_left, mut bytes_left) = (MOST_ITEMS, MOST_BYTES);
        // Breadth first, so that a bound leaves out what lies deepest.
        let mut folders = std::collections::VecDeque::from([scope.clone()]);
        while let Some(folder) = folders.pop_front().filter(|_| items_left > 0) {
            let mut items = match self.items(&folder, items_left) {
                Ok(items) => items,
                Err(error) if folder == *scope => return Err(error),
                // Deleted or swapped meanwhile.
                Err(_) => continue,
            };
            items_left -= items.len();
            items.sort_by(|a, b| a.name.cmp(&b.name));
            for item in items {
                found.extend(self.look_at(&item, &words, &mut bytes_left));
                if item.is_folder {
                    folders.push_back(item.path);
                }
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
        found.truncate(most);
        Ok(found)
    }

    fn look_at(&self, item: &Item, words: &[String], bytes_left: &mut u64) -> Option<Found> {
        let text = if item.is_folder { None } else { self.text(item, bytes_left) }.unwrap_or_default();
        let lower = text.to_lowercase();
        let name = item.name.to_lowercase();
        let score_of = |word: &String| {
            let times = lower.matches(word.as_str()).take(usize::from(OFTEN)).count();
            let in_text = f64::from(u16::try_from(times).unwrap_or(OFTEN)) / f64::from(OFTEN);
            IN_NAME * f64::from(u8::from(name.contains(word.as_str()))) + IN_TEXT * in_text
        };
        let total: f64 = words.iter().map(score_of).sum();
        let count = f64::from(u16::try_from(words.len().max(1)).unwrap_or(u16::MAX));
        (total > 0.0).then(|| Found {
            path: item.path.to_string(),
            score: (total / count * 1000.0).round() / 1000.0,
            preview: preview(&text, words),
        })
    }

    /// The text of a file that is one and is not too long.
    fn text(&self, item: &Item, bytes_left: &mut u64) -> Option<String> {
        let size = u64::try_from(item.stat.st_size).ok()?;
        if size > MOST_BYTES_A_FILE.min(*bytes_left) {
            return None;
        }
        *bytes_left -= size;
        let (file, _) = self.file(&item.path, OFlags::RDONLY).ok()?;
        let mut text = String::new();
        file.take(MOST_BYTES_A_FILE).read_to_string(&mut text).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}

fn preview(text: &str, words: &[String]) -> Option<String> {
    let has_word = |line: &&str| {
        let line = line.to_lowercase();
        words.iter().any(|word| line.contains(word.as_str()))
    };
    text.lines().find(has_word).map(|line| line.trim().chars().filter(|c| !c.is_control()).take(PREVIEW).collect())
}
