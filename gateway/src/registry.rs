//! All that can be called: the Arcs that init told of, and the gateway's own tools.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use spec::control::ServiceInfo;
use spec::{Manifest, Name};
use tokio::sync::watch;

use crate::arc::{ArcClient, WAIT_FOR_LIST};
use crate::catalogue::Catalogue;
use crate::own::Own;

/// How long other Arcs may take to list their tools for a hint.
const HINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Who offers the tools of a namespace.
#[derive(Clone)]
pub(crate) enum Provider {
    /// An Arc.
    Arc(Arc<ArcClient>),
    /// The gateway itself.
    Own(Arc<Own>),
}

/// What can be called.
pub(crate) struct Registry {
    own: Vec<Arc<Own>>,
    arcs: RwLock<Arc<Arcs>>,
    /// The last that init said of each service, for Arcs that appear later.
    services: RwLock<HashMap<Name, ServiceInfo>>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Arcs {
    by_name: BTreeMap<Name, Arc<ArcClient>>,
    /// By namespace and alias.
    by_namespace: HashMap<String, Arc<ArcClient>>,
}

impl Registry {
    /// A registry with the gateway's own tools alone.
    pub(crate) fn new(own: Vec<Own>) -> Self {
        let own = own.into_iter().map(Arc::new).collect();
        Self { own, arcs: RwLock::default(), services: RwLock::default(), changes: watch::Sender::new(0) }
    }

    /// Tells of each change of what there is.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes in an Arc, or its new manifest.
    pub(crate) fn add(&self, manifest: Manifest, socket: PathBuf) {
        let name = manifest.name.clone();
        let arc = match self.arc(&name) {
            Some(old) => old.renewed(manifest, socket),
            None => ArcClient::new(manifest, socket, self.changes.clone()),
        };
        let service = self.services.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(service) = service {
            arc.set_service(service);
        }
        self.rebuild(|by_name| {
            by_name.insert(name, Arc::new(arc));
        });
    }

    /// Forgets an Arc; its calls in flight are answered with an error.
    pub(crate) fn remove(&self, name: &Name) {
        if let Some(arc) = self.arc(name) {
            self.rebuild(|by_name| {
                by_name.remove(name);
            });
            arc.retire();
        }
    }

    /// Takes note of how a service is doing.
    pub(crate) fn set_service(&self, service: ServiceInfo) {
        if let Some(arc) = self.arc(&service.name) {
            arc.set_service(service.clone());
        }
        self.services.write().unwrap_or_else(PoisonError::into_inner).insert(service.name.clone(), service);
    }

    /// The same, unless something was heard of the service before: what comes unasked is newer than an answer.
    pub(crate) fn learn_service(&self, service: ServiceInfo) {
        let is_known = self.services.read().unwrap_or_else(PoisonError::into_inner).contains_key(&service.name);
        if !is_known {
            self.set_service(service);
        }
    }

    /// The Arc called `name`.
    pub(crate) fn arc(&self, name: &Name) -> Option<Arc<ArcClient>> {
        self.snapshot().by_name.get(name).cloned()
    }

    /// All Arcs, by name.
    pub(crate) fn arcs(&self) -> Vec<Arc<ArcClient>> {
        self.snapshot().by_name.values().cloned().collect()
    }

    /// Who offers the tools of `namespace`, which may be an alias.
    pub(crate) fn provider(&self, namespace: &str) -> Option<Provider> {
        let own = self.own.iter().find(|own| own.namespace() == namespace).cloned();
        own.map(Provider::Own).or_else(|| self.snapshot().by_namespace.get(namespace).cloned().map(Provider::Arc))
    }

    /// Everything that offers tools: the gateway itself, then the Arcs by name, each with its tools. An Arc that does
    /// not answer in time is left out.
    pub(crate) async fn catalogues(&self) -> Vec<(Provider, Arc<Catalogue>)> {
        self.catalogues_within(None).await
    }

