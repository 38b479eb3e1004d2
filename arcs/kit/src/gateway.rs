//! Calling other tools through the gateway.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation,
    MetaObject, ProgressNotificationParam, ProgressToken, ProtocolVersion, RequestMetaObject, ServerResult,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, PeerRequestOptions, RequestHandle, RunningService,
};
use rmcp::{ClientHandler, Peer, RoleClient, ServiceError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use spec::Name;
use spec::caller::{CALLER_KEY, FAILURE_KEY, RunId, STREAM_KEY};
use tokio::net::UnixStream;

use crate::error::{Error, Result};

/// What a tool reports while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing, or the next piece of text.
    pub message: String,
    /// How far, of how many.
    pub part: Option<(u32, u32)>,
    /// Whether the message is the next piece of a text that is being written.
    pub is_stream: bool,
}

/// The way to other tools. Connects at the first call, and again when the gateway was started anew. Clones share the
/// connection.
#[derive(Clone)]
pub struct Gateway {
    path: Arc<PathBuf>,
    watchers: Watchers,
    connection: Arc<tokio::sync::Mutex<Option<RunningService<RoleClient, Watchers>>>>,
}

impl Gateway {
    pub(crate) fn new(path: PathBuf, name: &Name, version: &'static str) -> Self {
        let info = ClientConfig::new(ClientCapabilities::default(), Implementation::new(name.as_str(), version));
        let watchers = Watchers { info, by_token: Arc::default() };
        Self { path: Arc::new(path), watchers, connection: Arc::default() }
    }

    /// Calls a tool outside of any call, in a run of its own, and reads its result as `T`. Dropping the future cancels
    /// the call.
    ///
    /// # Errors
    /// What that tool, or the gateway on the way to it, says; or its result is not a `T`.
    pub async fn tool<T: DeserializeOwned>(&self, tool: &str, arguments: &impl Serialize) -> Result<T> {
        self.call(tool, arguments, None, |_| {}).await
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        tool: &str,
        arguments: &impl Serialize,
        run: Option<&RunId>,
        on_progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<T> {
        let request = CallToolRequest::new(params(tool, serde_json::to_value(arguments), run)?);
        let value = self.exchange(tool, request, Arc::new(on_progress)).await?;
        serde_path_to_error::deserialize(value).map_err(|error| {
            Error::new(format!("{tool} answered something unexpected at {}", error.path())).caused_by(error)
        })
    }

    /// Boxed for the reason that [`run`](crate::run) has.
    fn exchange<'g>(
        &'g self,
        tool: &'g str,
        request: CallToolRequest,
        watcher: Watcher,
    ) -> BoxFuture<'g, Result<Value>> {
        Box::pin(async move {
            let peer = self.peer().await?;
            let handle = peer
                .send_cancellable_request(request.into(), PeerRequestOptions::no_options())
                .await
                .map_err(|error| failed(tool, error))?;
            let answer = Pending::new(handle, self.watchers.clone(), watcher).answer().await;
            match answer.map_err(|error| failed(tool, error))? {
                ServerResult::CallToolResult(result) => value(tool, &result),
                _ => Err(Error::new(format!("{tool} did not answer with a tool's result"))),
            }
        })
    }

    /// The connection, made anew where there is none or the last one has ended.
    async fn peer(&self) -> Result<Peer<RoleClient>> {
        let mut connection = self.connection.lock().await;
        if let Some(running) = connection.as_ref().filter(|running| !running.is_transport_closed()) {
            return Ok(running.peer().clone());
        }
        let unreachable = || Error::new("the gateway cannot be reached; it is being started again: try again");
        let stream = UnixStream::connect(self.path.as_path()).await.map_err(|error| unreachable().caused_by(error))?;
        let lifecycle = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        let running = self
            .watchers
            .clone()
            .serve_with_lifecycle(stream, lifecycle)
            .await
            .map_err(|error| unreachable().caused_by(error))?;
        Ok(connection.insert(running).peer().clone())
    }
}

