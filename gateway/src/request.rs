//! Which request means what: standard MCP and the dialect side by side.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use spec::caller::{CALLER_KEY, RunId, Who, code};
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use crate::arc::Answer;
use crate::dialect;
use crate::frame::End;
use crate::gateway::{Arguments, Gateway, Wish};
use crate::mcp::{self, Era};
use crate::message::{Fault, Request, part};
use crate::notice::{Notice, Progress};
use crate::outcome::Outcome;
use crate::registry::Provider;

/// The key in `_meta` of a call under which a caller may shorten the tool's time-out, in milliseconds.
const TIMEOUT_KEY: &str = "llmbasedos/timeout_ms";

/// What a session knows of the program at its other end.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// The revision that was agreed on by `initialize`.
    revision: Option<&'static str>,
    /// Whether it said that it is initialised.
    initialised: bool,
}

impl Peer {
    /// Whether it is told of changes: never one that speaks the dialect, which takes the first frame for its answer.
    pub(crate) const fn wants_changes(&self) -> bool {
        self.initialised
    }
}

/// Who asks, and what an answer needs.
pub(crate) struct Asker<'s> {
    pub(crate) gateway: &'s Arc<Gateway>,
    pub(crate) who: Who,
    pub(crate) notices: &'s mpsc::Sender<Notice>,
    pub(crate) end: End,
}

/// How a request is answered.
pub(crate) enum Reply {
    /// With this result.
    Now(Vec<u8>),
    /// With what this comes to.
    Later(Pin<Box<dyn Future<Output = Result<Bytes, Fault>> + Send>>),
    /// Not at all.
    Nothing,
}

impl Reply {
    fn later(work: impl Future<Output = Result<Bytes, Fault>> + Send + 'static) -> Result<Self, Fault> {
        Ok(Self::Later(Box::pin(work)))
    }

    fn now(result: &Value) -> Result<Self, Fault> {
        Ok(Self::Now(result.to_string().into_bytes()))
    }
}

/// The members of params that the gateway reads.
#[derive(Default, Deserialize)]
struct Params<'p> {
    #[serde(borrow, default)]
    name: Option<Cow<'p, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'p RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'p>>,
}

/// The members of `_meta` that the gateway reads.
#[derive(Default, Deserialize)]
struct Meta<'p> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Option<Cow<'p, str>>,
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'p RawValue>,
    #[serde(default, rename = "llmbasedos/caller")]
    caller: Option<RunClaim>,
    #[serde(default, rename = "llmbasedos/timeout_ms")]
    timeout_ms: Option<u64>,
}

/// The run in which an Arc says that it calls.
#[derive(Deserialize)]
struct RunClaim {
    run: RunId,
}

/// The id of the request that `request` cancels, as JSON, if it cancels one.
pub(crate) fn cancelled(request: &Request) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Cancelled<'p> {
        #[serde(borrow, rename = "requestId")]
        id: &'p RawValue,
    }
    if request.method != "notifications/cancelled" {
        return None;
    }
    let params = request.params.as_ref()?;
    let cancelled: Cancelled<'_> = serde_json::from_slice(params).ok()?;
    Some(part(params, cancelled.id))
}

/// Answers a request, or says why not.
pub(crate) fn answer(request: &Request, peer: &mut Peer, asker: Asker<'_>) -> Result<Reply, Fault> {
    let method = request.method.as_str();
    if let Some(tool) = method.strip_prefix(dialect::PREFIX) {
        return in_dialect(method, tool, request, asker);
    }
    if method.starts_with("notifications/") {
        peer.initialised |= method == "notifications/initialized" && peer.revision.is_some();
        return Ok(Reply::Nothing);
    }
    if method == "initialize" {
        let revision = mcp::negotiated(request.params.as_ref());
        peer.revision = Some(revision);
        return Reply::now(&mcp::initialize_result(revision));
    }
    if !mcp::METHODS.contains(&method) {
        return Err(mcp::unknown_method(method));
    }
    let params = params(request)?;
    let requested = params.meta.as_ref().and_then(|meta| meta.revision.as_deref());
    let era = mcp::era(requested, peer.revision)?;
    match method {
        "ping" => Reply::now(&json!({})),
        "server/discover" => Reply::now(&mcp::discover_result()),
        "tools/list" => {
            let (gateway, who) = (Arc::clone(asker.gateway), asker.who);
            Reply::later(async move { Ok(mcp::tools_list(&gateway.catalogues(&who).await, era).into()) })
        }
        _ => call_tool(request, &params, era, asker),
    }
}

