//! The one thread that writes: all that is queued becomes one commit.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::change::{Applied, Change, Refusal};
use crate::now_ms;
use crate::store::{Store, StoreError};

/// How many changes wait at the most; whoever comes later waits to queue. Also the most that one commit takes.
const QUEUE: usize = 256;

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The batch failed: all its changes share the error.
    #[error(transparent)]
    Store(Arc<StoreError>),
    #[error("the key-value store is being stopped; try again")]
    Stopped,
}

struct Queued {
    change: Change,
    reply: oneshot::Sender<Result<Applied, WriteError>>,
}

/// The way to the writing thread. Dropping it waits until all that was queued is written and the database is closed.
pub(crate) struct Writer {
    sender: Option<mpsc::Sender<Queued>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<Store>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || write(&store, receiver))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Makes a change; returns once it is on disk.
    pub(crate) async fn write(&self, change: Change) -> Result<Applied, WriteError> {
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or(WriteError::Stopped)?;
        sender.send(Queued { change, reply }).await.map_err(|_| WriteError::Stopped)?;
        answer.await.map_err(|_| WriteError::Stopped)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writing thread had failed");
        }
    }
}

fn write(store: &Store, mut queue: mpsc::Receiver<Queued>) {
    let mut queued = Vec::with_capacity(QUEUE);
    while queue.blocking_recv_many(&mut queued, QUEUE) > 0 {
        let (changes, replies): (Vec<_>, Vec<_>) = queued.drain(..).map(|one| (one.change, one.reply)).unzip();
        let results: Vec<_> = match store.apply(&changes, now_ms()) {
            Ok(applied) => applied.into_iter().map(|applied| applied.map_err(WriteError::Refused)).collect(),
            Err(error) => {
                let error = Arc::new(error);
                changes.iter().map(|_| Err(WriteError::Store(error.clone()))).collect()
            }
        };
        for (reply, result) in replies.into_iter().zip(results) {
            // Nobody waits for the answer of a call that was cancelled.
            let _ = reply.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key::Key;

    fn set(key: &str) -> Change {
        Change::Set { key: Key::try_from(key.to_owned()).expect("a key"), text: json!(key).to_string(), ttl: None }
    }

    #[test]
    fn what_is_queued_becomes_one_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("kv.redb")).expect("opens");
        let (sender, receiver) = mpsc::channel(QUEUE);
        let queue_one = |number: usize| {
            let (reply, answer) = oneshot::channel();
            let queued = Queued { change: set(&format!("key{number}")), reply };
            sender.try_send(queued).map(|()| answer).map_err(|_| "full").expect("room")
        };
        let answers: Vec<_> = (0..QUEUE).map(queue_one).collect();
        drop(sender);
        write(&store, receiver);
        assert_eq!(store.batches().expect("a count"), 1);
        for answer in answers {
            assert!(answer.blocking_recv().expect("an answer").expect("written").changed);
        }
        assert_eq!(store.list("", None, 1000, 0).expect("entries").entries.len(), QUEUE);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn callers_at_the_same_time_share_commits() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(&folder.path().join("kv.redb")).expect("opens"));
        let writer = Arc::new(Writer::start(store.clone()).expect("a thread"));
        let calls: Vec<_> = (0..1000)
            .map(|number| {
                let writer = writer.clone();
                tokio::spawn(async move { writer.write(set(&format!("key{number}"))).await })
            })
            .collect();
        for call in calls {
            assert!(call.await.expect("no panic").expect("written").changed);
        }
        let batches = store.batches().expect("a count");
        assert!(batches < 500, "{batches} commits for 1000 changes");
    }

    #[tokio::test]
    async fn a_refused_change_does_not_harm_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(&folder.path().join("kv.redb")).expect("opens"));
        let writer = Writer::start(store.clone()).expect("a thread");
        let key = Key::try_from("word".to_owned()).expect("a key");
        let (first, second, third) = tokio::join!(
            writer.write(set("word")),
            writer.write(Change::Increment { key: key.clone(), by: 1 }),
            writer.write(set("other")),
        );
        assert!(first.is_ok() && third.is_ok());
        assert!(matches!(second, Err(WriteError::Refused(Refusal::NotWhole))), "{second:?}");
        assert_eq!(store.get(&key, 0).expect("reads"), Some(json!("word")));
    }
}
