//! One call from its request to its end: progress, Ctrl-C, time-out.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::client::{Client, Event};
use crate::failure::Error;
use crate::message::{Progress, Request};

/// Sees how a call is getting on.
pub(crate) trait Watcher {
    /// The call says so.
    fn progress(&mut self, progress: &Progress);
    /// A second went by.
    fn tick(&mut self);
}

/// How long a person waits: until Ctrl-C, or until a time is over.
pub(crate) struct Patience {
    interrupts: Signal,
    deadline: Option<(tokio::time::Instant, Duration)>,
}

impl Patience {
    /// From now on Ctrl-C no longer ends the process; `limit` runs from now.
    ///
    /// # Errors
    /// The signal cannot be caught.
    pub(crate) fn new(limit: Option<Duration>) -> Result<Self, Error> {
        let interrupts =
            signal(SignalKind::interrupt()).map_err(|source| Error::Io { what: "Ctrl-C cannot be caught", source })?;
        Ok(Self { interrupts, deadline: limit.map(|limit| (tokio::time::Instant::now() + limit, limit)) })
    }

    /// Comes back when the person waits no longer for `what`.
    async fn end(&mut self, what: &str) -> Error {
        let Some((moment, limit)) = self.deadline else {
            self.interrupts.recv().await;
            return Error::Cancelled;
        };
        tokio::select! {
            _ = self.interrupts.recv() => Error::Cancelled,
            () = tokio::time::sleep_until(moment) => Error::TimedOut { what: what.to_owned(), limit },
        }
    }

    /// Waits for `work`, called `what`, as long as patience lasts.
    ///
    /// # Errors
    /// That of the work, or that patience ended.
    pub(crate) async fn wait<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            error = self.end(what) => Err(error),
        }
    }
}

/// Makes the call and waits for its value. When patience ends the gateway is told that the call is cancelled.
///
/// # Errors
/// The tool's failure, a lost connection, the end of patience.
pub(crate) async fn conduct(
    client: &Client,
    request: &Request,
    patience: &mut Patience,
    watcher: &mut impl Watcher,
) -> Result<Value, Error> {
    let failed = |failure| Error::of_tool(request.name(), failure);
    let mut call = client.begin(request);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = call.next() => match event {
                Some(Event::Progress(progress)) => watcher.progress(&progress),
                Some(Event::Answer(outcome)) => {
                    return outcome.and_then(|result| request.value_of(result)).map_err(failed);
                }
                None => return Err(client.lost()),
            },
            _ = seconds.tick() => watcher.tick(),
            error = patience.end(request.name()) => {
                client.cancel(&call, &error.to_string()).await;
                return Err(error);
            }
        }
    }
}

/// Progress as stages alone.
impl<W: std::io::Write> Watcher for crate::render::progress::Stages<W> {
    fn progress(&mut self, progress: &Progress) {
        self.update(progress, Instant::now());
    }

    fn tick(&mut self) {
        Self::tick(self, Instant::now());
    }
}

/// Sees nothing.
impl Watcher for () {
    fn progress(&mut self, _progress: &Progress) {}

    fn tick(&mut self) {}
}
