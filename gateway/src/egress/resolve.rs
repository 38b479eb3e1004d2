//! From a name to addresses: by this machine's own name servers, never by the Arc's word.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

/// Where the name servers stand; written anew when the network changes.
const SERVERS: &str = "/etc/resolv.conf";
/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the name servers of this machine cannot be read from {SERVERS}")]
    NoServers,
    #[error("the name is not known, or no name server answers")]
    Unknown,
}

/// Asks name servers, with the answers kept for as long as they say.
#[derive(Default)]
pub(crate) struct Names {
    current: Mutex<Option<(Option<SystemTime>, Arc<TokioResolver>)>>,
}

impl Names {
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let resolver = self.resolver()?;
        // The dot at the end: no search among the domains of this network.
        let lookup = resolver.lookup_ip(format!("{name}."));
        match tokio::time::timeout(PATIENCE, lookup).await {
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(error)) => {
                tracing::debug!(name, %error, "not resolved");
                Err(ResolveError::Unknown)
            }
            Err(_) => Err(ResolveError::Unknown),
        }
    }

    /// The resolver for the name servers of now.
    fn resolver(&self) -> Result<Arc<TokioResolver>, ResolveError> {
        let written = std::fs::metadata(SERVERS).and_then(|metadata| metadata.modified()).ok();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, resolver)) = &*current
            && *at == written
        {
            return Ok(Arc::clone(resolver));
        }
        let mut builder = TokioResolver::builder_tokio().map_err(|_| ResolveError::NoServers)?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = Arc::new(builder.build().map_err(|_| ResolveError::NoServers)?);
        *current = Some((written, Arc::clone(&resolver)));
        Ok(resolver)
    }
}
