//! The tick of developer mode in a machine: its model is one of the host, and its site lies on the data partition.
//!
//! Once with a model that reads from a script, and once with the real one, which `scripts/test e2e` has fetched before.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::{Machine, TOKEN, repository, tool};
use crate::model::ScriptedModel;
use crate::site;

/// Where a machine whose owner says nothing serves its sites.
const SITES: &str = "http://127.0.0.1:8001";
/// The key that the model servers ask for, if they do.
const KEY: &str = "a-key-of-the-tests";

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_tick_leaves_a_sound_site_on_the_data_partition() {
    let scripted = ScriptedModel::start();
    let (_, port) = scripted.url.rsplit_once(':').expect("a port");
    tick_with_model_at(port.parse().expect("a port"));
}

#[test]
#[ignore = "boots the image, and takes minutes: scripts/test e2e"]
fn the_real_model_writes_a_sound_site_in_a_machine() {
    let model = RealModel::start();
    tick_with_model_at(model.port);
}

fn tick_with_model_at(port: u16) {
    let machine = Machine::new();
    machine.put(KEY.as_bytes(), "/keys/host", "600");
    machine.settings(&format!(
        "[gateway]\ntokens = [\"{TOKEN}\"]\n[arcs.llm_router.backends.host]\nkind = \"openai\"\n\
         url = \"http://10.0.2.2:{port}\"\nkey_file = \"/data/keys/host\"\ntimeout = \"600s\"\n\
         [grants.llm_router]\negress = [\"10.0.2.2:{port}\"]\n"
    ));
    let guest = machine.boot_to_ready("");
    let tick = guest.call_for("35m", &["awake.tick", "{}"]).expect("it acts");
    assert_eq!((&tick["triggered"], &tick["details"]["ok"]), (&json!(true), &json!(true)), "{tick}");
    let (site, model) = (words(&tick["details"]["site_id"]), words(&tick["details"]["model"]));
    guest.power_off();

    let folder = tempfile::tempdir().expect("a folder");
    machine.debugfs(&format!("rdump /sites/{site} {}", folder.path().display()));
    let judged = site::judge(&folder.path().join(&site), &format!("{SITES}/{site}/"), &model);
    let judged = judged.unwrap_or_else(|faults| panic!("the site is not sound:\n{faults}"));
    for (path, text) in &judged.articles {
        eprintln!("\n{path}, as {model} wrote it; {} links lead somewhere:\n{text}", judged.links);
    }
    // What was read out is the test's own.
    tool("chmod", &["-R", "u+rwX", &folder.path().display().to_string()]);
}

fn words(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The model server of developer mode; dropping it ends it.
struct RealModel {
    process: Child,
    port: u16,
}

impl RealModel {
    fn start() -> Self {
        let mut key = tempfile::NamedTempFile::new().expect("a file");
        key.write_all(KEY.as_bytes()).expect("written");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut server = Command::new("python3");
        server.arg("-Bs").arg(repository().join("image/src/dev/llama_server.py"));
        server.arg("--model").arg(fetched("models")).args(["--alias", "real", "--port", &port.to_string()]);
        server.args(["--threads", "2", "--key-file"]).arg(key.path());
        server.env("PYTHONPATH", fetched("engine")).env("OMP_WAIT_POLICY", "passive").stdin(Stdio::null());
        let mut model = Self { process: server.spawn().expect("python runs"), port };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            assert!(matches!(model.process.try_wait(), Ok(None)), "the model server ended, see above");
            std::thread::sleep(Duration::from_millis(100));
        }
        model
    }
}

impl Drop for RealModel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What developer mode keeps in that folder of its cache (`image/src/cache.rs`).
fn fetched(folder: &str) -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let cache = variable("LLMBASEDOS_CACHE").or_else(|| user().map(|cache| cache.join("llmbasedos")));
    let folder = cache.expect("a cache folder").join(folder);
    let mut entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let whole = |path: &Path| path.extension().is_none_or(|extension| extension != "part");
    let entry = entries.find(|path| whole(path));
    entry.unwrap_or_else(|| panic!("{} is empty: scripts/test e2e fetches it first", folder.display()))
}