fn params(tool: &str, arguments: serde_json::Result<Value>, run: Option<&RunId>) -> Result<CallToolRequestParams> {
    let mut params = CallToolRequestParams::new(tool.to_owned());
    params.arguments = match arguments {
        Ok(Value::Object(arguments)) => Some(arguments),
        Ok(_) => return Err(Error::new(format!("the arguments of {tool} must be an object"))),
        Err(error) => return Err(Error::new(format!("the arguments of {tool} cannot be written")).caused_by(error)),
    };
    if let Some(run) = run {
        let mut meta = MetaObject::default();
        meta.insert(CALLER_KEY.to_owned(), json!({ "run": run }));
        params.meta = Some(RequestMetaObject(meta));
    }
    Ok(params)
}

fn failed(tool: &str, error: ServiceError) -> Error {
    match error {
        ServiceError::McpError(error) => Error::new(error.message.into_owned()).with_code(error.code.0),
        error => {
            Error::new(format!("{tool} was not answered: the gateway ended meanwhile; try again")).caused_by(error)
        }
    }
}

/// What a tool answered, as it stands in its structured content or in its text.
fn value(tool: &str, result: &CallToolResult) -> Result<Value> {
    let text = || result.content.iter().find_map(|block| block.as_text()).map(|text| text.text.clone());
    if result.is_error == Some(true) {
        let failure = result.meta.as_ref().and_then(|meta| meta.get(FAILURE_KEY)).cloned();
        return Err(match failure.and_then(|failure| serde_json::from_value::<spec::caller::Failure>(failure).ok()) {
            Some(failure) => failure.into(),
            None => Error::new(text().unwrap_or_else(|| format!("{tool} failed and does not say why"))),
        });
    }
    Ok(match result.structured_content.clone() {
        Some(value) => value,
        None => text().map_or(Value::Null, |text| serde_json::from_str(&text).unwrap_or(Value::String(text))),
    })
}

type Watcher = Arc<dyn Fn(Progress) + Send + Sync>;

/// Who wants to hear of the progress of which call.
#[derive(Clone)]
struct Watchers {
    info: ClientConfig,
    by_token: Arc<Mutex<HashMap<ProgressToken, Watcher>>>,
}

impl ClientHandler for Watchers {
    fn get_info(&self) -> ClientConfig {
        self.info.clone()
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        let watcher = self.by_token.lock().unwrap_or_else(PoisonError::into_inner).get(&params.progress_token).cloned();
        let Some(watcher) = watcher else { return };
        let is_stream = params.meta.as_ref().is_some_and(|meta| meta.0.get(STREAM_KEY) == Some(&Value::Bool(true)));
        let part = params.total.map(|total| (whole(params.progress), whole(total)));
        watcher(Progress { message: params.message.unwrap_or_default(), part, is_stream });
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the type's bounds")]
fn whole(number: f64) -> u32 {
    number.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// A call that waits for its answer; cancelled when it is dropped before.
struct Pending {
    handle: Option<RequestHandle<RoleClient>>,
    token: ProgressToken,
    watchers: Watchers,
}

impl Pending {
    fn new(handle: RequestHandle<RoleClient>, watchers: Watchers, watcher: Watcher) -> Self {
        let token = handle.progress_token.clone();
        watchers.by_token.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), watcher);
        Self { handle: Some(handle), token, watchers }
    }

    async fn answer(mut self) -> std::result::Result<ServerResult, ServiceError> {
        let Some(handle) = self.handle.as_mut() else { return Err(ServiceError::TransportClosed) };
        let answer = (&mut handle.rx).await;
        self.handle = None;
        answer.map_err(|_| ServiceError::TransportClosed)?
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.watchers.by_token.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
        let Some(handle) = self.handle.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle.cancel(Some("no longer wanted".to_owned())).await });
        }
    }
}
