//! The files Arc.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::arc::{Arc, SMALL_FILES};

#[test]
fn the_results_are_those_of_the_dialect() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("files", data.path());
    let mut fs_arc = arc.connect();
    let written = fs_arc.value("write", json!({"path": "/notes/é.md", "content": "# Tée\n"}));
    assert_eq!(written, json!({"path": "/notes/é.md", "bytes_written": 7, "status": "ok"}));
    let appended = fs_arc
        .value("write", json!({"path": "notes/é.md", "content": "bW9yZQ==", "encoding": "base64", "append": true}));
    assert_eq!(appended, json!({"path": "/notes/é.md", "bytes_written": 4, "status": "ok"}));
    assert_eq!(
        fs_arc.value("read", json!({"path": "/notes/é.md"})),
        json!({"path": "/notes/é.md", "content": "# Tée\nmore", "encoding": "text", "mime_type": "text/markdown"})
    );
    let read = fs_arc.value("read", json!({"path": "/notes/é.md", "encoding": "base64"}));
    assert_eq!((&read["content"], &read["encoding"]), (&json!("IyBUw6llCm1vcmU="), &json!("base64")));
    let listed = fs_arc.value("list", json!({"path": "/notes"}));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let one = &listed[0];
    assert_eq!(
        (&one["name"], &one["path"], &one["type"], &one["size"]),
        (&json!("é.md"), &json!("/notes/é.md"), &json!("file"), &json!(11))
    );
    assert!(one["modified_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{one}");
    assert_eq!(fs_arc.value("list", json!({}))[0]["type"], "directory");
    let found = fs_arc.value("search", json!({"query": "tée", "k": 5, "scope": "/"}));
    assert_eq!((&found[0]["path"], &found[0]["preview"]), (&json!("/notes/é.md"), &json!("# Tée")));
    assert!(found[0]["score"].is_f64());
    let deleted = fs_arc.value("delete", json!({"path": "/notes", "recursive": true}));
    assert_eq!(deleted, json!({"path": "/notes", "status": "ok"}));
    assert_eq!(fs_arc.value("list", json!({"path": "/"})), json!([]));
    assert!(arc.stop().0.success());
}

#[test]
fn nothing_outside_is_reached_and_no_path_of_the_machine_is_told() {
    let data = tempfile::tempdir().expect("a folder");
    fs::write(data.path().join("secret"), "a secret").expect("written");
    let arc = Arc::start("files", data.path());
    let mut fs_arc = arc.connect();
    fs_arc.value("write", json!({"path": "a", "content": ""}));
    symlink(data.path().join("secret"), data.path().join("files/link")).expect("linked");
    for path in ["../secret", "/../secret", "/a/../../secret", "/link", "/link/x", "a\0", "a\nb"] {
        for (tool, mut arguments) in
            [("read", json!({})), ("write", json!({"content": "x"})), ("delete", json!({})), ("list", json!({}))]
        {
            if (tool, path) == ("delete", "/link") {
                continue;
            }
            arguments["path"] = json!(path);
            let message = fs_arc.failure(tool, arguments);
            assert!(!message.contains(&*data.path().to_string_lossy()), "{tool} {path}: {message}");
        }
    }
    // An absolute path of the machine is a path in the folder.
    let own = data.path().join("secret").to_string_lossy().into_owned();
    assert_eq!(fs_arc.failure("read", json!({"path": own})), format!("{own}: there is no such file or folder"));
    assert_eq!(fs::read_to_string(data.path().join("secret")).expect("there"), "a secret");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start_after(SMALL_FILES, "files", data.path());
    let mut fs_arc = arc.connect();
    fs_arc.value("write", json!({"path": "/f", "content": "old"}));
    let large = "x".repeat(5 << 20);
    for append in [false, true] {
        let message = fs_arc.failure("write", json!({"path": "/f", "content": large, "append": append}));
        assert_eq!(message, "/f: writing failed: the file may not grow so large; nothing was changed");
        assert_eq!(fs_arc.value("read", json!({"path": "/f"}))["content"], "old");
    }
    let left: Vec<_> =
        fs::read_dir(data.path().join("files")).expect("reads").flatten().map(|one| one.file_name()).collect();
    assert_eq!(left, ["f"]);
    assert_eq!(fs_arc.value("write", json!({"path": "/f", "content": "new"}))["bytes_written"], 3);
}

#[test]
fn what_a_call_answers_at_most_fits_into_a_frame() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("files", data.path());
    let mut fs_arc = arc.connect();
    fs::create_dir_all(data.path().join("files")).expect("made");
    fs::write(data.path().join("files/bytes"), vec![0xff; 4 << 20]).expect("written");
    fs::write(data.path().join("files/controls"), vec![1; 4 << 20]).expect("written");
    fs_arc.request("read", &json!({"path": "/bytes", "encoding": "base64"}));
    let frame = fs_arc.receive().expect("an answer").to_string().len();
    assert!((8 << 20..16 << 20).contains(&frame), "{frame}");
    let message = fs_arc.failure("read", json!({"path": "/controls"}));
    assert!(message.contains("base64"), "{message}");
}
