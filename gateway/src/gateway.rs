//! What all sessions share, and the way of one tool call through it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use spec::caller::{Caller, RunId, Who, code};
use spec::{Label, Name};
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arc::{Answer, ArcClient};
use crate::audit::{Audit, Entry};
use crate::catalogue::{Catalogue, Tool};
use crate::control::Control;
use crate::curtain::Curtain;
use crate::dialect;
use crate::message::{Fault, on_one_line};
use crate::notice::Progress;
use crate::own;
use crate::policy::{self, Decision};
use crate::registry::{Provider, Registry};
use crate::run::Runs;

/// What all sessions share.
pub(crate) struct Gateway {
    pub(crate) registry: Registry,
    pub(crate) runs: Arc<Runs>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) control: Control,
    /// Hides secrets in errors.
    pub(crate) curtain: Curtain,
    /// Cancelled when the gateway stops.
    pub(crate) stop: CancellationToken,
    /// The sessions, to be waited for when the gateway stops.
    pub(crate) sessions: TaskTracker,
}

/// A tool call as a caller asks for it.
pub(crate) struct Wish {
    /// The tool's full name; its namespace may be an alias.
    pub(crate) tool: String,
    /// What is given to it.
    pub(crate) arguments: Arguments,
    /// The run that the caller says it calls in.
    pub(crate) run: Option<RunId>,
    /// A time-out of the caller's own; the tool's is not exceeded.
    pub(crate) timeout: Option<Duration>,
    /// Where progress goes, if it is wanted.
    pub(crate) progress: Option<Progress>,
    /// The error code for a tool that there is not.
    pub(crate) unknown_tool: i32,
}

/// The arguments of a call, as JSON.
pub(crate) enum Arguments {
    /// An object, by name.
    Named(Bytes),
    /// Params of the dialect, by name or by position.
    Dialect(Option<Bytes>),
}

/// A tool that was found.
struct Target {
    provider: Provider,
    catalogue: Arc<Catalogue>,
    position: usize,
}

impl Target {
    fn tool(&self) -> Option<&Tool> {
        self.catalogue.tools().get(self.position)
    }

    fn arc(&self) -> Option<&Arc<ArcClient>> {
        match &self.provider {
            Provider::Arc(arc) => Some(arc),
            Provider::Own(_) => None,
        }
    }

    fn worker(&self) -> Option<&Name> {
        self.arc().map(|arc| &arc.manifest().name)
    }

    /// The label on what it returns. What init says is the owner's own: logs name files and topics.
    fn label(&self, tool: &Tool) -> Label {
        self.arc().map_or(Label::Private, |arc| arc.manifest().label_of(&tool.name))
    }
}

impl Gateway {
    /// Makes a call for `who`, and writes it down. Dropping the future cancels the call.
    pub(crate) async fn call(&self, who: &Who, wish: Wish) -> Answer {
        let mut entry = self.audit.open(who, &wish.tool);
        let answer = self.judge_and_forward(who, wish, &mut entry).await;
        entry.finish(&answer).await;
        answer
    }

    async fn judge_and_forward(&self, who: &Who, wish: Wish, entry: &mut Entry<'_>) -> Answer {
        let target = self.find(who, &wish.tool, wish.unknown_tool).await?;
        let tool = target.tool().ok_or_else(|| Fault::new(code::INTERNAL, "the tool is gone: try again"))?;
        let arguments = match &wish.arguments {
            Arguments::Named(arguments) => arguments.clone(),
            Arguments::Dialect(params) => dialect::arguments(params.as_ref(), &tool.full_name, &tool.parameters)?,
        };
        let arguments = on_one_line(arguments);
        let place = self.runs.enter(who, wish.run.as_ref(), target.worker())?;
        let labels = place.labels();
        entry.describe(&tool.full_name, &arguments, place.id(), &labels);
        tracing::debug!(%who, run = %place.id(), tool = tool.full_name, "call");
        // However the call ends: progress and errors tell of the data as well.
        let touched = place.touch_at_end(target.label(tool));
        let answer = match target.arc() {
            None => own::run(self, &tool.full_name, &arguments).await,
            Some(arc) => {
                let caller = Caller { who: who.clone(), run: place.id().clone(), labels };
                let of_tool = arc.manifest().timeout_of(&tool.name);
                let timeout = wish.timeout.map_or(of_tool, |timeout| timeout.min(of_tool));
                arc.call(&tool.name, &arguments, &caller, wish.progress, timeout).await
            }
        };
        drop(touched);
        // What the gateway itself refuses holds nothing but the caller's own words: hidden, they would tell a caller which
        // of its guesses is a secret.
        self.curtain.hide(answer)
    }

    /// Finds the tool called `name`, if `who` may call it.
    async fn find(&self, who: &Who, name: &str, unknown_tool: i32) -> Result<Target, Fault> {
        let found = name.split_once('.').and_then(|(namespace, tool)| Some((self.registry.provider(namespace)?, tool)));
        if let Some((provider, tool)) = found {
            let full_name = canonical(&provider, tool, name);
            if let Decision::Forbid(why) = policy::decide(&self.registry, who, &full_name) {
                return Err(Fault::new(code::PERMISSION, why));
            }
            let place = match &provider {
                Provider::Arc(arc) => arc.find(tool).await?,
                Provider::Own(own) => own.catalogue().position(tool).map(|position| (own.catalogue(), position)),
            };
            if let Some((catalogue, position)) = place {
                return Ok(Target { provider, catalogue, position });
            }
        }
        Err(self.unknown_tool(who, name, unknown_tool).await)
    }

    /// There is no such tool: says which are spelled much like it.
    async fn unknown_tool(&self, who: &Who, name: &str, code: i32) -> Fault {
        let shown: String = name.chars().take(100).collect();
        let names = self.registry.names().await;
        let names = names.iter().map(String::as_str);
        let may_call = |name: &&str| policy::decide(&self.registry, who, name) == Decision::Permit;
        let hint = spec::close_to(&shown, names.filter(may_call));
        Fault::new(code, format!("there is no tool {shown}{hint}"))
    }

    /// Everything that `who` may call, in a fixed order: the gateway's own tools, then the Arcs' by name.
    pub(crate) async fn catalogues(&self, who: &Who) -> Vec<Visible> {
        let all = self.registry.catalogues().await;
        let visible = |(provider, catalogue): (Provider, Arc<Catalogue>)| {
            let may_call = |tool: &Tool| policy::decide(&self.registry, who, &tool.full_name) == Decision::Permit;
            let positions = (0..).zip(catalogue.tools()).filter(|(_, tool)| may_call(tool)).map(|(at, _)| at).collect();
            Visible { provider, catalogue, positions }
        };
        all.into_iter().map(visible).filter(|visible| !visible.positions.is_empty()).collect()
    }
}

/// The tools of one provider that a caller may call.
pub(crate) struct Visible {
    pub(crate) provider: Provider,
    catalogue: Arc<Catalogue>,
    positions: Vec<usize>,
}

impl Visible {
    pub(crate) fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.positions.iter().filter_map(|&position| self.catalogue.tools().get(position))
    }
}

/// The full name of `tool`, with the namespace that the Arc has and not an alias of it.
fn canonical<'n>(provider: &Provider, tool: &str, name: &'n str) -> Cow<'n, str> {
    match provider {
        Provider::Own(_) => Cow::Borrowed(name),
        Provider::Arc(arc) => Cow::Owned(format!("{}.{tool}", arc.manifest().namespace)),
    }
}
