//! The key-value Arc.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::arc::{Arc, SMALL_FILES};

#[test]
fn a_value_is_kept_until_it_is_removed() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    assert_eq!(kv.value("get", json!({"key": "hello"})), Value::Null);
    let value = json!({"text": "é\n\0", "list": [1, 2.5, null], "large": u64::MAX});
    assert_eq!(kv.value("set", json!({"key": "hello", "value": value})), json!({"status": "ok"}));
    assert_eq!(kv.value("get", json!({"key": "hello"})), value);
    assert_eq!(kv.value("delete", json!({"key": "hello"})), json!({"status": "ok", "existed": true}));
    assert_eq!(kv.value("delete", json!({"key": "hello"})), json!({"status": "ok", "existed": false}));
    assert_eq!(kv.value("get", json!({"key": "hello"})), Value::Null);
    assert!(arc.stop().0.success());
}

#[test]
fn numbers_count_and_say_why_they_cannot() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    assert_eq!(kv.value("incrby", json!({"key": "n", "by": 5})), json!(5));
    assert_eq!(kv.value("incrby", json!({"key": "n", "by": -7})), json!(-2));
    kv.value("set", json!({"key": "n", "value": i64::MAX}));
    assert_eq!(
        kv.failure("incrby", json!({"key": "n", "by": 1})),
        "the sum does not fit into 64 bits; nothing was changed (at /by)"
    );
    kv.value("set", json!({"key": "n", "value": "seven"}));
    let message = kv.failure("incrby", json!({"key": "n", "by": 1}));
    assert!(message.contains("not a whole number"), "{message}");
}

#[test]
fn a_value_is_replaced_only_if_it_is_the_expected_one() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    let mut swap = |expected: Value, value: Value| {
        kv.value("compare_and_set", json!({"key": "lock", "expected": expected, "value": value}))
    };
    assert_eq!(swap(json!(null), json!({"by": "a", "n": 1})), json!({"swapped": true, "current": {"by": "a", "n": 1}}));
    assert_eq!(swap(json!(null), json!("b")), json!({"swapped": false, "current": {"by": "a", "n": 1}}));
    assert_eq!(swap(json!({"n": 1, "by": "a"}), json!("b")), json!({"swapped": true, "current": "b"}));
}

#[test]
fn keys_are_listed_in_order_page_by_page() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    for key in ["b:1", "a:2", "a:1", "a:3"] {
        kv.value("set", json!({"key": key, "value": key}));
    }
    kv.value("set", json!({"key": "a:4", "value": 4, "ttl_s": 1000}));
    let page = kv.value("list", json!({"prefix": "a:", "limit": 2}));
    assert_eq!(
        page,
        json!({"entries": [{"key": "a:1", "value": "a:1"}, {"key": "a:2", "value": "a:2"}], "next": "a:2"})
    );
    let page = kv.value("list", json!({"prefix": "a:", "after": "a:2"}));
    assert_eq!((&page["entries"][1]["key"], page.get("next")), (&json!("a:4"), None));
    let expires = page["entries"][1]["expires_at"].as_str().expect("a time").to_owned();
    assert!(expires.ends_with('Z') && expires.contains('T'), "{expires}");
    assert_eq!(kv.value("list", json!({}))["entries"].as_array().map(Vec::len), Some(5));
}

#[test]
fn what_has_expired_is_not_there() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    kv.value("set", json!({"key": "short", "value": 1, "ttl_s": 1}));
    assert_eq!(kv.value("incrby", json!({"key": "short", "by": 1})), json!(2));
    while kv.value("get", json!({"key": "short"})) != Value::Null {}
    assert_eq!(kv.value("incrby", json!({"key": "short", "by": 1})), json!(1));
    assert_eq!(kv.value("list", json!({}))["entries"][0], json!({"key": "short", "value": 1}));
}

