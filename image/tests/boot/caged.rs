//! The service of the tests that tries what a cage bounds (`inmate.rs`), and what its log says came of it.

use crate::guest::{Guest, until};
use crate::machine::{Machine, static_program};

/// Gives a machine that service, with the words that tell it what to do and what else stands in its manifest. Call
/// [`Machine::check_data`] with `-fy` once all is put there: what debugfs writes is in no quota yet.
pub(crate) fn put(machine: &Machine, words: &[&str], manifest: &str) {
    machine.put(&static_program("inmate"), "/inmate", "755");
    let exec: Vec<&str> = ["/data/inmate"].into_iter().chain(words.iter().copied()).collect();
    let manifest = format!(
        "name = \"inmate\"\nversion = \"1\"\ndescription = \"Of the tests\"\nexec = {exec:?}\n\
         activation = \"boot\"\ntransport = \"none\"\n{manifest}"
    );
    machine.put(manifest.as_bytes(), "/arcs.d/inmate.toml", "644");
}

/// Waits until a log says this; answers the line.
#[track_caller]
pub(crate) fn logs(guest: &Guest<'_>, service: &str, words: &str) -> String {
    until(&format!("{service} says {words:?}"), || {
        let logs = guest.call_until_answered(&["system.logs", service]);
        // Whatever form lines have: each is one text.
        let found = texts(&logs).into_iter().find(|text| text.contains(words))?;
        Some(found.to_owned())
    })
}

fn texts(value: &serde_json::Value) -> Vec<&str> {
    match value {
        serde_json::Value::String(text) => text.lines().collect(),
        serde_json::Value::Array(values) => values.iter().flat_map(texts).collect(),
        serde_json::Value::Object(values) => values.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
