//! What a Sentinel acts on: tools, and whoever watches.

use std::time::Duration;

use kit::{Call, Error, Gateway, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The way to tools. The ones that ship are a call of a tool, and the gateway for what the clock wakes; tests have a
/// world of their own.
pub(crate) trait World: Send + Sync {
    /// Calls a tool; what it reports of its progress is passed on.
    fn call(&self, tool: &str, arguments: &Value) -> impl Future<Output = Result<Value>> + Send;

    /// Tells what is being done.
    fn progress(&self, message: String) -> impl Future<Output = ()> + Send;
}

impl World for Call {
    async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        self.tool_relayed(tool, arguments).await
    }

    async fn progress(&self, message: String) {
        Call::progress(self, message, None).await;
    }
}

impl World for Gateway {
    async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        self.tool(tool, arguments).await
    }

    /// Nobody watches what the clock wakes: it goes to the log.
    async fn progress(&self, message: String) {
        tracing::debug!("{message}");
    }
}

/// Calls a tool and reads its result as `T`.
pub(crate) async fn ask<T: DeserializeOwned>(world: &impl World, tool: &str, arguments: &Value) -> Result<T> {
    let result = world.call(tool, arguments).await?;
    serde_json::from_value(result)
        .map_err(|error| Error::new(format!("{tool} answered something unexpected")).caused_by(error))
}

/// Calls a tool in at most `timeout`, where one is stated.
pub(crate) async fn call_within(
    world: &impl World,
    tool: &str,
    arguments: &Value,
    timeout: Option<Duration>,
) -> Result<Value> {
    let Some(timeout) = timeout else { return world.call(tool, arguments).await };
    match tokio::time::timeout(timeout, world.call(tool, arguments)).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(format!("{tool} took longer than the {timeout:?} of its step"))),
    }
}
