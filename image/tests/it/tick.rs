//! Whole ticks of the real system with a scripted model: what is left behind, and what kills, a full disk and a model
//! that fails can do to it. The real model has its turn in `e2e.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::kill::{self, planner};
use crate::model::{self, Mood, ScriptedModel};
use crate::site;
use crate::system::System;
use crate::workbench::{Workbench, finish, run, two_free_ports, until};

/// `image dev` with the scripted model.
fn dev(bench: &Workbench, model: &ScriptedModel, port: u16, more: &[&str]) -> Command {
    let listen = format!("127.0.0.1:{port}");
    bench.dev(&[&["--model", &model.url, "--listen", &listen], more].concat())
}

/// Fails the test unless the site of the Sentinel that ships is sound.
fn judge(data: &Path, port: u16) -> site::Judged {
    let address = format!("http://127.0.0.1:{}/crypto-beginner/", port + 1);
    let judged = site::judge(&data.join("sites/crypto-beginner"), &address, model::NAME);
    judged.unwrap_or_else(|faults| panic!("the site is not sound:\n{faults}"))
}

#[test]
fn one_tick_leaves_a_sound_site_and_says_where() {
    let (bench, model, port) = (Workbench::new(), ScriptedModel::start(), two_free_ports());
    let ended = run(dev(&bench, &model, port, &["--once"]));
    let folder = fs::canonicalize(bench.path("data/sites/crypto-beginner")).expect("a site");
    let expected = format!("site    {}\nurl     http://127.0.0.1:{}/crypto-beginner/\n", folder.display(), port + 1);
    assert!(ended.expect_code(0).stdout.ends_with(&expected), "{}", ended.stdout);
    assert_eq!(judge(&bench.path("data"), port).articles.len(), 1);
}

/// Ticks, each with what is killed in it, and at which of its stages. Some go on without those, others end at once.
const TICKS: [&[(&str, &str)]; 6] = [
    &[("think", "llm_router"), ("outline", "kv"), ("write", "llm_router")],
    &[("outline", "seo_affiliate"), ("write", "seo_affiliate")],
    &[("think", "awake")],
    &[("write", "awake")],
    &[("think", "gateway")],
    &[("write", "gateway")],
];

