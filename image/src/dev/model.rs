//! Which model this system thinks with, and what must be there for it.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spec::SystemConfig;
use spec::control::ServiceState;

use crate::cache::Cache;
use crate::cli::{DevOptions, ModelSource};
use crate::dev::engine::Engine;
use crate::dev::probe::{self, Kind, Served};
use crate::dev::system::{System, describe_trouble};
use crate::failure::{Failure, plain};
use crate::http::Url;
use crate::progress;
use crate::signals::Signals;
use crate::terminal::Terminal;
use crate::weights::QWEN;

/// The model of this system.
#[derive(Debug)]
pub(crate) enum Model {
    /// None: whoever needs one fails.
    None,
    /// What the owner wrote in `<data>/llmbasedos.toml`.
    Configured,
    /// One that a server offers already.
    Served(Served),
    /// One that runs here, as a service of this system.
    Local(Local),
}

/// A model that runs here.
#[derive(Debug)]
pub(crate) struct Local {
    /// What runs it.
    pub(crate) engine: Engine,
    /// The GGUF file.
    pub(crate) weights: PathBuf,
    /// The model's name.
    pub(crate) name: String,
    /// The port that its server listens on, on loopback.
    pub(crate) port: u16,
}

/// The service's name.
pub(crate) const SERVER: &str = "llama_server";

/// How long weights may take to load: gigabytes from a slow disk.
const LOADING_MAX: Duration = Duration::from_secs(300);

impl Model {
    /// What the user asked for, or the best that is there; fetched where it must be.
    pub(crate) fn choose(
        options: &DevOptions,
        owner: &SystemConfig,
        terminal: &Terminal,
        signals: &Signals,
    ) -> Result<Self, Failure> {
        match &options.model {
            _ if options.no_model => Ok(Self::None),
            Some(ModelSource::Server(url)) => probe::server(url).map(Self::Served),
            Some(ModelSource::File(path)) => {
                check_gguf(path)?;
                let name = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
                let weights = std::path::absolute(path).map_err(|error| Failure::io("find", path, &error))?;
                let cache = Cache::find()?;
                let engine = Engine::find(&cache, signals)?;
                Local::with(engine, weights, name, &cache, terminal, signals)
            }
            None if owner.arcs.keys().any(|arc| arc.as_str() == "llm_router") => Ok(Self::Configured),
            None => Self::best(terminal, signals),
        }
    }

    fn best(terminal: &Terminal, signals: &Signals) -> Result<Self, Failure> {
        let stated = std::env::var("OLLAMA_HOST").ok().filter(|host| !host.is_empty());
        match probe::ollama(stated.as_deref()) {
            Ok(Some(served)) => return Ok(Self::Served(served)),
            Ok(None) => {}
            Err(why) => terminal.note("model", &format!("{why}; using {} here", QWEN.title)),
        }
        let cache = Cache::find()?;
        // Whether a model can run here is known before half a gigabyte is fetched.
        let engine = Engine::find(&cache, signals)?;
        let weights = QWEN.provide(&cache, terminal, signals)?;
        Local::with(engine, weights, QWEN.name.to_owned(), &cache, terminal, signals)
    }

    /// The model in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::None => "no model".to_owned(),
            Self::Configured => "model as in llmbasedos.toml".to_owned(),
            Self::Served(Served { kind: Kind::Ollama, url, model }) => format!("{model} on Ollama at {url}"),
            Self::Served(Served { kind: Kind::OpenAi, url, model }) => format!("{model} at {url}"),
            Self::Local(local) => format!("{} on llama.cpp", local.name),
        }
    }

    /// Waits until a model that runs here is loaded.
    pub(crate) fn wait(&self, system: &System, terminal: &Terminal, signals: &Signals) -> Result<(), Failure> {
        let Self::Local(local) = self else { return Ok(()) };
        let begun = Instant::now();
        let mut stage = None;
        loop {
            signals.check()?;
            let services = system.services().unwrap_or_default();
            let server = services.iter().find(|service| service.name.as_str() == SERVER);
            // What `llama_server.py` says of itself: nobody else gets to its port but through the gateway.
            if server.is_some_and(|server| server.reason.as_deref() == Some("loaded")) {
                break;
            }
            let why = match server.filter(|server| server.state == ServiceState::Failed) {
                Some(failed) => Some(describe_trouble(failed)),
                None if begun.elapsed() > LOADING_MAX => {
                    Some(format!("it did not load {} in {} s", local.weights.display(), LOADING_MAX.as_secs()))
                }
                None => None,
            };
            if let Some(why) = why {
                let todo = format!("see log/{SERVER}.log in the data folder; --model names another model");
                return Err(Failure::new("the model server is of no use", why, todo));
            }
            if begun.elapsed() > Duration::from_secs(1) {
                let stage = stage.get_or_insert_with(|| terminal.stage("model", &local.name, "loading"));
                stage.progress(&format!("loading   {}", progress::span(begun.elapsed().as_secs().into())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Some(stage) = stage {
            stage.finish(&format!("loaded in {}", progress::span(begun.elapsed().as_secs().into())));
        }
        Ok(())
    }
}

impl Local {
    fn with(
        engine: Engine,
        weights: PathBuf,
        name: String,
        cache: &Cache,
        terminal: &Terminal,
        signals: &Signals,
    ) -> Result<Model, Failure> {
        engine.provide(cache, terminal, signals)?;
        Ok(Model::Local(Self { engine, weights, name, port: free_port()? }))
    }

    /// Where its server answers.
    pub(crate) fn url(&self) -> Url {
        Url::loopback(self.port)
    }
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| {
        Failure::new("there is no port for the model server", plain(&error), "see that the loopback interface is up")
    })
}

/// Refuses a file that is no GGUF before a server is started on it (its first bytes: `gguf.md` of ggml).
fn check_gguf(path: &Path) -> Result<(), Failure> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    let why = match read {
        Ok(()) if magic == *b"GGUF" => return Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => plain(&error),
        _ => "it is no GGUF file".to_owned(),
    };
    Err(Failure::new(
        format!("cannot use --model {}", path.display()),
        why,
        "name a model in GGUF format, or leave --model away",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gguf_file_is_a_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.gguf");
        let why = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            check_gguf(&path).map_err(|failure| failure.to_string())
        };
        assert_eq!(why(b"GGUF\x03\0\0\0"), Ok(()));
        assert!(why(b"PK\x03\x04").expect_err("a zip").ends_with("it is no GGUF file"));
        assert!(why(b"GG").expect_err("short").ends_with("it is no GGUF file"));
        let missing = check_gguf(&folder.path().join("no.gguf")).expect_err("not there").to_string();
        assert!(missing.ends_with("no such file or directory"), "{missing}");
    }
}