#[test]
fn wrong_arguments_are_named() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    for (tool, arguments, words) in [
        ("get", json!({}), "\"key\" is a required property"),
        ("get", json!({"key": ""}), "at /key"),
        ("get", json!({"key": "a\nb"}), "must not have control characters such as a line's end (at /key)"),
        ("get", json!({"key": "é".repeat(300)}), "at most 512 bytes, not 600 (at /key)"),
        ("set", json!({"key": "a"}), "\"value\" is a required property"),
        ("set", json!({"key": "a", "value": 1, "ttl_s": 0}), "at /ttl_s"),
        ("set", json!({"key": "a", "value": 1, "ttl": 5}), "'ttl' was unexpected"),
        ("set", json!({"key": "a", "value": "x".repeat(1 << 20)}), "at most 1048576 bytes as JSON text"),
        ("incrby", json!({"key": "a", "by": 1.5}), "at /by"),
        ("incrby", json!({"key": "a", "by": 1e30}), "at /by"),
        ("list", json!({"limit": 5000}), "at /limit"),
    ] {
        let message = kv.failure(tool, arguments);
        assert!(message.contains(words), "{tool}: {message}");
    }
    assert_eq!(kv.value("list", json!({})), json!({"entries": []}));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let data = tempfile::tempdir().expect("a folder");
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let arc = Arc::start("kv", data.path());
        let mut kv = arc.connect();
        for key in &acknowledged {
            assert_eq!(kv.value("get", json!({"key": key})), json!(key), "lost before round {round}");
        }
        let mut sent = HashMap::new();
        for number in 0..300 {
            let key = format!("{round}:{number}");
            sent.insert(kv.request("set", &json!({"key": key, "value": key})), key);
        }
        // A part of them is answered; the others are cut off at any point.
        for _ in 0..100 {
            let id = kv.receive().expect("an answer")["id"].as_u64().expect("a number");
            acknowledged.extend(sent.remove(&id));
        }
        arc.kill();
    }
    assert_eq!(acknowledged.len(), 500);
}

#[test]
fn a_full_disk_fails_the_call_and_not_the_next() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start_after(SMALL_FILES, "kv", data.path());
    let mut kv = arc.connect();
    kv.value("set", json!({"key": "small", "value": 1}));
    let large = "x".repeat(300 << 10);
    let failed =
        (0..40).find_map(|number| kv.call("set", json!({"key": format!("large{number:02}"), "value": large})).err());
    let message = failed.expect("4 MiB are less than 40 times 300 KiB");
    assert_eq!(
        message,
        "the key-value store cannot be written: the file may not grow any more (a limit on its size); nothing was changed"
    );
    assert_eq!(kv.value("get", json!({"key": "small"})), json!(1));
    let kept = kv.value("list", json!({"prefix": "large"}))["entries"].as_array().map_or(0, Vec::len);
    assert!((1..40).contains(&kept), "{kept}");
    assert_eq!(kv.value("incrby", json!({"key": "small", "by": 1})), json!(2));
    assert_eq!(kv.value("delete", json!({"key": "large00"}))["existed"], true);
    assert!(arc.stop().0.success());

    let arc = Arc::start("kv", data.path());
    let mut kv = arc.connect();
    assert_eq!(kv.value("get", json!({"key": "small"})), json!(2));
    assert_eq!(kv.value("list", json!({"prefix": "large"}))["entries"].as_array().map(Vec::len), Some(kept - 1));
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().join("arcs/kv");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("kv.redb"), "no database").expect("written");
    let (status, log) = Arc::start("kv", data.path()).end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("cannot start:") && log.contains("arcs/kv/kv.redb cannot be opened"), "{log}");
    assert_eq!(fs::read_to_string(folder.join("kv.redb")).expect("there"), "no database");
}

#[test]
fn a_second_one_on_the_same_folder_does_not_start() {
    let data = tempfile::tempdir().expect("a folder");
    let first = Arc::start("kv", data.path());
    let mut kv = first.connect();
    kv.value("set", json!({"key": "a", "value": 1}));
    let (status, log) = Arc::start("kv", data.path()).end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("is in use by another process"), "{log}");
    assert_eq!(kv.value("get", json!({"key": "a"})), json!(1));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let data = tempfile::tempdir().expect("a folder");
    fs::write(data.path().join("arcs"), "in the way").expect("written");
    fs::set_permissions(data.path().join("arcs"), fs::Permissions::from_mode(0o444)).expect("set");
    let (status, log) = Arc::start("kv", data.path()).end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("arcs/kv cannot be made"), "{log}");
}
