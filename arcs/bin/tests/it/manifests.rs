//! The manifests of the Arcs in this program fit what it holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::{Manifest, Origin};

use crate::arc::Arc;

fn manifest(name: &str) -> (PathBuf, Manifest) {
    let arcs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("arcs/");
    let path = arcs.join(name).join("arc.toml");
    let source = std::fs::read_to_string(&path).expect("a manifest");
    let parsed = Manifest::parse(&path.to_string_lossy(), &source, Origin::System);
    (path, parsed.unwrap_or_else(|problems| panic!("{problems}")))
}

#[test]
fn every_tool_of_a_manifest_is_one_that_the_arc_offers() {
    for name in ["awake", "files", "kv", "llm_router", "seo_affiliate", "sites"] {
        let (path, manifest) = manifest(name);
        assert_eq!(manifest.exec, ["arcs", name]);
        let data = tempfile::tempdir().expect("a folder");
        let arc = Arc::start(name, data.path());
        let tools = arc.connect().tools();
        let offered: BTreeSet<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        let ruled: BTreeSet<&str> = manifest.tools.keys().map(String::as_str).collect();
        assert_eq!(offered, ruled, "{}", path.display());
        assert!(tools.iter().all(|tool| tool["inputSchema"]["type"] == "object"), "{tools:?}");
        let sinks = manifest.tools.iter().flat_map(|(tool, rules)| rules.sinks.iter().map(move |sink| (tool, sink)));
        for (tool, sink) in sinks {
            let schema = tools
                .iter()
                .find(|offered| offered["name"] == *tool)
                .map_or(Value::Null, |tool| tool["inputSchema"].clone());
            assert!(schema["properties"].get(sink).is_some(), "{tool} has no argument {sink}");
        }
        compare(name, &tools);
        assert!(arc.stop().0.success());
    }
}

/// What others build on is not changed by accident: with `UPDATE_GOLDEN=1` what is offered now becomes what is expected.
fn compare(name: &str, tools: &[Value]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/tools/{name}.json"));
    let offered = format!("{:#}\n", Value::from(tools));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &offered).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(offered, expected, "{} is no longer what {name} offers", path.display());
}
