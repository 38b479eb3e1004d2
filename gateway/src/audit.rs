//! The record of every call: JSON lines, each with the digest of the line before it, so that none can be changed or
//! taken out unseen.
//!
//! `{"seq", "time", "who", "run", "tool", "args", "result", "ok", "code", "ms", "labels", "prev"}`: `time` is in
//! milliseconds since 1970, `args`, `result` and `prev` are BLAKE3 digests in hexadecimal of the raw bytes, `code` is
//! that of the error. The first line has zeros for `prev`. A line that could not be written leaves a gap in `seq`.

mod file;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use spec::Label;
use spec::caller::{RunId, Who};
use tokio::sync::mpsc;

pub use file::{Broken, verify};
use file::{File, Line};

use crate::arc::Answer;

/// So many calls may wait to be written down; the answers of further ones wait until one is.
const QUEUE: usize = 4096;

/// The code in the record of a call that its caller gave up.
const CANCELLED: i32 = -32800;

/// A tool's name is written up to this length: it is what the caller sent.
const TOOL_NAME: usize = 130;

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error("cannot start the thread that writes the audit file")]
    Thread(#[source] io::Error),
}

/// Writes down calls.
pub(crate) struct Audit {
    /// `None`: there are no more.
    queue: mpsc::Sender<Option<Line>>,
    trouble: Arc<Mutex<Option<String>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Writes to the file at `path`, whose chain goes on where it ended.
    pub(crate) fn start(path: &Path) -> Result<Self, AuditError> {
        let trouble = Arc::default();
        let file = File::new(path, Arc::clone(&trouble));
        let (queue, lines) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || file.write_all(lines));
        Ok(Self { queue, trouble, writer: Mutex::new(Some(writer.map_err(AuditError::Thread)?)) })
    }

    /// Begins the record of a call.
    pub(crate) fn open(&self, who: &Who, tool: &str) -> Entry<'_> {
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = Line {
            seq: 0,
            time: u64::try_from(time_ms).unwrap_or(u64::MAX),
            who: who.to_string(),
            run: None,
            tool: tool.chars().take(TOOL_NAME).collect(),
            args: None,
            result: None,
            ok: false,
            code: Some(CANCELLED),
            ms: 0.0,
            labels: BTreeSet::new(),
            prev: String::new(),
        };
        Entry { queue: &self.queue, line: Some(line), started: Instant::now() }
    }

    /// What keeps calls from being written down, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what waits and closes the file. Not to be called from an async task.
    pub(crate) fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let asked = self.queue.blocking_send(None);
        if writer.is_some_and(|writer| writer.join().is_err()) || asked.is_err() {
            tracing::error!("the audit file was not closed");
        }
    }
}

/// The record of one call under way. Dropped before it is finished, it is that of a call given up.
pub(crate) struct Entry<'a> {
    queue: &'a mpsc::Sender<Option<Line>>,
    line: Option<Line>,
    started: Instant,
}

impl Entry<'_> {
    /// What the call turned out to be.
    pub(crate) fn describe(&mut self, tool: &str, arguments: &[u8], run: &RunId, labels: &BTreeSet<Label>) {
        if let Some(line) = &mut self.line {
            tool.clone_into(&mut line.tool);
            line.args = Some(blake3::hash(arguments));
            line.run = Some(run.clone());
            line.labels.clone_from(labels);
        }
    }

    /// How it ended. Waits only where more calls than [`QUEUE`] wait to be written.
    pub(crate) async fn finish(mut self, answer: &Answer) {
        let Some(mut line) = self.take() else { return };
        match answer {
            Ok(result) => {
                line.result = Some(blake3::hash(result));
                line.ok = !crate::outcome::is_failure(result);
                line.code = None;
            }
            Err(fault) => line.code = Some(fault.code),
        }
        // The writer takes lines until it is closed, which is when there are no calls any more.
        let _ = self.queue.send(Some(line)).await;
    }

    fn take(&mut self) -> Option<Line> {
        let mut line = self.line.take()?;
        line.ms = self.started.elapsed().as_secs_f64() * 1000.0;
        Some(line)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.take().is_some_and(|line| self.queue.try_send(Some(line)).is_err()) {
            tracing::warn!("a call that was given up is not written down: too many wait for it");
        }
    }
}
