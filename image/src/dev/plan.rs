//! What init is told: the folders with manifests, the configuration files, the model server's manifest.
//!
//! | path | what |
//! | --- | --- |
//! | `<data>/run/dev/manifests/llama_server.toml` | the model server, where one runs here |
//! | `<data>/run/dev/llama_server.py` | the program that it runs |
//! | `<data>/keys/llama_server.key` | what it asks for; only the router reads it |
//! | `<data>/run/dev/llmbasedos.toml` | where sites are served |
//! | `<data>/run/dev/model.toml` | which model the router asks |
//! | `<data>/llmbasedos.toml` | what the owner wrote; wins over both, but `--model` wins over it |
//! | `<data>/run/dev/init.log` | what init says; the services have `<data>/log/` |

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use spec::SystemConfig;
use toml::Table;

use crate::cache::{make_folder, remove_folder};
use crate::cli::DevOptions;
use crate::dev::model::{Local, Model, SERVER};
use crate::dev::probe::{Kind, Served};
use crate::failure::Failure;
use crate::grants;
use crate::key;
use crate::repository::Repository;
use crate::tables::{nested, table};
use crate::terminal::Form;

/// The model server's program, in Python as the engine is.
const SCRIPT: &str = "llama_server.py";

/// Where it lies in the data folder, as the router's manifest has it.
const KEYS: &str = "keys";
/// The file with the key that the model server asks for: any page in a browser here could reach its port.
const KEY: &str = "llama_server.key";

/// Where the gateway listens unless something else is said.
const GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

/// What init is started with.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The data folder, absolute.
    pub(crate) data: PathBuf,
    /// The folders with manifests.
    pub(crate) manifests: Vec<PathBuf>,
    /// The configuration files; a later one wins.
    pub(crate) configs: Vec<PathBuf>,
    /// The gateway's WebSocket, where the command line names it.
    pub(crate) listen: Option<SocketAddr>,
    /// Where sites are served.
    pub(crate) sites: SocketAddr,
}

/// The owner's configuration of a data folder.
pub(crate) fn owner_config_path(data: &Path) -> PathBuf {
    data.join("llmbasedos.toml")
}

/// Reads the owner's configuration; none is an empty one.
pub(crate) fn owner_config(data: &Path, form: Form) -> Result<SystemConfig, Failure> {
    let path = owner_config_path(data);
    let source = match fs::read_to_string(&path) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(SystemConfig::default()),
        Err(error) => return Err(Failure::io("read", &path, &error)),
    };
    SystemConfig::parse(&path.display().to_string(), &source).map_err(|problems| {
        let why = match form {
            Form::Lines => problems.to_string(),
            Form::Picture { colour } => problems.picture(colour),
        };
        Failure::new("the configuration is broken", why, "mend it and run this again")
    })
}

/// The folder of what is written for one run.
pub(crate) fn dev_folder(data: &Path) -> PathBuf {
    data.join("run/dev")
}

fn manifests_folder(data: &Path) -> PathBuf {
    dev_folder(data).join("manifests")
}

/// Makes the folder of one run anew; where that fails, the data folder is of no use.
pub(crate) fn prepare(data: &Path) -> Result<(), Failure> {
    make_folder(data)?;
    remove_folder(&dev_folder(data))?;
    make_folder(&manifests_folder(data))
}

impl Plan {
    /// Writes the files of a run into the folder that [`prepare`] made.
    pub(crate) fn write(
        options: &DevOptions,
        data: &Path,
        owner: &SystemConfig,
        model: &Model,
        repository: &Repository,
    ) -> Result<Self, Failure> {
        let (folder, own_manifests) = (dev_folder(data), manifests_folder(data));
        let sites = sites(options.listen, owner);
        let (base, choice) = (folder.join("llmbasedos.toml"), folder.join("model.toml"));
        write(&base, base_config(sites))?;
        write(&choice, router_config(model))?;
        if let Model::Local(local) = model {
            write(&folder.join(SCRIPT), include_str!("llama_server.py"))?;
            make_folder(&data.join(KEYS))?;
            // A new one for each run; where there is none yet there is nothing to remove.
            let _ = fs::remove_file(data.join(KEYS).join(KEY));
            key::write(&data.join(KEYS).join(KEY))?;
            write(&own_manifests.join(format!("{SERVER}.toml")), model_server(local))?;
        }
        let owners = Some(owner_config_path(data)).filter(|path| path.is_file());
        let configs = if options.model.is_some() {
            [Some(base), owners, Some(choice)]
        } else {
            [Some(base), Some(choice), owners]
        };
        Ok(Self {
            data: data.to_owned(),
            manifests: vec![repository.path("arcs"), own_manifests],
            configs: configs.into_iter().flatten().collect(),
            listen: options.listen,
            sites,
        })
    }
}

