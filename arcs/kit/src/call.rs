//! One call of a tool, as the tool sees it.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use rmcp::model::{MetaObject, NotificationMetaObject, ProgressNotificationParam, ProgressToken, RequestMetaObject};
use rmcp::{Peer, RoleServer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use spec::caller::{CALLER_KEY, Caller, STREAM_KEY};

use crate::error::{Error, Result};
use crate::gateway::{Gateway, Progress};

/// One call of a tool: who calls, and what can be done meanwhile.
pub struct Call {
    caller: Caller,
    gateway: Gateway,
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    sent: AtomicU32,
}

impl Call {
    pub(crate) fn new(meta: &RequestMetaObject, peer: Peer<RoleServer>, gateway: Gateway) -> Result<Self> {
        let caller =
            meta.get(CALLER_KEY).ok_or_else(|| Error::new("the call does not say who calls: use the gateway"))?;
        let caller = serde_json::from_value(caller.clone())
            .map_err(|error| Error::new("the call does not say properly who calls").caused_by(error))?;
        Ok(Self { caller, gateway, peer, token: meta.get_progress_token(), sent: AtomicU32::new(0) })
    }

    /// Who calls, in which run.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The way to other tools in runs of their own. What comes back by it is no part of this call's run and must not go
    /// into what the run does: it is for an Arc's own bookkeeping.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Calls another tool in the same run and reads its result as `T`. Dropping the future cancels the call.
    ///
    /// # Errors
    /// What that tool, or the gateway on the way to it, says; or its result is not a `T`.
    pub async fn tool<T: DeserializeOwned>(&self, tool: &str, arguments: &impl Serialize) -> Result<T> {
        self.gateway.call(tool, arguments, Some(&self.caller.run), |_| {}).await
    }

    /// Like [`Call::tool`]; what that tool reports of its progress is handed to `on_progress`.
    ///
    /// # Errors
    /// As [`Call::tool`].
    pub async fn tool_watched<T: DeserializeOwned>(
        &self,
        tool: &str,
        arguments: &impl Serialize,
        on_progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<T> {
        self.gateway.call(tool, arguments, Some(&self.caller.run), on_progress).await
    }

    /// Like [`Call::tool`]; what that tool reports of its progress becomes progress of this call.
    ///
    /// # Errors
    /// As [`Call::tool`].
    pub async fn tool_relayed<T: DeserializeOwned>(&self, tool: &str, arguments: &impl Serialize) -> Result<T> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let call = self.tool_watched(tool, arguments, move |progress| drop(sender.send(progress)));
        tokio::pin!(call);
        loop {
            tokio::select! {
                biased;
                Some(progress) = receiver.recv() => self.relay(progress).await,
                result = &mut call => return result,
            }
        }
    }

    /// Whether the caller wants to hear of progress.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.token.is_some()
    }

    /// Reports a stage: `message` begins with its name in one word (`write section 2 of 4`); `part` is how far, of how
    /// many. Reporting the same stage again replaces what was shown.
    pub async fn progress(&self, message: impl Into<String>, part: Option<(u32, u32)>) {
        self.relay(Progress { message: message.into(), part, is_stream: false }).await;
    }

    /// Sends the next piece of a text that is being written.
    pub async fn stream(&self, piece: impl Into<String>) {
        self.relay(Progress { message: piece.into(), part: None, is_stream: true }).await;
    }

    /// Boxed for the reason that [`run`](crate::run) has.
    fn relay(&self, progress: Progress) -> BoxFuture<'_, ()> {
        Box::pin(self.notify(progress))
    }

    async fn notify(&self, progress: Progress) {
        let Some(token) = self.token.clone() else { return };
        // MCP wants a number that grows with every notification; stages that count use it as the part done.
        let sent = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let done = progress.part.map_or(sent, |(done, _)| done);
        let mut params = ProgressNotificationParam::new(token, f64::from(done));
        params.total = progress.part.map(|(_, of)| f64::from(of));
        params.message = Some(progress.message);
        params.meta = progress.is_stream.then(stream_meta);
        if let Err(error) = self.peer.notify_progress(params).await {
            tracing::debug!(%error, "nobody hears of the progress");
        }
    }
}

fn stream_meta() -> NotificationMetaObject {
    let mut meta = MetaObject::default();
    meta.insert(STREAM_KEY.to_owned(), json!(true));
    NotificationMetaObject(meta)
}