    /// The full names of all tools, for hints: as known from before where that will do.
    pub(crate) async fn names(&self) -> Vec<String> {
        let catalogues = self.catalogues_within(Some(HINT_TIMEOUT)).await;
        let names = |catalogue: &Catalogue| -> Vec<String> {
            catalogue.tools().iter().map(|tool| tool.full_name.clone()).collect()
        };
        catalogues.iter().flat_map(|(_, catalogue)| names(catalogue)).collect()
    }

    /// For a `hint` what is known will do, and nobody is waited for longer than that. A list has time for Arcs that must
    /// be started for it, which on a small machine takes seconds.
    async fn catalogues_within(&self, hint: Option<Duration>) -> Vec<(Provider, Arc<Catalogue>)> {
        let own = self.own.iter().map(|own| (Provider::Own(Arc::clone(own)), own.catalogue()));
        let snapshot = self.snapshot();
        let has_namespace = |arc: &Arc<ArcClient>| {
            let owner = snapshot.by_namespace.get(arc.manifest().namespace.as_str());
            owner.is_some_and(|owner| Arc::ptr_eq(owner, arc))
        };
        let arcs: Vec<Arc<ArcClient>> = snapshot.by_name.values().filter(|arc| has_namespace(arc)).cloned().collect();
        let listed = arcs.into_iter().map(async |arc| {
            if let Some(known) = arc.known_catalogue().filter(|_| hint.is_some()) {
                return Some((Provider::Arc(arc), known));
            }
            let timeout = hint.unwrap_or(WAIT_FOR_LIST);
            let listed = tokio::time::timeout(timeout, arc.catalogue()).await;
            let name = &arc.manifest().name;
            match listed {
                Ok(Ok(catalogue)) => Some((Provider::Arc(arc), catalogue)),
                Ok(Err(fault)) => {
                    tracing::warn!(arc = %name, reason = fault.message, "left out of the list of tools");
                    None
                }
                Err(_) => {
                    tracing::warn!(arc = %name, "left out of the list of tools: it does not answer in time");
                    None
                }
            }
        });
        own.chain(join_all(listed).await.into_iter().flatten()).collect()
    }

    fn snapshot(&self) -> Arc<Arcs> {
        Arc::clone(&self.arcs.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn rebuild(&self, change: impl FnOnce(&mut BTreeMap<Name, Arc<ArcClient>>)) {
        let mut arcs = self.arcs.write().unwrap_or_else(PoisonError::into_inner);
        let mut by_name = arcs.by_name.clone();
        change(&mut by_name);
        let by_namespace = self.namespaces(&by_name);
        *arcs = Arc::new(Arcs { by_name, by_namespace });
        drop(arcs);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Which Arc each namespace and alias belongs to: the gateway's own are its own, namespaces go before aliases, and
    /// of two Arcs that claim one the first by name has it.
    fn namespaces(&self, by_name: &BTreeMap<Name, Arc<ArcClient>>) -> HashMap<String, Arc<ArcClient>> {
        let mut by_namespace: HashMap<String, Arc<ArcClient>> = HashMap::new();
        let main = by_name.values().map(|arc| (&arc.manifest().namespace, arc));
        let aliases = by_name.values().flat_map(|arc| arc.manifest().aliases.iter().map(move |alias| (alias, arc)));
        for (namespace, arc) in main.chain(aliases).filter(|(_, arc)| arc.has_tools()) {
            let namespace = namespace.as_str();
            let name = &arc.manifest().name;
            let owner = by_namespace.get(namespace).map(|other| other.manifest().name.as_str());
            let is_own = self.own.iter().any(|own| own.namespace() == namespace);
            match owner.or(is_own.then_some("gateway")) {
                Some(owner) if owner == name.as_str() => {}
                Some(owner) => {
                    tracing::warn!(arc = %name, namespace, owner, "its tools are not offered there: the namespace is taken");
                }
                None => {
                    by_namespace.insert(namespace.to_owned(), Arc::clone(arc));
                }
            }
        }
        by_namespace
    }
}
