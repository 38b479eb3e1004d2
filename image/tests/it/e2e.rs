//! The first command, whole: `scripts/run --once` with the real model, its site judged; then the same system again, as a
//! user has it who stays, with the model's processes killed. Run by `scripts/test e2e`; `tick.rs` kills all the others.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::system::System;
use crate::workbench::{scripts_run, two_free_ports};
use crate::{kill, site};

#[test]
#[ignore = "takes minutes, and the network where the cache is empty: scripts/test e2e"]
fn one_tick_leaves_a_site_that_no_kill_can_harm() {
    let data = tempfile::tempdir().expect("a folder");
    publish(data.path());
    lose_the_model(data.path());
}

/// `scripts/run --once` on `data`: its last lines say where a sound site is.
fn publish(data: &Path) {
    let port = two_free_ports();
    let output = scripts_run(data, port)
        .arg("--once")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("bash runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{}: {text}", output.status);
    let lines: Vec<_> = text.lines().collect();
    let [.., folder, url] = lines.as_slice() else { panic!("no result in {text:?}") };
    let folder = Path::new(folder.strip_prefix("site    ").expect("the site's folder"));
    let url = url.strip_prefix("url     ").expect("its address");
    assert!(folder.starts_with(data.join("sites")), "{}", folder.display());
    let name = folder.file_name().expect("a name").to_string_lossy();
    assert_eq!(url, format!("http://127.0.0.1:{}/{name}/", port + 1));

    let kept = fs::read(folder.join(".site.json")).expect("what the site is made from");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    let model = kept["articles"][0]["model"].as_str().expect("who wrote it");
    let judged = site::judge(folder, url, model).unwrap_or_else(|faults| panic!("the site is not sound:\n{faults}"));
    for (path, text) in &judged.articles {
        eprintln!("\n{path}, as {model} wrote it; {} links lead somewhere:\n{text}", judged.links);
    }
}

/// The same system again, with the model server killed in its first tick, and the router that waits for it.
fn lose_the_model(data: &Path) {
    // A planner of the data folder takes the place of the one that ships.
    fs::create_dir_all(data.join("quests")).expect("made");
    fs::write(data.join("quests/quick-money.toml"), kill::planner()).expect("written");
    let published = fs::read_to_string(data.join("sites/crypto-beginner/index.html")).expect("a site is there");
    let port = two_free_ports();
    let system = System::launch(scripts_run(data, port), port);
    let killed = [("think", "llm_router"), ("outline", "llama_server")].map(|(stage, name)| {
        system.comes_to(stage);
        (name, system.kill(name))
    });
    // The tick ends with a result or with an error; either way the user gets to the shell.
    system.comes_to("next ");
    for (name, pid) in killed {
        system.wait_until_back(name, pid);
    }
    let served = system.get("/crypto-beginner/");
    assert!(served.starts_with("HTTP/1.1 200") && served.ends_with(&published), "the site was harmed: {served}");
}