fn params(request: &Request) -> Result<Params<'_>, Fault> {
    let Some(params) = &request.params else { return Ok(Params::default()) };
    if params.first() != Some(&b'{') {
        return Err(Fault::new(code::INVALID_PARAMS, format!("the params of {} must be an object", request.method)));
    }
    let unreadable = |error| {
        let hint = format!("see _meta: {CALLER_KEY} is {{\"run\": …}}, {TIMEOUT_KEY} a number");
        Fault::new(code::INVALID_PARAMS, format!("the params of {} cannot be read: {error} ({hint})", request.method))
    };
    serde_json::from_slice(params).map_err(unreadable)
}

fn call_tool(request: &Request, params: &Params<'_>, era: Era, asker: Asker<'_>) -> Result<Reply, Fault> {
    let name = params.name.as_deref();
    let tool = name.ok_or_else(|| Fault::new(code::INVALID_PARAMS, "tools/call: the tool's name is missing"))?;
    let all = request.params.as_ref();
    let arguments = match (params.arguments, all) {
        (Some(arguments), Some(all)) if arguments.get().starts_with('{') => part(all, arguments),
        (None, _) => Bytes::from_static(b"{}"),
        _ => return Err(Fault::new(code::INVALID_PARAMS, "tools/call: the arguments must be an object")),
    };
    let meta = params.meta.as_ref();
    let token = meta.and_then(|meta| meta.progress_token).filter(|token| !token.get().starts_with(['{', '[']));
    let progress = token.zip(all).map(|(token, all)| Progress {
        token: part(all, token),
        to: asker.notices.clone(),
        end: asker.end,
    });
    let wish = Wish {
        tool: tool.to_owned(),
        arguments: Arguments::Named(arguments),
        run: meta.and_then(|meta| meta.caller.as_ref()).map(|claim| claim.run.clone()),
        timeout: meta.and_then(|meta| meta.timeout_ms).map(Duration::from_millis),
        progress,
        unknown_tool: code::INVALID_PARAMS,
    };
    let (gateway, who) = (Arc::clone(asker.gateway), asker.who);
    Reply::later(async move {
        let result = gateway.call(&who, wish).await?;
        Ok(mcp::call_result(result, era))
    })
}

fn in_dialect(method: &str, tool: &str, request: &Request, asker: Asker<'_>) -> Result<Reply, Fault> {
    let (gateway, who) = (Arc::clone(asker.gateway), asker.who);
    match method {
        dialect::HELLO => return Reply::later(async move { hello(&gateway, &who).await }),
        dialect::LIST_CAPABILITIES => return Reply::later(async move { capabilities(&gateway, &who).await }),
        _ => {}
    }
    let wish = Wish {
        tool: tool.to_owned(),
        arguments: Arguments::Dialect(request.params.clone()),
        run: None,
        timeout: None,
        progress: None,
        unknown_tool: code::METHOD_NOT_FOUND,
    };
    Reply::later(async move { bare(&gateway.call(&who, wish).await?) })
}

/// The bare result in a tool's result.
fn bare(result: &[u8]) -> Answer {
    let outcome = Outcome::read(result)
        .map_err(|error| Fault::new(code::INTERNAL, format!("the tool's result cannot be read: {error}")))?;
    dialect::bare_result(&outcome).map(Bytes::from)
}

/// `mcp.hello`: a flat, sorted list of methods.
async fn hello(gateway: &Gateway, who: &Who) -> Answer {
    let catalogues = gateway.catalogues(who).await;
    let tools = catalogues.iter().flat_map(|visible| visible.tools());
    let mut methods: Vec<String> = tools.map(|tool| format!("{}{}", dialect::PREFIX, tool.full_name)).collect();
    methods.extend([dialect::HELLO.to_owned(), dialect::LIST_CAPABILITIES.to_owned()]);
    methods.sort_unstable();
    Ok(json!(methods).to_string().into())
}

/// `mcp.listCapabilities`: the services and their methods.
async fn capabilities(gateway: &Gateway, who: &Who) -> Answer {
    let catalogues = gateway.catalogues(who).await;
    let services = catalogues.iter().map(|visible| {
        let (name, description, version) = match &visible.provider {
            Provider::Own(own) => (own.namespace(), own.description(), env!("CARGO_PKG_VERSION")),
            Provider::Arc(arc) => {
                let manifest = arc.manifest();
                (manifest.namespace.as_str(), manifest.description.as_str(), manifest.version.as_str())
            }
        };
        let methods = visible.tools().map(|tool| {
            json!({
                "method": format!("{}{}", dialect::PREFIX, tool.full_name),
                "description": tool.description,
                "params_schema": tool.input_schema,
            })
        });
        json!({
            "service_name": name,
            "description": description,
            "version": version,
            "capabilities": methods.collect::<Vec<Value>>(),
        })
    });
    Ok(Value::Array(services.collect()).to_string().into())
}
