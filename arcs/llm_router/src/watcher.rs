//! Telling whoever watches a call how its answer grows.

use std::time::Duration;

use kit::Call;
use tokio::time::Instant;

/// Somebody who may want to hear an answer while it is written.
pub trait Watcher: Sync {
    /// Whether anybody listens.
    fn listens(&self) -> bool;

    /// The next piece of the text.
    fn text(&self, piece: &str) -> impl Future<Output = ()> + Send;

    /// What is being done; begins with one word for the stage.
    fn stage(&self, message: String) -> impl Future<Output = ()> + Send;
}

impl Watcher for Call {
    fn listens(&self) -> bool {
        self.is_watched()
    }

    fn text(&self, piece: &str) -> impl Future<Output = ()> + Send {
        self.stream(piece)
    }

    fn stage(&self, message: String) -> impl Future<Output = ()> + Send {
        self.progress(message, None)
    }
}

/// How often the growth of JSON is told, which itself says nothing to a person.
const PERIOD: Duration = Duration::from_secs(1);

/// What was told of one answer.
pub(crate) struct Telling<'w, W> {
    watcher: &'w W,
    is_prose: bool,
    told: usize,
    pieces: u32,
    last: Instant,
}

impl<'w, W: Watcher> Telling<'w, W> {
    /// Nothing yet. Prose is told as it comes; of JSON only how much there is.
    pub(crate) fn new(watcher: &'w W, is_prose: bool) -> Self {
        Self { watcher, is_prose, told: 0, pieces: 0, last: Instant::now() }
    }

    /// The answer begins (anew). What was told of a broken one cannot be taken back, so that is said.
    pub(crate) async fn begin(&mut self, backend: &str) {
        if self.told > 0 {
            self.watcher.stage(format!("Again from the beginning: the answer broke off, asking {backend}")).await;
        }
        (self.told, self.pieces) = (0, 0);
    }

    /// The answer has grown to `text`, of which the last `hold` bytes are not to be told yet.
    pub(crate) async fn grown(&mut self, text: &str, hold: usize) {
        self.pieces = self.pieces.saturating_add(1);
        if !self.watcher.listens() {
            return;
        }
        if self.is_prose {
            let end = text.floor_char_boundary(text.len().saturating_sub(hold));
            if let Some(piece) = text.get(self.told..end).filter(|piece| !piece.is_empty()) {
                self.told = end;
                self.watcher.text(piece).await;
            }
        } else if self.last.elapsed() >= PERIOD {
            self.last = Instant::now();
            self.watcher.stage(format!("{} tokens", self.pieces)).await;
        }
    }
}
