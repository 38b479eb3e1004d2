//! One Arc as the gateway sees it: its manifest, how its service is doing, its tools, and the connection to it.

mod ask;
mod connection;
mod introduction;
mod link;
mod received;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use spec::caller::{Caller, code};
use spec::control::ServiceInfo;
use spec::{Manifest, Transport};
use tokio::sync::watch;

use ask::Ask;
use link::{Link, Speech, in_words};
pub(crate) use received::Answer;

use crate::catalogue::Catalogue;
use crate::message::Fault;
use crate::notice::Progress;

/// How long a list of all tools waits for one Arc, which may have to be started for it: seconds on a small machine.
pub(crate) const WAIT_FOR_LIST: Duration = Duration::from_secs(15);

/// How long an Arc may take to list its tools, once it is started.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// An Arc lists its tools on so many pages at the most.
const PAGES: usize = 100;

/// So many bytes of tools, in all pages, are taken in.
const LIST_MOST: usize = 4 << 20;

/// An Arc.
pub(crate) struct ArcClient {
    manifest: Manifest,
    link: Arc<Link>,
}

impl ArcClient {
    pub(crate) fn new(manifest: Manifest, socket: PathBuf, changes: watch::Sender<u64>) -> Self {
        let link = Link::new(manifest.name.clone(), socket, Speech::of(&manifest), changes);
        Self { manifest, link: Arc::new(link) }
    }

    /// This Arc after its manifest was read anew: the connection stays where the socket did.
    pub(crate) fn renewed(&self, manifest: Manifest, socket: PathBuf) -> Self {
        if socket != self.link.socket || Speech::of(&manifest) != self.link.speech {
            self.retire();
            return Self::new(manifest, socket, self.link.changes.clone());
        }
        self.link.expect_other_tools();
        Self { manifest, link: Arc::clone(&self.link) }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it can have tools at all.
    pub(crate) fn has_tools(&self) -> bool {
        self.manifest.transport != Transport::None
    }

    /// Takes note of how the service is doing. What waits for a service that will not come is answered.
    pub(crate) fn set_service(&self, service: ServiceInfo) {
        self.link.set_service(service);
    }

    /// Ends the connection: the Arc is gone.
    pub(crate) fn retire(&self) {
        self.link.retire(&format!("{} was removed while it was working on this call", self.manifest.name));
    }

    /// The tools, asked from the Arc where they are not known, which starts it where it does not run.
    pub(crate) async fn catalogue(&self) -> Result<Arc<Catalogue>, Fault> {
        if !self.has_tools() {
            return Ok(Arc::default());
        }
        let cell = self.link.catalogue();
        cell.get_or_try_init(|| self.list()).await.cloned()
    }

    /// The tools as far as they are known without asking.
    pub(crate) fn known_catalogue(&self) -> Option<Arc<Catalogue>> {
        self.link.last_catalogue()
    }

    /// Calls a tool by its short name.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: &[u8],
        caller: &Caller,
        progress: Option<Progress>,
        timeout: Duration,
    ) -> Answer {
        let caller = serde_json::to_vec(caller).map_err(|error| Fault::new(code::INTERNAL, error.to_string()))?;
        let ask = Ask {
            method: "tools/call",
            members: &[format!("\"name\":\"{tool}\",\"arguments\":").as_bytes(), arguments, b","].concat(),
            meta: &[br#","llmbasedos/caller":"#, caller.as_slice()].concat(),
        };
        self.link.request(&ask, progress, timeout).await?.unwrap_or_else(|| {
            let (namespace, timeout) = (&self.manifest.namespace, in_words(timeout));
            let late = format!("{namespace}.{tool} did not answer within {timeout}, its time-out, and was cancelled");
            Err(Fault::new(code::INTERNAL, late))
        })
    }

    /// Where the tool with the short name `tool` stands. An Arc that was not running may have been changed meanwhile:
    /// it is asked again before the tool is said not to exist.
    pub(crate) async fn find(&self, tool: &str) -> Result<Option<(Arc<Catalogue>, usize)>, Fault> {
        let catalogue = self.catalogue().await?;
        if let Some(position) = catalogue.position(tool) {
            return Ok(Some((catalogue, position)));
        }
        if self.link.is_connected() || !self.has_tools() {
            return Ok(None);
        }
        self.link.forget_tools();
        let catalogue = self.catalogue().await?;
        Ok(catalogue.position(tool).map(|position| (catalogue, position)))
    }

    async fn list(&self) -> Result<Arc<Catalogue>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            tools: Vec<Map<String, Value>>,
            #[serde(default)]
            next_cursor: Option<String>,
        }
        let name = &self.manifest.name;
        let unusable = |why: String| Fault::new(code::INTERNAL, format!("{name} does not list its tools: {why}"));
        let timeout = self.manifest.start_timeout + LIST_TIMEOUT;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut cursor = None;
        for _ in 0..PAGES {
            let members =
                cursor.map(|cursor: String| format!("\"cursor\":{},", Value::from(cursor))).unwrap_or_default();
            let ask = Ask { method: "tools/list", members: members.as_bytes(), meta: b"" };
            let answer = self.link.request(&ask, None, timeout).await?;
            let late = || unusable(format!("no answer within {}", in_words(timeout)));
            let answer = answer.ok_or_else(late)??;
            bytes += answer.len();
            if bytes > LIST_MOST {
                return Err(unusable(format!("they take more than {} MiB", LIST_MOST >> 20)));
            }
            let page: Page = serde_json::from_slice(&answer).map_err(|error| unusable(error.to_string()))?;
            entries.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let catalogue = Catalogue::new(self.manifest.namespace.as_str(), entries);
        let catalogue = Arc::new(catalogue.map_err(|error| unusable(error.to_string()))?);
        self.link.remember(&catalogue);
        Ok(catalogue)
    }
}
