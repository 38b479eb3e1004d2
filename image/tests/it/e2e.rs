//! The first command, whole: `scripts/run --once` with the real model. Run by `scripts/test e2e`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::workbench::{repository, two_free_ports};

#[test]
#[ignore = "takes minutes, and the network where the cache is empty: scripts/test e2e"]
fn one_tick_leaves_a_site_and_says_where() {
    let data = tempfile::tempdir().expect("a folder");
    let port = two_free_ports();
    let output = Command::new("bash")
        .arg(repository().join("scripts/run"))
        .args(["--once", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("bash runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{}: {text}", output.status);
    let lines: Vec<_> = text.lines().collect();
    let [.., site, url] = lines.as_slice() else { panic!("no result in {text:?}") };
    let site = Path::new(site.strip_prefix("site    ").expect("the site's folder"));
    assert!(site.starts_with(data.path().join("sites")) && site.join("index.html").is_file(), "{}", site.display());
    let name = site.file_name().expect("a name").to_string_lossy();
    assert_eq!(*url, format!("url     http://127.0.0.1:{}/{name}/", port + 1));
}
