//! Whether anything is going on, so that an idle Arc can exit and a stopping one can wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Counts what is going on. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    count: Arc<watch::Sender<usize>>,
}

/// Something is going on until this is dropped.
#[derive(Debug)]
pub struct Busy {
    count: Arc<watch::Sender<usize>>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn begin(&self) -> Busy {
        self.count.send_modify(|count| *count += 1);
        Busy { count: self.count.clone() }
    }

    /// Returns once nothing has been going on for as long as `period`.
    pub(crate) async fn idle_for(&self, period: Duration) {
        let mut count = self.count.subscribe();
        loop {
            // The sender lives in `self`, so neither wait can fail.
            let _ = count.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(period, count.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Returns once nothing is going on.
    pub(crate) async fn ended(&self) {
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_is_counted_from_the_end_of_the_last_work() {
        let activity = Activity::new();
        let busy = activity.begin();
        let started = tokio::time::Instant::now();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle_for(Duration::from_secs(5)).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(busy);
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(activity.begin());
        idle.await.expect("ends");
        assert_eq!(started.elapsed(), Duration::from_secs(68));
    }
}