#[test]
fn no_process_that_is_killed_in_a_tick_harms_what_is_kept() {
    let (bench, model, port) = (Workbench::new(), ScriptedModel::start(), two_free_ports());
    let system = System::start(dev(&bench, &model, port, &[]), port);
    system.call(&["kv.set", r#"{"key": "before", "value": 1}"#]).expect("kept");
    for deaths in TICKS {
        kill::in_a_tick(&system, &model, deaths);
        judge(&bench.path("data"), port);
    }
    let result = system.call(&["awake.tick"]).expect("a tick like any other");
    assert_eq!(result["details"]["ok"], json!(true), "{result}");
    judge(&bench.path("data"), port);
    let sites = fs::read_dir(bench.path("data/sites")).expect("a folder").map(|entry| entry.expect("one").file_name());
    assert_eq!(sites.collect::<Vec<_>>(), ["crypto-beginner"], "nothing unfinished is left");
}

#[test]
fn a_supervisor_that_is_killed_in_a_tick_is_missed() {
    let (bench, model, port) = (Workbench::new(), ScriptedModel::start(), two_free_ports());
    model.set_mood(Mood::Absent);
    let launcher = dev(&bench, &model, port, &[]).spawn().expect("it runs");
    until(|| model.was_asked().then_some(()));
    let init = until(|| child_of(launcher.id(), "init"));
    kill_process(init, Signal::KILL).expect("it is there");
    let words = ["error: the supervisor is gone, and everything with it", "init ended: signal: 9", "run this again"];
    finish(launcher).expect_code(1).expect_words(&words);
    model.set_mood(Mood::Helpful);
    run(dev(&bench, &model, port, &["--once"])).expect_code(0);
    judge(&bench.path("data"), port);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let (bench, model, port) = (Workbench::new(), ScriptedModel::start(), two_free_ports());
    fs::create_dir(bench.path("data")).expect("made");
    let dev = on_a_small_disk(&dev(&bench, &model, port, &[]), &bench.path("data"));
    let system = System::start(dev, port);
    system.call(&["kv.set", r#"{"key": "before", "value": 1}"#]).expect("kept");
    let published = system.get("/crypto-beginner/");
    assert!(published.starts_with("HTTP/1.1 200"), "{published}");

    let mut filler = 0;
    for size in [500_000, 20_000, 1] {
        let full = loop {
            filler += 1;
            let file = json!({"path": format!("filler{filler}"), "content": "x".repeat(size)});
            if let Err(error) = system.call_with("fs.write", &file) {
                break error;
            }
        };
        assert!(full.contains("no space left on the disk; nothing was changed, free some"), "{full}");
    }
    let order = json!({"site_id": "crypto-beginner", "keyword": "wallets", "n_articles": 1});
    let full = system.call_with("seo_affiliate.generate_site", &order).expect_err("no room");
    let expected = "/data/sites/crypto-beginner was not changed: the disk is full; free some space and try again";
    assert!(full.contains(expected), "{full}");
    let full = system.call_with("kv.set", &json!({"key": "k", "value": "v".repeat(900_000)})).expect_err("no room");
    assert!(full.contains("no space left on the disk (free some)"), "{full}");
    system.kill("llm_router");
    let full = system.call(&["awake.tick"]).expect_err("no room");
    assert!(full.contains("the disk is full") || full.contains("no space left"), "{full}");
    assert_eq!(system.call(&["kv.get", r#"["before"]"#]), Ok(json!(1)), "what was kept can be read");
    assert_eq!(body(&system.get("/crypto-beginner/")), body(&published), "the site is as it was");

    for number in 1..filler {
        // The last one of each size was never there.
        let _ = system.call_with("fs.delete", &json!({"path": format!("filler{number}")}));
    }
    let result = system.call(&["awake.tick"]).expect("room again");
    assert_eq!(result["details"]["ok"], json!(true), "{result}");
    assert_eq!(system.call(&["kv.get", r#"["before"]"#]), Ok(json!(1)));
}

#[test]
fn a_model_that_fails_is_said_and_the_next_tick_is_another_one() {
    let (bench, model, port) = (Workbench::new(), ScriptedModel::start(), two_free_ports());
    fs::create_dir_all(bench.path("data/quests")).expect("made");
    fs::write(bench.path("data/quests/quick-money.toml"), planner()).expect("written");
    let system = System::start(dev(&bench, &model, port, &[]), port);
    for (mood, words) in [
        (Mood::Chatty, "no answer fitted the schema: it is not JSON"),
        (Mood::Tired, "the answer was cut off before its end"),
    ] {
        model.set_mood(mood);
        let error = system.call(&["awake.tick"]).expect_err("nothing to write about");
        assert!(error.contains(model::NAME) && error.contains(words), "{mood:?}: {error}");
        model.set_mood(Mood::Helpful);
        let result = system.call(&["awake.tick"]).expect("helpful again");
        assert_eq!(result["details"]["ok"], json!(true), "{result}");
    }
}

#[test]
fn a_data_folder_that_is_read_only_is_said() {
    let bench = Workbench::new();
    fs::create_dir(bench.path("data")).expect("made");
    let dev = bench.dev(&["--no-model"]);
    let ended = run(with_disk(&dev, &bench.path("data"), "ro"));
    let words =
        ["error: cannot make the folder ", "read-only file system", "use a folder that you may write to: --data DIR"];
    ended.expect_code(5).expect_words(&words);
}

/// The process of a program that `parent` started.
fn child_of(parent: u32, program: &str) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let is_it = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program);
    children.split_whitespace().find(is_it).and_then(|pid| Pid::from_raw(pid.parse().ok()?))
}

/// The command with a disk of 12 MB at `data`, which nobody else sees.
fn on_a_small_disk(command: &Command, data: &Path) -> Command {
    with_disk(command, data, "size=12m")
}

fn with_disk(command: &Command, data: &Path, options: &str) -> Command {
    let mut unshare = Command::new("unshare");
    let is_root = rustix::process::getuid().is_root();
    unshare.args(if is_root { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] });
    unshare.args(["sh", "-c", r#"mount -t tmpfs -o "$1" none "$0" && shift && exec "$@""#]).arg(data).arg(options);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    unshare.current_dir(command.get_current_dir().expect("one of its own"));
    unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    unshare
}

/// An answer without its headers, which have the date.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("headers").1
}
