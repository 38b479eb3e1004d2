//! The store against a map in memory with a clock, and against files that are not its own.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key(text: &str) -> Key {
    Key::try_from(text.to_owned()).expect("a key")
}

fn set(name: &str, value: &Value, ttl_s: Option<u64>) -> Change {
    Change::Set { key: key(name), text: value.to_string(), ttl: ttl_s.map(Duration::from_secs) }
}

/// What the store should do, in the plainest way.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, (Option<u64>, Value)>,
}

impl Model {
    fn get(&self, key: &Key, now_ms: u64) -> Option<(Option<u64>, Value)> {
        self.entries.get(key.as_str()).filter(|(expires, _)| expires.is_none_or(|at| at > now_ms)).cloned()
    }

    fn put(&mut self, key: &Key, text: &str, ttl: &Option<Duration>, now_ms: u64) {
        let expires = ttl.map(|ttl| now_ms + u64::try_from(ttl.as_millis()).expect("small"));
        self.entries.insert(key.as_str().to_owned(), (expires, serde_json::from_str(text).expect("JSON")));
    }

    fn apply(&mut self, change: &Change, now_ms: u64) -> Result<Applied, Refusal> {
        match change {
            Change::Set { key, text, ttl } => {
                self.put(key, text, ttl, now_ms);
                Ok(Applied { changed: true, value: Value::Null })
            }
            Change::Delete { key } => {
                let existed = self.get(key, now_ms).is_some();
                self.entries.remove(key.as_str());
                Ok(Applied { changed: existed, value: Value::Null })
            }
            Change::Increment { key, by } => {
                let (expires, value) = self.get(key, now_ms).unwrap_or((None, json!(0)));
                let sum = value.as_i64().ok_or(Refusal::NotWhole)?.checked_add(*by).ok_or(Refusal::Overflow)?;
                self.entries.insert(key.as_str().to_owned(), (expires, json!(sum)));
                Ok(Applied { changed: true, value: json!(sum) })
            }
            Change::CompareAndSet { key, expected, text, ttl } => {
                let current = self.get(key, now_ms).map_or(Value::Null, |(_, value)| value);
                if current != *expected {
                    return Ok(Applied { changed: false, value: current });
                }
                self.put(key, text, ttl, now_ms);
                Ok(Applied { changed: true, value: serde_json::from_str(text).expect("JSON") })
            }
            Change::Sweep => {
                self.entries.retain(|_, (expires, _)| expires.is_none_or(|at| at > now_ms));
                Ok(Applied { changed: false, value: Value::Null })
            }
        }
    }

    fn list(&self, prefix: &str, now_ms: u64) -> Vec<Entry> {
        let there = self.entries.iter().filter(|(key, _)| key.starts_with(prefix));
        let entry = |(key, (expires_ms, value)): (&String, &(Option<u64>, Value))| Entry {
            key: key.clone(),
            value: value.clone(),
            expires_ms: *expires_ms,
        };
        there.map(entry).filter(|entry| entry.expires_ms.is_none_or(|at| at > now_ms)).collect()
    }
}

