//! The audit file: appending to its chain, and verifying it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blake3::Hash;
use serde::{Deserialize, Serialize, Serializer};
use spec::Label;
use spec::caller::RunId;
use tokio::sync::mpsc;

/// So many lines are written at once at the most.
const GROUP: usize = 256;

/// How long the writer rests after it has written: were it woken for each call, each call would pay for it.
const REST: Duration = Duration::from_millis(5);

/// The last line of a file is looked for in so many of its last bytes; a line has about 500.
const LAST: u64 = 64 << 10;

/// A line of the file.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) who: String,
    pub(crate) run: Option<RunId>,
    pub(crate) tool: String,
    #[serde(serialize_with = "hex")]
    pub(crate) args: Option<Hash>,
    #[serde(serialize_with = "hex")]
    pub(crate) result: Option<Hash>,
    pub(crate) ok: bool,
    pub(crate) code: Option<i32>,
    pub(crate) ms: f64,
    pub(crate) labels: BTreeSet<Label>,
    pub(crate) prev: String,
}

fn hex<S: Serializer>(hash: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
    hash.map(|hash| hash.to_hex()).as_ref().map(|hex| hex.as_str()).serialize(serializer)
}

/// What the chain needs of a line.
#[derive(Deserialize)]
struct Chained {
    seq: u64,
    prev: String,
}

/// The file, opened as soon as that can be done.
pub(crate) struct File {
    path: PathBuf,
    chain: Option<Chain>,
    /// Calls that were not written down since there was no chain.
    lost: u64,
    /// All that were not, since one last was.
    missed: usize,
    trouble: Arc<Mutex<Option<String>>>,
}

/// The open file.
struct Chain {
    file: fs::File,
    /// Up to where it is whole.
    length: u64,
    seq: u64,
    last: Hash,
}

const NOTHING: Hash = Hash::from_bytes([0; 32]);

impl File {
    pub(crate) fn new(path: &Path, trouble: Arc<Mutex<Option<String>>>) -> Self {
        let mut file = Self { path: path.to_owned(), chain: None, lost: 0, missed: 0, trouble };
        let opened = file.open();
        file.tell(opened);
        file
    }

    /// Writes lines, many at once where many wait, until there are no more.
    pub(crate) fn write_all(mut self, mut lines: mpsc::Receiver<Option<Line>>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut is_open = true;
        while is_open && let Some(Some(line)) = lines.blocking_recv() {
            group.push(line);
            while is_open && let Ok(next) = lines.try_recv() {
                is_open = next.is_some();
                group.extend(next);
                if group.len() == GROUP {
                    let written = self.write(&mut group);
                    self.tell(written);
                }
            }
            if !group.is_empty() {
                let written = self.write(&mut group);
                self.tell(written);
            }
            if is_open {
                std::thread::sleep(REST);
            }
        }
        if let Some(Err(error)) = self.chain.map(|chain| chain.file.sync_data()) {
            tracing::warn!(%error, "the audit file was not flushed to the disk");
        }
    }

    fn write(&mut self, group: &mut Vec<Line>) -> io::Result<()> {
        let (opened, count) = (self.open(), group.len());
        let written = match (opened, &mut self.chain) {
            (Ok(()), Some(chain)) => chain.append(group.drain(..)),
            (opened, _) => {
                self.lost += group.drain(..).count() as u64;
                opened
            }
        };
        self.missed = if written.is_ok() { 0 } else { self.missed.saturating_add(count) };
        written
    }

    fn open(&mut self) -> io::Result<()> {
        if self.chain.is_none() {
            let mut chain = Chain::open(&self.path)?;
            chain.seq += std::mem::take(&mut self.lost);
            self.chain = Some(chain);
        }
        Ok(())
    }

    /// Says once that calls are not written down, and once that they are again.
    fn tell(&self, written: io::Result<()>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        match (written, trouble.is_some()) {
            (Ok(()), true) => {
                tracing::warn!(%path, "calls are written down again");
                *trouble = None;
            }
            (Err(error), is_known) => {
                let words = format!("calls are not written down: {path} cannot be written ({error}); they go on");
                if !is_known {
                    tracing::error!("{words}");
                }
                *trouble = Some(format!("{words}, {} so far", self.missed));
            }
            (Ok(()), false) => {}
        }
    }
}

impl Chain {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let (length, last_line) = end_of_chain(&mut file)?;
        let (seq, last) = match last_line {
            None => (0, NOTHING),
            Some(line) => (serde_json::from_slice(&line).map_or(0, |line: Chained| line.seq), blake3::hash(&line)),
        };
        Ok(Self { file, length, seq, last })
    }

    fn append(&mut self, lines: impl Iterator<Item = Line>) -> io::Result<()> {
        let mut text = Vec::new();
        let mut last = self.last;
        for mut line in lines {
            self.seq += 1;
            line.seq = self.seq;
            line.prev = last.to_hex().to_string();
            let start = text.len();
            serde_json::to_writer(&mut text, &line)?;
            last = blake3::hash(text.get(start..).unwrap_or_default());
            text.push(b'\n');
        }
        let written = self.file.write_all(&text);
        if written.is_ok() {
            self.last = last;
            self.length += text.len() as u64;
        } else {
            // What was written of the group must not stay: the next line would be torn.
            let _ = self.file.set_len(self.length);
        }
        written
    }
}

/// Where the whole lines end, and the last of them. A torn line at the end, from a power cut, is cut off.
fn end_of_chain(file: &mut fs::File) -> io::Result<(u64, Option<Vec<u8>>)> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(LAST)))?;
    let mut tail = Vec::new();
    file.take(LAST).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let torn = tail.len() - whole;
    let end = length - torn as u64;
    if torn > 0 {
        tracing::warn!(bytes = torn, "the last line of the audit file is torn and is cut off");
        file.set_len(end)?;
    }
    let lines = tail.get(..whole.saturating_sub(1)).unwrap_or_default();
    let last = lines.rsplit(|&byte| byte == b'\n').next().filter(|line| !line.is_empty());
    Ok((end, last.map(<[u8]>::to_vec)))
}

/// Where a chain does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// A line is not one of an audit file.
    #[error("line {line} is not of an audit file")]
    Line {
        /// From 1.
        line: usize,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A line does not follow the one before it: one of them was changed, or others taken out.
    #[error("line {line} does not follow the line before it")]
    Chain {
        /// From 1.
        line: usize,
    },
}

/// Verifies the chain of an audit file and answers how many lines it has.
///
/// # Errors
/// The first place where it does not hold.
pub fn verify(file: impl Read) -> Result<usize, Broken> {
    let (mut last, mut seq, mut count) = (NOTHING, 0, 0);
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        count += 1;
        let chained: Chained = serde_json::from_slice(&line).map_err(|source| Broken::Line { line: count, source })?;
        if chained.prev != last.to_hex().as_str() || chained.seq <= seq {
            return Err(Broken::Chain { line: count });
        }
        seq = chained.seq;
        last = blake3::hash(&line);
    }
    Ok(count)
}
