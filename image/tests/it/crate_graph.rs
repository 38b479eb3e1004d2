//! ARCHITECTURE.md says which folder may depend on which; this holds the workspace to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::workbench::repository;

/// The packages of the workspace by folder, each with the folders that it depends on and its outside dependencies.
struct Graph {
    folders: BTreeMap<String, BTreeSet<String>>,
    outside: BTreeMap<String, BTreeSet<String>>,
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(repository()).args(arguments).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

impl Graph {
    /// What ships: dependencies of tests alone do not count.
    fn of_workspace() -> Self {
        let text = cargo(&["metadata", "--offline", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&text).expect("JSON");
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let packages: BTreeMap<String, Value> =
            list(&metadata["packages"]).into_iter().map(|package| (string(&package["id"]), package)).collect();
        let folder_of = |id: &Value| folder(&packages[&string(id)]);
        let mut graph = Self { folders: BTreeMap::new(), outside: BTreeMap::new() };
        for node in list(&metadata["resolve"]["nodes"]) {
            let Some(from) = folder_of(&node["id"]) else { continue };
            let ships = |kind: &Value| kind["kind"].as_str() != Some("dev");
            let used = list(&node["deps"]).into_iter().filter(|one| list(&one["dep_kinds"]).iter().any(ships));
            let mut ours = BTreeSet::new();
            for one in used {
                match folder_of(&one["pkg"]) {
                    Some(to) => drop(ours.insert(to)),
                    None => {
                        let package = &packages[&string(&one["pkg"])];
                        let versions = graph.outside.entry(string(&package["name"])).or_default();
                        versions.insert(string(&package["version"]));
                    }
                }
            }
            graph.folders.insert(from, ours);
        }
        graph
    }
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// The package's folder in the checkout; `None` for one from outside.
fn folder(package: &Value) -> Option<String> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let below = manifest.parent()?.strip_prefix(repository()).ok()?;
    package["source"].is_null().then(|| below.display().to_string())
}

/// The table of ARCHITECTURE.md: its most special rows first, as they are tried.
fn may_depend(from: &str, to: &str) -> bool {
    match from {
        "arcs/spec" => false,
        "init" | "init/netd" | "gateway" | "image" | "arcs/kit" | "arcs/luca" => to == "arcs/spec",
        "arcs/bin" => to.starts_with("arcs/"),
        arc if arc.starts_with("arcs/") => to == "arcs/kit",
        _ => false,
    }
}

#[test]
fn every_arrow_is_one_that_the_architecture_allows() {
    let graph = Graph::of_workspace();
    assert!(graph.folders.len() > 10, "found only {:?}", graph.folders.keys());
    let arrows = graph.folders.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)));
    let forbidden: Vec<_> = arrows.filter(|(from, to)| !may_depend(from, to)).collect();
    assert!(forbidden.is_empty(), "not in ARCHITECTURE.md: {forbidden:?}");
}

#[test]
fn the_table_of_the_architecture_is_the_one_tested_here() {
    let text = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("readable");
    for row in [
        ["`init/`", "`arcs/spec`"],
        ["`gateway/`", "`arcs/spec`"],
        ["`arcs/spec/`", "nothing here"],
        ["`arcs/kit/`", "`arcs/spec`"],
        ["`arcs/<name>/`", "`arcs/kit`"],
        ["`arcs/bin/`", "`arcs/*`"],
        ["`arcs/luca/`", "`arcs/spec`"],
        ["`image/`", "`arcs/spec`"],
    ] {
        let [folder, allowed] = row;
        let found = text.lines().any(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            matches!(cells.as_slice(), ["", first, _, last, ""] if *first == folder && *last == allowed)
        });
        assert!(found, "no row {folder} … {allowed}");
    }
}

#[test]
fn pid_1_knows_no_async_runtime() {
    let tree = cargo(&["tree", "--offline", "--package", "init", "--edges", "normal", "--prefix", "none"]);
    assert!(tree.lines().any(|line| line.starts_with("nix v")), "not the tree of init: {tree}");
    let runtimes: Vec<_> = tree.lines().filter(|line| line.starts_with("tokio") || line.starts_with("mio ")).collect();
    assert!(runtimes.is_empty(), "{runtimes:?}");
}

#[test]
fn only_the_kit_names_the_protocol_crate() {
    let names = |folder: &str| {
        let text = std::fs::read_to_string(repository().join(folder).join("Cargo.toml")).expect("readable");
        text.lines().any(|line| line.starts_with("rmcp"))
    };
    let naming: Vec<_> = Graph::of_workspace().folders.into_keys().filter(|folder| names(folder)).collect();
    assert_eq!(naming, ["arcs/kit"]);
}

#[test]
fn what_we_use_is_there_in_one_version() {
    let several: Vec<_> = Graph::of_workspace().outside.into_iter().filter(|(_, all)| all.len() > 1).collect();
    assert!(several.is_empty(), "{several:?}");
}