/// All pages of a listing, one after the other.
fn list(store: &Store, prefix: &str, limit: usize, now_ms: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(prefix, after.as_deref(), limit, now_ms).expect("reads");
        assert!(page.entries.len() <= limit);
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

fn changes() -> impl Strategy<Value = Change> {
    let key = prop::sample::select(vec!["a", "a:1", "a:2", "b", "ü"]).prop_map(key);
    let value = prop::sample::select(vec![json!(null), json!(1), json!(i64::MAX), json!("x"), json!({"a": [1, 2]})]);
    let ttl = prop::option::of((1..4u64).prop_map(Duration::from_secs));
    let text = value.clone().prop_map(|value| value.to_string());
    prop_oneof![
        (key.clone(), text.clone(), ttl.clone()).prop_map(|(key, text, ttl)| Change::Set { key, text, ttl }),
        key.clone().prop_map(|key| Change::Delete { key }),
        (key.clone(), -1..3i64).prop_map(|(key, by)| Change::Increment { key, by }),
        (key, value, text, ttl).prop_map(|(key, expected, text, ttl)| Change::CompareAndSet {
            key,
            expected,
            text,
            ttl
        }),
        Just(Change::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_map_does(
        batches in prop::collection::vec((prop::collection::vec(changes(), 1..8), -500..2500i64), 1..8),
        limit in 1..4usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kv.redb");
        let mut store = Store::open(&path).expect("opens");
        let mut model = Model::default();
        let mut now_ms: u64 = 10_000;
        for (number, (batch, step)) in batches.iter().enumerate() {
            // The clock may go back as well.
            now_ms = now_ms.saturating_add_signed(*step);
            let applied = store.apply(batch, now_ms).expect("writes");
            let expected: Vec<_> = batch.iter().map(|change| model.apply(change, now_ms)).collect();
            prop_assert_eq!(applied, expected);
            for prefix in ["", "a", "a:", "c"] {
                prop_assert_eq!(list(&store, prefix, limit, now_ms), model.list(prefix, now_ms));
            }
            prop_assert_eq!(store.get(&key("a"), now_ms).expect("reads"), model.get(&key("a"), now_ms).map(|(_, value)| value));
            if number % 3 == 2 {
                drop(store);
                store = Store::open(&path).expect("opens again");
            }
        }
        // The index of what expires is complete: in the end only what lives for ever is left, as it lies there.
        store.apply(&[Change::Sweep], u64::MAX - 1).expect("writes");
        model.apply(&Change::Sweep, u64::MAX - 1).expect("no refusal");
        prop_assert_eq!(list(&store, "", limit, 0), model.list("", 0));
        prop_assert!(!store.has_expired(u64::MAX - 1).expect("reads"));
    }
}

#[test]
fn a_sweep_removes_a_bounded_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("kv.redb")).expect("opens");
    let many: Vec<_> = (0..1500).map(|number| set(&format!("k{number}"), &json!(number), Some(1))).collect();
    store.apply(&many, 0).expect("writes");
    assert_eq!(store.get(&key("k7"), 999).expect("reads"), Some(json!(7)));
    assert_eq!(store.get(&key("k7"), 1000).expect("reads"), None);
    let sweep = || store.apply(&[Change::Sweep], 1000).expect("writes").remove(0).expect("no refusal").changed;
    assert_eq!((sweep(), sweep(), sweep()), (true, false, false));
    assert_eq!(store.list("", None, 1000, 0).expect("reads").entries, []);
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("kv.redb")).expect("opens");
    let large = json!("x".repeat(3 << 20));
    store.apply(&[set("a", &large, None), set("b", &large, None)], 0).expect("writes");
    let page = store.list("", None, 10, 0).expect("reads");
    assert_eq!((page.entries.len(), page.next.as_deref()), (1, Some("a")));
    assert_eq!(list(&store, "", 10, 0).len(), 2);
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kv.redb");
    fs::write(&path, "somebody's notes").expect("written");
    let message = Store::open(&path).map(|_| ()).expect_err("not a database").to_string();
    assert!(message.contains("kv.redb") && message.contains("left as it is"), "{message}");
    assert_eq!(fs::read_to_string(&path).expect("there"), "somebody's notes");
}

#[test]
fn a_database_that_was_not_whole_when_the_power_went_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kv.redb");
    fs::write(path.with_extension("new"), [0; 4096]).expect("written");
    let store = Store::open(&path).expect("opens");
    assert_eq!(store.batches().expect("reads"), 0);
    assert!(!path.with_extension("new").exists());
}

#[test]
fn a_database_that_is_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kv.redb");
    let _first = Store::open(&path).expect("opens");
    let message = Store::open(&path).map(|_| ()).expect_err("locked").to_string();
    assert!(message.contains("in use by another process"), "{message}");
}
