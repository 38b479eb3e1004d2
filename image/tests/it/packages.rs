//! MCP servers from the registries of npm and PyPI, as their authors publish them: each as a service on its standard input
//! and output, in a cage, called through the gateway. CONTRIBUTING's "An MCP server from npm or PyPI" is the same by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::system::System;
use crate::workbench::{Workbench, two_free_ports};

/// The package of each registry, at the one version that was looked at.
const NPM: (&str, &str) = ("@modelcontextprotocol/server-filesystem", "2026.8.31");
const PYPI: (&str, &str) = ("mcp-server-time", "2026.10.19");

#[test]
#[ignore = "fetches two packages where the cache does not hold them: scripts/test e2e"]
fn a_server_from_npm_and_one_from_pypi_serve_from_their_cages() {
    let bench = Workbench::new();
    for folder in ["data/arcs.d", "data/notes"] {
        fs::create_dir_all(bench.path(folder)).expect("made");
    }
    fs::write(bench.path("data/arcs.d/notes.toml"), notes(&from_npm())).expect("written");
    fs::write(bench.path("data/arcs.d/clock.toml"), clock(&from_pypi())).expect("written");
    fs::write(bench.path("data/notes/a.txt"), "kept on the machine\n").expect("written");
    let port = two_free_ports();
    let system = System::start(bench.dev(&["--no-model", "--listen", &format!("127.0.0.1:{port}")]), port);

    let read = |path: &str| system.call_with("notes.read_text_file", &json!({ "path": path }));
    assert_eq!(read("/data/notes/a.txt"), Ok(json!({ "content": "kept on the machine\n" })));
    let written = json!({ "path": "/data/notes/b.txt", "content": "written in a cage" });
    system.call_with("notes.write_file", &written).expect("written");
    assert_eq!(fs::read_to_string(bench.path("data/notes/b.txt")).expect("there"), "written in a cage");

    let noon = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let converted = system.call_with("clock.convert_time", &noon).expect("a time");
    assert_eq!(converted["time_difference"], "+9.0h", "{converted}");
    let tokyo = converted["target"]["datetime"].as_str().expect("a time");
    assert!(tokyo.ends_with("T21:00:00+09:00"), "{converted}");

    for arc in ["notes", "clock"] {
        let cage = system.call_with("system.cage", &json!({ "name": arc })).expect("a cage");
        assert_eq!(cage["refused"], json!({}), "{arc}: {cage}");
    }
    sees_nothing_else(&system);
}

/// What the server itself would read, for `/` is the folder that it was given, is not there to be read.
fn sees_nothing_else(system: &System) {
    let cages = system.call(&["--json", "system.cages"]).expect("cages");
    let gives = |layer: &str| cages["layers"].as_array().is_some_and(|layers| layers.contains(&json!(layer)));
    if !gives("files") || !gives("network") {
        eprintln!("not on this kernel: {}", cages["missing"]);
        return;
    }
    let list =
        |path: &str| listing(&system.call_with("notes.list_directory", &json!({ "path": path })).expect("a list"));
    // Its own folder, and nobody else's: the clock has been started, so its folder is on the disk.
    assert_eq!(list("/data/arcs"), ["[DIR] notes"]);
    assert_eq!(list("/data"), ["[DIR] arcs", "[DIR] notes"]);
    for path in ["/etc/passwd", "/data/arcs/clock", "/data/secrets", "/data/llmbasedos.toml", "/run/init.sock"] {
        let error = system.call_with("notes.read_text_file", &json!({ "path": path })).expect_err(path);
        assert!(error.contains("ENOENT") || error.contains("Parent directory does not exist"), "{path}: {error}");
    }
    let devices = system.call_with("notes.read_text_file", &json!({ "path": "/proc/net/dev" })).expect("its network");
    let devices = devices["content"].as_str().expect("a table").lines().filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = devices.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"], "it has a network");
}

/// The lines of a list of a folder, in order.
fn listing(answer: &Value) -> Vec<String> {
    let text = answer["content"].as_str().unwrap_or_else(|| panic!("no list: {answer}"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The manifest of the server from npm, as an owner would write it; but that it may see all that its cage holds.
fn notes(package: &Path) -> String {
    let script = package.join("node_modules").join(NPM.0).join("dist/index.js");
    let node = output(Command::new("node").args(["-p", "process.execPath"]));
    // Where Debian's own node has the modules that are part of it elsewhere.
    let shared = Some("/usr/share/nodejs").filter(|path| Path::new(path).is_dir());
    let mounts = runtime(&node).chain(shared.map(|path| format!("{{ path = {path:?} }}"))).collect::<Vec<_>>();
    format!(
        r#"
name = "notes"
version = "{version}"
description = "Reads and writes the files of a folder"
exec = [{node:?}, {script:?}, "/"]
transport = "stdio"
[cage]
mounts = [{{ path = {package:?} }}, {{ path = "/data/notes", mode = "rw" }}, {mounts}]
allow = ["jit"]
proc = true
"#,
        version = NPM.1,
        mounts = mounts.join(", ")
    )
}

/// The manifest of the server from PyPI.
fn clock(environment: &Path) -> String {
    let python = environment.join("bin/python3");
    let base = output(Command::new(&python).args(["-c", "import sys; print(sys.base_prefix)"]));
    let mounts = runtime(&format!("{base}/bin/python3")).collect::<Vec<_>>();
    format!(
        r#"
name = "clock"
version = "{version}"
description = "Tells the time in any zone"
exec = [{python:?}, "-m", "mcp_server_time", "--local-timezone", "UTC"]
transport = "stdio"
[cage]
mounts = [{{ path = {environment:?}, mode = "rx" }}, {{ path = "/usr/share/zoneinfo" }}, {mounts}]
"#,
        version = PYPI.1,
        mounts = mounts.join(", ")
    )
}

/// The mount of a runtime that does not lie where a distribution's does: what is below `/usr/lib` every program sees.
fn runtime(program: &str) -> impl Iterator<Item = String> {
    let folder = Path::new(program).parent().and_then(Path::parent).map(Path::to_owned);
    let folder = folder.filter(|folder| ![Path::new("/usr"), Path::new("/")].contains(&folder.as_path()));
    folder.into_iter().map(|folder| format!("{{ path = {folder:?}, mode = \"rx\" }}"))
}

fn from_npm() -> PathBuf {
    fetched(NPM, |folder| {
        let npm = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"];
        run(Command::new("npm").args(npm).arg(folder).arg(format!("{}@{}", NPM.0, NPM.1)));
    })
}

fn from_pypi() -> PathBuf {
    fetched(PYPI, |folder| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(folder.join("bin/python3")).args(pip).arg(format!("{}=={}", PYPI.0, PYPI.1)));
    })
}

/// The folder of a package in the cache of the user; `fetch` fills it where it is not there whole.
fn fetched((name, version): (&str, &str), fetch: impl Fn(&Path)) -> PathBuf {
    let stated = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let users = || stated("XDG_CACHE_HOME").or_else(|| stated("HOME").map(|home| home.join(".cache")));
    let cache = stated("LLMBASEDOS_CACHE").or_else(|| users().map(|cache| cache.join("llmbasedos")));
    let cache = cache.expect("LLMBASEDOS_CACHE or HOME says where the cache is");
    let folder = cache.join("mcp").join(format!("{}-{version}", name.rsplit('/').next().unwrap_or(name)));
    let whole = folder.join("whole");
    if !whole.exists() {
        fs::create_dir_all(&folder).expect("made");
        fetch(&folder);
        fs::write(whole, "").expect("written");
    }
    folder
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// What a command that must succeed writes.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
