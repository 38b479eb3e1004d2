//! What a Sentinel acts on: tools, its memory, and whoever watches.

use std::time::Duration;

use kit::{Call, Error, Gateway, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The way to tools.
pub(crate) trait Tools: Send + Sync {
    /// Calls a tool.
    fn call(&self, tool: &str, arguments: &Value) -> impl Future<Output = Result<Value>> + Send;
}

/// What a Sentinel that is awake has: the tools in its run, and beside them its memory. The one that ships is the call
/// that woke it; tests have a world of their own.
pub(crate) trait World: Tools {
    /// See [`World::store`].
    type Store: Tools;

    /// The way to its memory, outside of its run. What it remembers says whose turn it is and which topics are done,
    /// and goes into no prompt: were it read in the run, that would have touched private data before it does anything,
    /// and no model elsewhere could ever be asked.
    fn store(&self) -> &Self::Store;

    /// Tells what is being done.
    fn progress(&self, message: String) -> impl Future<Output = ()> + Send;
}

impl Tools for Call {
    /// What the tool reports of its progress is passed on.
    async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        self.tool_relayed(tool, arguments).await
    }
}

impl World for Call {
    type Store = Gateway;

    fn store(&self) -> &Gateway {
        self.gateway()
    }

    async fn progress(&self, message: String) {
        Call::progress(self, message, None).await;
    }
}

impl Tools for Gateway {
    async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        self.tool(tool, arguments).await
    }
}

/// Calls a tool and reads its result as `T`.
pub(crate) async fn ask<T: DeserializeOwned>(tools: &impl Tools, tool: &str, arguments: &Value) -> Result<T> {
    let result = tools.call(tool, arguments).await?;
    serde_json::from_value(result)
        .map_err(|error| Error::new(format!("{tool} answered something unexpected")).caused_by(error))
}

/// Calls a tool in at most `timeout`, where one is stated.
pub(crate) async fn call_within(
    tools: &impl Tools,
    tool: &str,
    arguments: &Value,
    timeout: Option<Duration>,
) -> Result<Value> {
    let Some(timeout) = timeout else { return tools.call(tool, arguments).await };
    match tokio::time::timeout(timeout, tools.call(tool, arguments)).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(format!("{tool} took longer than the {timeout:?} of its step"))),
    }
}
