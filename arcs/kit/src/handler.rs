//! The Arc's side of MCP: lists the tools, and runs one for each call.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult, MetaObject,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use spec::caller::FAILURE_KEY;

use crate::call::Call;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::server::Offered;

/// Serves the tools of one Arc; clones share them.
#[derive(Clone)]
pub(crate) struct Handler {
    host: Host,
    version: &'static str,
    tools: Arc<Vec<Offered>>,
    by_name: Arc<HashMap<String, usize>>,
}

impl Handler {
    pub(crate) fn new(host: Host, version: &'static str, tools: Vec<Offered>) -> Self {
        let by_name = tools.iter().enumerate().map(|(index, offered)| (offered.tool.name.to_string(), index)).collect();
        Self { host, version, tools: Arc::new(tools), by_name: Arc::new(by_name) }
    }

    async fn run(&self, request: CallToolRequestParams, context: &RequestContext<RoleServer>) -> Result<Value> {
        let offered = self.by_name.get(request.name.as_ref()).and_then(|index| self.tools.get(*index));
        let offered = offered.ok_or_else(|| {
            Error::new(format!("{} has no tool {}", self.host.name(), request.name))
                .with_code(spec::caller::code::METHOD_NOT_FOUND)
        })?;
        let call = Call::new(&context.meta, context.peer.clone(), self.host.gateway().clone())?;
        offered.call(call, Value::Object(request.arguments.unwrap_or_default())).await
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new(self.host.name().as_str(), self.version);
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        let _busy = self.host.busy();
        Ok(ListToolsResult::with_all_items(self.tools.iter().map(|offered| offered.tool.clone()).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let _busy = self.host.busy();
        let name = request.name.clone();
        let inside = || Error::new(format!("{name} failed inside; the log of its Arc says why"));
        let result = tokio::select! {
            // A panic would leave the caller without an answer.
            result = AssertUnwindSafe(self.run(request, &context)).catch_unwind() => result.unwrap_or_else(|_| Err(inside())),
            // Dropping the tool's future drops the calls that it made, which cancels them in turn.
            () = context.ct.cancelled() => Err(Error::new(format!("{name} was cancelled"))),
        };
        Ok(match result {
            Ok(value) => CallToolResult::structured(value),
            Err(error) => failure(&name, &error),
        }
        .into())
    }
}

fn failure(name: &str, error: &Error) -> CallToolResult {
    match error.cause_chain() {
        Some(cause) => tracing::error!(tool = name, cause, "{error}"),
        None => tracing::debug!(tool = name, "{error}"),
    }
    let mut meta = MetaObject::default();
    meta.insert(FAILURE_KEY.to_owned(), json!(error.to_failure()));
    CallToolResult::error(vec![ContentBlock::text(error.message())]).with_meta(Some(meta))
}