/// Where init will serve the sites (`init/src/listeners.rs`): the command line wins over the configuration, and unless
/// something else is said they are at the gateway's next port.
fn sites(listen: Option<SocketAddr>, owner: &SystemConfig) -> SocketAddr {
    let configured = |wanted: &str| owner.listen.iter().find(|(name, _)| name.as_str() == wanted).map(|(_, at)| *at);
    let gateway = listen.or_else(|| configured("gateway")).unwrap_or(GATEWAY);
    let next = SocketAddr::new(gateway.ip(), gateway.port().saturating_add(1));
    if listen.is_some() { next } else { configured("sites").unwrap_or(next) }
}

fn write(path: &Path, content: impl ToString) -> Result<(), Failure> {
    fs::write(path, content.to_string()).map_err(|error| Failure::io("write", path, &error))
}

fn base_config(sites: SocketAddr) -> Table {
    table([
        ("listen", table([("sites", sites.to_string())])),
        ("arcs", nested(&["seo_affiliate"], table([("base_url", format!("http://{sites}"))]))),
    ])
}

/// The router's settings: one backend, used for everything.
fn router_config(model: &Model) -> Table {
    let backend = match model {
        Model::None | Model::Configured => return Table::new(),
        Model::Served(Served { kind, url, model }) => {
            let kind = match kind {
                Kind::Ollama => "ollama",
                Kind::OpenAi => "openai",
            };
            table([("kind", kind), ("url", &url.to_string()), ("model", model)])
        }
        // One at a time: two at once share two cores and both time out.
        Model::Local(local) => {
            let (url, key) = (local.url().to_string(), format!("/data/{KEYS}/{KEY}"));
            let mut backend = table([("kind", "openai"), ("url", &url), ("model", &local.name), ("key_file", &key)]);
            backend.insert("parallel".to_owned(), 1.into());
            backend
        }
    };
    let purposes = table([("default", vec!["local"])]);
    let backends = nested(&["local"], backend);
    let grants = grants::of_backends(&backends);
    let router = table([("backends", backends), ("purposes", purposes)]);
    table([("arcs", nested(&["llm_router"], router)), ("grants", grants)])
}

/// The model server as a service: no tools, started with the system, never given up.
fn model_server(local: &Local) -> Table {
    let threads = threads(std::thread::available_parallelism().map_or(1, usize::from)).to_string();
    // As it sees them: `/data` is the data folder.
    let (script, key) = (format!("/data/run/dev/{SCRIPT}"), format!("/data/{KEYS}/{KEY}"));
    let exec = [
        &*local.engine.python.to_string_lossy(),
        // No user's modules, and no compiled ones left in the cache.
        "-Bs",
        &script,
        "--model",
        &local.weights.to_string_lossy(),
        "--alias",
        &local.name,
        "--port",
        &local.port.to_string(),
        "--threads",
        &threads,
        "--key-file",
        &key,
    ];
    let mut manifest = table([
        ("name", SERVER),
        ("version", env!("CARGO_PKG_VERSION")),
        ("description", &format!("Runs {} with llama.cpp", local.name)),
        ("activation", "boot"),
        ("transport", "none"),
        ("restart", "always"),
    ]);
    manifest.extend(table([("exec", exec)]));
    let env = table([
        ("PYTHONPATH", &*local.engine.modules.to_string_lossy()),
        // Threads that wait must not spin: on a busy machine that is a hundred times slower.
        ("OMP_WAIT_POLICY", "passive"),
        // Huge pages (`glibc.malloc.hugetlb` in the manual of glibc): in a virtual machine half as fast again.
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    ]);
    manifest.extend(table([("env", env)]));
    manifest.extend(table([("cage", cage(local, &key))]));
    manifest
}

/// The cage of the model server: it reads what it runs on, and answers on a loopback of its own.
fn cage(local: &Local, key: &str) -> Table {
    let python = &local.engine.python;
    let prefix = python.parent().and_then(Path::parent).unwrap_or(python);
    let mount = |path: &str, mode: &str| table([("path", path), ("mode", mode)]);
    let mounts = vec![
        mount(&prefix.to_string_lossy(), "rx"),
        mount(&local.engine.modules.to_string_lossy(), "rx"),
        mount(&local.weights.to_string_lossy(), "ro"),
        mount(&format!("/data/run/dev/{SCRIPT}"), "ro"),
        mount(key, "ro"),
    ];
    // The weights, what is computed with them, and Python.
    let weights = fs::metadata(&local.weights).map_or(0, |metadata| metadata.len() >> 20);
    let mut cage = table([("memory_max", format!("{}M", weights + weights / 4 + 2048))]);
    cage.extend(table([("serves", i64::from(local.port))]));
    cage.extend(table([("proc", true)]));
    cage.extend(table([("allow", vec!["jit", "runtime"])]));
    cage.extend(table([("mounts", mounts)]));
    cage
}

