//! A model that runs in the machine itself: llama.cpp and weights on the data partition, and the service that is made of
//! them.
//!
//! The engine is Debian's, of the release that is to come: no other has it. Its libraries and their loader lie beside it,
//! for the system has none that it could meet. It chooses its code by the processor that it finds.
//!
//! | path on the data partition | what |
//! | --- | --- |
//! | `engine/` | `llama-server`, its libraries, their loader |
//! | `models/` | the weights |
//! | `arcs.d/llama_server.toml` | the service |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

use super::libraries::Gathering;
use super::packages::{Archive, Release};
use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::disk::{DataFile, write};
use crate::failure::Failure;
use crate::grants;
use crate::signals::Signals;
use crate::tables::{nested, table};
use crate::terminal::Terminal;
use crate::weights::{QWEN, Weights};

/// The package with the server, and the server.
const PACKAGE: &str = "llama.cpp-tools";
const SERVER: &str = "llama-server";
/// The name of the service that runs it.
const SERVICE: &str = "llama_server";
/// The libraries that the engine opens by itself begin so, one for each kind of processor.
const PLUGINS: &str = "libggml-cpu-";
/// What the loader of programs begins with.
const LOADER: &str = "ld-linux";
/// What is left free for what the service writes, in bytes.
const ROOM: u64 = 32 << 20;

/// The service. What begins with `%` is filled in.
const MANIFEST: &str = r#"# A model of this machine's own: `[arcs.llm_router.backends.local]` of llmbasedos.toml leads to it.
name = "llama_server"
version = "1"
description = "Runs %name with llama.cpp"
exec = [
    "/data/engine/%loader", "--library-path", "/data/engine", "/data/engine/llama-server",
    "--model", "/data/models/%file", "--alias", "%name", "--host", "127.0.0.1", "--port", "11434",
    "--ctx-size", "8192", "--parallel", "1", "--cache-ram", "256", "--no-ui", "--no-slots", "--offline",
]
activation = "boot"
transport = "none"
restart = "always"
[env]
# Threads that wait must not spin.
OMP_WAIT_POLICY = "passive"
[cage]
# In a network of its own; the router gets there through the gateway.
serves = 11434
# The loader is started as a program, and loads the rest.
allow = ["libraries", "runtime"]
proc = true
mounts = [{ path = "/data/engine", mode = "rx" }, { path = "/data/models" }]
memory_max = "1800M"
"#;

/// Engine and weights, ready to be copied.
#[derive(Debug)]
pub(super) struct LocalModel {
    /// The engine's files by their names.
    engine: BTreeMap<String, PathBuf>,
    weights: PathBuf,
}

impl LocalModel {
    /// Fetches what is not there yet.
    pub(super) fn provide(
        architecture: Architecture,
        cache: &Cache,
        day: &str,
        terminal: &Terminal,
        signals: &Signals,
    ) -> Result<Self, Failure> {
        let stage = terminal.stage("engine", "llama.cpp", "fetching");
        let lock = cache.lock(signals, || stage.doing("waiting for another that fetches"))?;
        let archive = Archive::open(cache, architecture, Release::Testing, day, signals)?;
        let gathering = Gathering::new(architecture, signals).with_plugins(PLUGINS);
        let engine = gathering.gather(&archive, PACKAGE, BTreeSet::from([SERVER.to_owned()]))?;
        drop(lock);
        stage.finish("ready");
        Ok(Self { engine, weights: QWEN.provide(cache, terminal, signals)? })
    }

    /// How much room it takes on the data partition, in MiB.
    pub(super) fn mib(&self) -> Result<u64, Failure> {
        let mut bytes = ROOM;
        for file in self.engine.values().chain([&self.weights]) {
            bytes += fs::metadata(file).map_err(|error| Failure::io("find", file, &error))?.len();
        }
        Ok(bytes.div_ceil(1 << 20))
    }

    /// What goes onto the data partition: the file, its path there, whether it is run.
    pub(super) fn files(&self, work: &Path) -> Result<Vec<DataFile>, Failure> {
        let loader = self.engine.keys().find(|name| name.starts_with(LOADER));
        let loader = loader.ok_or_else(|| Failure::new("the engine has no loader", "", "report this"))?;
        let Weights { file, name, .. } = QWEN;
        let manifest = work.join("llama_server.toml");
        write(&manifest, &MANIFEST.replace("%loader", loader).replace("%file", file).replace("%name", name))?;
        let engine = self.engine.iter().map(|(name, source)| {
            let is_run = name.starts_with(LOADER) || name == SERVER;
            (source.clone(), format!("engine/{name}"), is_run)
        });
        let others = [
            (self.weights.clone(), format!("models/{file}"), false),
            (manifest, "arcs.d/llama_server.toml".to_owned(), false),
        ];
        Ok(engine.chain(others).collect())
    }

    /// The router's backend for it, by its name.
    pub(super) fn backend() -> Table {
        let url = "http://127.0.0.1:11434";
        let mut backend = table([("kind", "openai"), ("url", url), ("model", QWEN.name), ("timeout", "600s")]);
        // Two at once share what processors there are, and both time out.
        backend.extend(table([("parallel", 1)]));
        nested(&["local"], backend)
    }

    /// What `llmbasedos.toml` says of it.
    pub(super) fn settings() -> String {
        let mut table = nested(&["arcs", "llm_router", "backends"], Self::backend());
        table.extend(nested(&["grants"], Self::grants()));
        table.to_string()
    }

    /// What goes with that in `[grants]`.
    pub(super) fn grants() -> Table {
        grants::with_server(&Self::backend(), SERVICE)
    }
}

#[cfg(test)]
mod tests {
    use spec::{Manifest, Origin};

    use super::*;

    #[test]
    fn the_service_is_a_sound_one_and_the_router_knows_its_model() {
        let manifest = MANIFEST.replace("%loader", "ld").replace("%file", QWEN.file).replace("%name", QWEN.name);
        Manifest::parse("llama_server.toml", &manifest, Origin::User).expect("sound");
        assert!(!manifest.contains('%'), "{manifest}");
        let backend = LocalModel::backend();
        assert_eq!(backend["local"]["model"].as_str(), Some(QWEN.name));
        assert_eq!(backend["local"]["url"].as_str(), Some("http://127.0.0.1:11434"));
    }
}
