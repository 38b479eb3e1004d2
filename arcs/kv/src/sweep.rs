//! Removing what has expired, now and then, in batches.

use std::sync::Arc;
use std::time::Duration;

use crate::change::Change;
use crate::now_ms;
use crate::store::Store;
use crate::writer::{WriteError, Writer};

/// What has expired is hidden at once, so this only decides how long it takes up space.
const PERIOD: Duration = Duration::from_secs(30);

/// Sweeps again and again. Queues like any caller, one batch at a time, so that callers come in between.
pub(crate) async fn for_ever(store: Arc<Store>, writer: Arc<Writer>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        if let Err(error) = sweep(&store, &writer).await {
            tracing::warn!("what has expired cannot be removed: {error}");
        }
    }
}

async fn sweep(store: &Store, writer: &Writer) -> Result<(), WriteError> {
    let has_expired = store.has_expired(now_ms()).map_err(|error| WriteError::Store(Arc::new(error)))?;
    while has_expired && writer.write(Change::Sweep).await?.changed {}
    Ok(())
}