/// Half of the cores, for each has two threads as a rule; but two where there are two.
fn threads(cores: usize) -> usize {
    (cores / 2).max(cores.min(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::dev::engine::Engine;
    use crate::fetch::Package;
    use crate::http::Url;
    use spec::{Activation, Manifest, Origin, Transport};

    const WHEEL: Package = Package { name: "x", version: "1", file: "x-1.whl", bytes: 1, sha256: "" };

    fn local() -> Local {
        let engine = Engine::of(&WHEEL, "/usr/bin/python3".into(), &Cache::at(Path::new("/c")));
        Local { engine, weights: "/c/a \"b\".gguf".into(), name: "qwen".to_owned(), port: 4 }
    }

    #[test]
    fn the_model_server_is_a_service_that_the_formats_accept() {
        let text = model_server(&local()).to_string();
        let manifest = Manifest::parse("llama_server.toml", &text, Origin::System).expect("sound");
        assert_eq!((manifest.activation, manifest.transport), (Activation::Boot, Transport::None));
        assert!(manifest.exec.contains(&"/c/a \"b\".gguf".to_owned()), "{:?}", manifest.exec);
        assert_eq!(manifest.env.get("PYTHONPATH").map(String::as_str), Some("/c/engine/x-1"));
        assert_eq!(manifest.env.get("OMP_WAIT_POLICY").map(String::as_str), Some("passive"));
    }

    #[test]
    fn the_router_is_told_of_each_kind_of_model() {
        let settings = |model| {
            let text = router_config(&model).to_string();
            SystemConfig::parse("model.toml", &text).expect("sound").arcs.into_values().next().map(|t| t.to_string())
        };
        let served = |kind| Model::Served(Served { kind, url: Url::loopback(9), model: "m".to_owned() });
        let expected = |kind: &str, url: &str, model: &str, rest: (&str, &str)| {
            let (key, parallel) = rest;
            let backend =
                format!("[backends.local]\n{key}kind = \"{kind}\"\nmodel = \"{model}\"\n{parallel}url = \"{url}\"\n");
            Some(format!("{backend}\n[purposes]\ndefault = [\"local\"]\n"))
        };
        assert_eq!(settings(served(Kind::Ollama)), expected("ollama", "http://127.0.0.1:9", "m", ("", "")));
        assert_eq!(settings(served(Kind::OpenAi)), expected("openai", "http://127.0.0.1:9", "m", ("", "")));
        let own = ("key_file = \"/data/keys/llama_server.key\"\n", "parallel = 1\n");
        assert_eq!(settings(Model::Local(local())), expected("openai", "http://127.0.0.1:4", "qwen", own));
        assert_eq!(settings(Model::None), None);
    }

    #[test]
    fn sites_are_served_where_the_sites_arc_and_the_writer_are_told() {
        let config = SystemConfig::parse("x", &base_config(([127, 0, 0, 1], 8001).into()).to_string()).expect("sound");
        assert_eq!(config.listen.values().next().map(ToString::to_string).as_deref(), Some("127.0.0.1:8001"));
        let writer = config.arcs.values().next().map(ToString::to_string);
        assert_eq!(writer.as_deref(), Some("base_url = \"http://127.0.0.1:8001\"\n"));
    }

    #[test]
    fn the_url_is_where_the_sites_are_served() {
        let owner =
            SystemConfig::parse("x", "[listen]\ngateway = \"127.0.0.1:7\"\nsites = \"127.0.0.1:5\"").expect("sound");
        let none = SystemConfig::default();
        let flag = Some(([127, 0, 0, 1], 9).into());
        let ports = [sites(None, &none), sites(None, &owner), sites(flag, &owner)].map(|address| address.port());
        assert_eq!(ports, [8001, 5, 10]);
    }

    #[test]
    fn a_broken_configuration_is_shown_with_its_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(owner_config_path(folder.path()), "[listn]\n").expect("written");
        let told = |form| owner_config(folder.path(), form).expect_err("an unknown key").to_string();
        let lines = told(Form::Lines);
        assert!(lines.contains("llmbasedos.toml:1: listn: unknown key. Close to it: listen"), "{lines}");
        let picture = told(Form::Picture { colour: false });
        assert!(picture.contains("1 │ [listn]\n") && picture.contains("unknown key"), "{picture}");
    }

    #[test]
    fn small_machines_use_all_they_have() {
        assert_eq!([1, 2, 4, 8, 16].map(threads), [1, 2, 2, 4, 8]);
    }
}
