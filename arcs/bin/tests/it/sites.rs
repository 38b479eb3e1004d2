//! The Arc that serves the mini-sites.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::arc::Arc;

/// An answer over HTTP, as it came.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &str| line.split_once(": ").is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| of(line)).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }
}

fn send(arc: &Arc, request: &str) -> Answer {
    let mut stream = TcpStream::connect(arc.address).expect("the listener is there");
    write!(stream, "{request}\r\nConnection: close\r\n\r\n").expect("the Arc reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn get(arc: &Arc, path: &str) -> Answer {
    send(arc, &format!("GET {path} HTTP/1.1\r\nHost: {}", arc.address))
}

fn with_a_site(data: &Path) {
    let site = data.join("sites/demo");
    fs::create_dir_all(site.join("posts")).expect("made");
    fs::write(site.join("index.html"), "<title>Tea &amp; more</title>").expect("written");
    fs::write(site.join("posts/first.html"), "<title>First</title>").expect("written");
    fs::write(site.join("style.css"), "p {}").expect("written");
    fs::write(site.join("feed.xml"), "<rss/>").expect("written");
    fs::write(site.join(".site.json"), "{}").expect("written");
    fs::create_dir_all(data.join("sites/.demo.new")).expect("made");
    fs::write(data.join("sites/.demo.new/index.html"), "unfinished").expect("written");
}

#[test]
fn a_site_is_served_and_listed() {
    let data = tempfile::tempdir().expect("a folder");
    let arc = Arc::start("sites", data.path());
    assert!(get(&arc, "/").body.contains("There is no site yet"));
    with_a_site(data.path());
    let index = get(&arc, "/demo/");
    assert_eq!((index.status, index.body.as_str()), (200, "<title>Tea &amp; more</title>"));
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    for (path, media_type) in [
        ("/demo/posts/first.html", "text/html; charset=utf-8"),
        ("/demo/style.css", "text/css; charset=utf-8"),
        ("/demo/feed.xml?x=1", "application/xml; charset=utf-8"),
    ] {
        let answer = get(&arc, path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{path}");
    }
    let overview = get(&arc, "/");
    assert!(overview.body.contains("<a href=\"/demo/\">Tea &amp; more</a>"), "{}", overview.body);
    let listed = arc.connect().value("list", json!({}));
    let one = &listed[0];
    assert_eq!((&one["site_id"], &one["title"], &one["pages"]), (&json!("demo"), &json!("Tea & more"), &json!(2)));
    assert_eq!(one["url"], json!(format!("http://{}/demo/", arc.address)));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert!(arc.stop().0.success());
}

#[test]
fn every_answer_keeps_its_page_harmless() {
    let data = tempfile::tempdir().expect("a folder");
    with_a_site(data.path());
    let arc = Arc::start("sites", data.path());
    for path in ["/", "/demo/", "/demo/style.css", "/demo", "/nothing"] {
        let answer = get(&arc, path);
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
}

#[test]
fn a_folder_without_its_slash_is_redirected_within_this_host() {
    let data = tempfile::tempdir().expect("a folder");
    with_a_site(data.path());
    let arc = Arc::start("sites", data.path());
    let answer = get(&arc, "/demo");
    assert_eq!((answer.status, answer.header("location")), (308, Some("/demo/")));
    assert_eq!(get(&arc, "//demo").status, 404);
}

#[test]
fn what_is_hidden_linked_or_outside_is_not_there() {
    let data = tempfile::tempdir().expect("a folder");
    with_a_site(data.path());
    fs::write(data.path().join("secret"), "a secret").expect("written");
    symlink(data.path().join("secret"), data.path().join("sites/demo/link.html")).expect("linked");
    symlink(data.path(), data.path().join("sites/out")).expect("linked");
    let arc = Arc::start("sites", data.path());
    for path in [
        "/demo/.site.json",
        "/.demo.new/",
        "/.demo.new/index.html",
        "/demo/%2e%2e/%2e%2e/secret",
        "/demo/../../secret",
        "/demo/..%2f..%2fsecret",
        "/demo/link.html",
        "/out/secret",
        "/out/",
        "/demo/posts/",
        "/demo/style.css/",
        "/secret",
    ] {
        let answer = get(&arc, path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("There is no such page"), "{}", answer.body);
    }
}

#[test]
fn only_reading_is_allowed() {
    let data = tempfile::tempdir().expect("a folder");
    with_a_site(data.path());
    let arc = Arc::start("sites", data.path());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let answer = send(&arc, &format!("{method} /demo/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0"));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let head = send(&arc, "HEAD /demo/ HTTP/1.1\r\nHost: localhost");
    assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (200, "", Some("29")));
}

#[test]
fn another_hosts_name_is_refused() {
    let data = tempfile::tempdir().expect("a folder");
    with_a_site(data.path());
    let arc = Arc::start("sites", data.path());
    for request in [
        "GET /demo/ HTTP/1.1\r\nHost: evil.example",
        "GET /demo/ HTTP/1.1\r\nHost: evil.example:80",
        "GET http://evil.example/demo/ HTTP/1.1\r\nHost: localhost",
        "GET /demo/ HTTP/1.0",
    ] {
        let answer = send(&arc, request);
        assert_eq!(answer.status, 421, "{request}");
        assert!(!answer.body.contains("Tea"), "{}", answer.body);
    }
}

#[test]
fn a_page_that_did_not_change_is_not_sent_again() {
    let data = tempfile::tempdir().expect("a folder");
    with_a_site(data.path());
    let arc = Arc::start("sites", data.path());
    let first = get(&arc, "/demo/");
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = |tag: &str| send(&arc, &format!("GET /demo/ HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}"));
    assert_eq!((again(&tag).status, again(&tag).body.as_str()), (304, ""));
    assert_eq!(again("\"other\"").status, 200);
    fs::write(data.path().join("sites/demo/index.html"), "<title>New</title>").expect("written");
    assert_eq!(again(&tag).body, "<title>New</title>");
}
