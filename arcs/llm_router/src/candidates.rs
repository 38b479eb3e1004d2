//! Which backends may answer a request, in which order.

use futures_util::future::join_all;
use kit::{Error, Result};

use crate::backend::{Backend, Listed};
use crate::failure::Failure;
use crate::request::Request;
use crate::router::Router;
use crate::settings::Kind;

/// A backend that may answer, and the model that it is to use.
pub(crate) struct Candidate<'r> {
    pub(crate) backend: &'r Backend,
    /// `None`: the first that the backend lists.
    pub(crate) model: Option<String>,
}

impl Candidate<'_> {
    /// The model's name, asked for where nobody names one. For what `is_private`, none that only seems to be on this
    /// machine: an Ollama passes some on to its maker's.
    pub(crate) async fn model(&self, router: &Router, is_private: bool) -> std::result::Result<String, Failure> {
        match &self.model {
            Some(model) if !is_private || self.backend.settings.kind != Kind::Ollama => return Ok(model.clone()),
            _ => {}
        }
        let models = self.backend.models(router.patience.list).await?;
        if let Some(model) = &self.model {
            let is_elsewhere = models.iter().any(|listed| is_model(&listed.name, model) && listed.is_elsewhere);
            return if is_elsewhere { Err(Failure::Private) } else { Ok(model.clone()) };
        }
        let none = || Failure::NoModel {
            words: "it has none at all; with Ollama: `luca-run llm.pull qwen2.5:1.5b`".to_owned(),
        };
        // One on this machine is preferred, whatever is asked.
        match models.into_iter().min_by_key(|listed| listed.is_elsewhere).ok_or_else(none)? {
            Listed { is_elsewhere: true, .. } if is_private => Err(Failure::Private),
            listed => Ok(listed.name),
        }
    }
}

/// Backend, model and address as an error names them.
impl std::fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.backend.name)?;
        if let Some(model) = &self.model {
            write!(f, " ({model})")?;
        }
        write!(f, " at {}", self.backend.settings.url.as_str().trim_end_matches('/'))
    }
}

/// The candidates for a request: those of its purpose; or, where it names a model, those that have it.
pub(crate) async fn candidates<'r>(router: &'r Router, request: &Request) -> Result<Vec<Candidate<'r>>> {
    let preferred = router.backends_for(request.purpose);
    let Some(model) = &request.model else {
        let of = |backend: &'r Backend| Candidate { backend, model: backend.settings.model.clone() };
        return Ok(preferred.into_iter().map(of).collect());
    };
    let is_other = |backend: &&Backend| !preferred.iter().any(|other| std::ptr::eq(*other, *backend));
    let all: Vec<&Backend> = preferred.iter().copied().chain(router.backends.iter().filter(is_other)).collect();
    let mut having: Vec<&Backend> =
        all.iter().copied().filter(|backend| backend.settings.model.as_ref() == Some(model)).collect();
    if having.is_empty() {
        having = listing(router, &all, model).await?;
    }
    Ok(having.into_iter().map(|backend| Candidate { backend, model: Some(model.clone()) }).collect())
}

/// The backends that say that they have `model`.
async fn listing<'r>(router: &Router, all: &[&'r Backend], model: &str) -> Result<Vec<&'r Backend>> {
    let lists = join_all(all.iter().map(|backend| backend.models(router.patience.list))).await;
    let mut known: Vec<String> = all.iter().filter_map(|backend| backend.settings.model.clone()).collect();
    known.extend(lists.iter().flatten().flatten().map(|listed| listed.name.clone()));
    let has = |list: &std::result::Result<Vec<Listed>, Failure>| {
        list.as_ref().is_ok_and(|all| all.iter().any(|listed| is_model(&listed.name, model)))
    };
    let having: Vec<&Backend> =
        all.iter().copied().zip(&lists).filter(|(_, list)| has(list)).map(|(backend, _)| backend).collect();
    if having.is_empty() {
        return Err(Error::invalid("/options/model", unknown(model, known)));
    }
    Ok(having)
}

/// Whether a backend that lists `name` means `wanted` by it. Ollama lists `smol:latest` for what is pulled as `smol`.
pub(crate) fn is_model(name: &str, wanted: &str) -> bool {
    name == wanted || name.strip_suffix(":latest") == Some(wanted)
}

fn unknown(model: &str, mut known: Vec<String>) -> String {
    /// Cloud providers list hundreds.
    const SHOWN: usize = 10;
    known.sort();
    known.dedup();
    let more = if known.len() > SHOWN { ", …" } else { "" };
    known.truncate(SHOWN);
    let model: String = model.chars().take(80).collect();
    format!("no backend has a model {model:?}; there are: {}{more} (llm.models tells their state)", known.join(", "))
}
