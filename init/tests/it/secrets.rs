//! Secrets: set, kept, hidden, and never anywhere in the clear.

use std::fs;
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::{Value, json};

use crate::system::{Client, Setup, System};

/// Put together when it runs, so that this program does not hold it in one piece.
fn canary() -> String {
    format!("sk-canary-{}-{}", std::process::id(), "9f3c51d7")
}

fn sealed(value: &[u8]) -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = fs::File::from(memfd_create("secret", flags).expect("made"));
    file.write_all(value).expect("written");
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("sealed");
    file.into()
}

fn send_set(client: &Client, name: &str, attached: &OwnedFd) {
    let line = format!("{}\n", json!({"id": 7, "method": "secret.set", "params": {"name": name}}));
    let rights = [attached.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let bytes = [IoSlice::new(line.as_bytes())];
    sendmsg::<UnixAddr>(client.stream.as_raw_fd(), &bytes, &control, MsgFlags::MSG_NOSIGNAL, None).expect("sent");
}

fn set_attached(system: &System, name: &str, attached: &OwnedFd) -> Value {
    let mut client = system.client();
    send_set(&client, name, attached);
    client.receive()
}

fn set(system: &System, name: &str, value: &str) -> Value {
    let answer = set_attached(system, name, &sealed(value.as_bytes()));
    answer.get("result").cloned().unwrap_or_else(|| panic!("{answer}"))
}

fn names(system: &System) -> Vec<String> {
    let list = system.call("secret.list", json!({})).expect("a list");
    let name = |info: &Value| info["name"].as_str().expect("a name").to_owned();
    list.as_array().expect("a list").iter().map(name).collect()
}

fn problems(system: &System) -> String {
    system.call("status", json!({})).expect("a status")["problems"].to_string()
}

/// The same system, started again.
fn restarted(mut system: System) -> System {
    let setup = std::mem::replace(&mut system.setup, Setup::new());
    drop(system);
    setup.start()
}

/// Every file below `folder` that holds `text`.
fn files_with(folder: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if holds(&bytes, text) {
                found.push(path);
            }
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whether the memory of a process holds `text`.
fn memory_holds(pid: u32, text: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (begin, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let [begin, end] = [begin, end].map(|number| u64::from_str_radix(number, 16).expect("a number"));
        let mut bytes = vec![0; usize::try_from(end - begin).expect("fits")];
        memory.seek(SeekFrom::Start(begin)).expect("there");
        memory.read(&mut bytes).is_ok_and(|count| holds(&bytes[..count], text))
    })
}

#[test]
fn a_secret_is_set_listed_kept_over_a_restart_and_deleted() {
    let system = Setup::new().service("llm", "ready forever:mcp", "secrets = [\"openai\", \"absent\"]").start();
    let info = set(&system, "openai", &canary());
    assert_eq!((info["name"].as_str(), &info["arcs"]), (Some("openai"), &json!(["llm"])));
    assert!(info["set_ms"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{info}");
    set(&system, "mail", "two\nlines");
    let system = restarted(system);
    let list = system.call("secret.list", json!({})).expect("a list");
    assert_eq!(list[0], json!({"name": "absent", "set_ms": null, "arcs": ["llm"]}));
    assert_eq!(list[1]["arcs"], json!([]));
    assert_eq!(list[2], info);
    assert!(!list.to_string().contains("canary"));
    system.call("secret.delete", json!({"name": "mail"})).expect("deleted");
    let error = system.call("secret.delete", json!({"name": "mail"})).expect_err("gone");
    assert_eq!(error, "there is no secret mail");
    assert_eq!(names(&restarted(system)), ["absent", "openai"]);
}

#[test]
fn a_value_that_is_set_is_in_no_file_and_in_no_memory() {
    let system = Setup::new().start();
    set(&system, "openai", &canary());
    set(&system, "other", "something else entirely");
    names(&system);
    assert_eq!(files_with(&system.data(""), &canary()), Vec::<std::path::PathBuf>::new());
    for pid in [system.pid(), system.pid_of("logd"), system.pid_of("gateway")] {
        assert!(!memory_holds(pid, &canary()), "process {pid} of {}", system.pid());
    }
    assert!(memory_holds(std::process::id(), &canary()), "the search finds what is there");
}

#[test]
fn what_is_not_a_sealed_value_is_refused_and_nothing_of_it_said() {
    let system = Setup::new().start();
    let error = system.call("secret.set", json!({"name": "openai"})).expect_err("nothing attached");
    assert!(error.contains("attached as a sealed memory file"), "{error}");
    let error = system.call("secret.set", json!({"name": "openai", "value": canary()})).expect_err("in the message");
    assert!(!error.contains("canary"), "{error}");
    let pipe = OwnedFd::from(std::io::pipe().expect("a pipe").0);
    let answer = set_attached(&system, "openai", &pipe);
    assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("must be a memory file")), "{answer}");
    for (value, words) in [(Vec::new(), "1 to 64 KiB"), (vec![b'x'; 64 * 1024 + 1], "at most 64 KiB")] {
        let answer = set_attached(&system, "openai", &sealed(&value));
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains(words)), "{answer}");
    }
    assert_eq!(names(&system), Vec::<String>::new());
}

#[test]
fn a_secret_is_hidden_in_the_log_and_in_the_reason_of_a_failure() {
    let setup = Setup::new();
    // One that writes down what it is told would write the script before anybody knows that a secret is in it.
    setup.gateway("ready sleep");
    let go = setup.path("go").display().to_string();
    let script = format!("while [ ! -e {go} ]; do sleep 0.05; done; echo the key is {}; exit 3", canary());
    let system = setup.script("leaky", &script, "restart = \"never\"").start();
    set(&system, "openai", &canary());
    fs::write(system.setup.path("go"), "").expect("written");
    let mut log = system.log();
    assert_eq!(log.until("leaky", "the key is"), "the key is [secret]");
    let info = std::iter::repeat_with(|| system.info("leaky")).find(|info| info["state"] == "failed");
    let reason = info.expect("in the end")["reason"].to_string();
    assert!(reason.contains("[secret]") && !reason.contains("canary"), "{reason}");
    // A logd that is started anew knows as well what to hide.
    system.call("restart", json!({"name": "logd"})).expect("restarted");
    system.call("restart", json!({"name": "leaky"})).expect("started again");
    let mut log = system.log();
    (0..2).for_each(|_| drop(log.until("leaky", "the key is")));
    let lines = system.call("logs", json!({"name": "leaky"})).expect("lines").to_string();
    assert!(lines.contains("[secret]") && !lines.contains("canary"), "{lines}");
    assert_eq!(files_with(&system.data("log"), &canary()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_store_whose_key_is_another_one_is_said_and_put_aside_by_the_next_secret() {
    let system = Setup::new().start();
    set(&system, "openai", &canary());
    fs::write(system.data("secrets/key"), [7; 32]).expect("written");
    let system = restarted(system);
    let said = problems(&system);
    assert!(said.contains("secrets/store: cannot be decrypted") && said.contains("luca-run secret set NAME"), "{said}");
    assert!(system.call("secret.list", json!({})).expect_err("locked").contains("cannot be decrypted"));
    set(&system, "mail", "another value");
    assert!(system.data("secrets/store.unreadable").exists() && system.data("secrets/key.unreadable").exists());
    assert_eq!(names(&system), ["mail"]);
    assert_eq!(problems(&system), "[]");
    assert_eq!(names(&restarted(system)), ["mail"]);
}

#[test]
fn secrets_of_the_configuration_move_to_the_store() {
    let setup = Setup::new().service("llm", "ready forever:mcp", "");
    let file = setup.path("llmbasedos.toml");
    let text = format!("[secrets]\nopenai = {:?}\n[grants.llm]\nsecrets = [\"openai\"]\n", canary());
    fs::write(&file, &text).expect("written");
    let system = setup.argument("--config").argument(file.display().to_string()).start();
    let list = system.call("secret.list", json!({})).expect("a list");
    assert_eq!((list[0]["name"].as_str(), &list[0]["arcs"]), (Some("openai"), &json!(["llm"])));
    let scrubbed = fs::read_to_string(&file).expect("there");
    assert_eq!(scrubbed, text.replace(&canary(), &"*".repeat(canary().len())));
    assert_eq!(problems(&system), "[]");
    assert_eq!(files_with(&system.data(""), &canary()), Vec::<std::path::PathBuf>::new());
    assert!(!memory_holds(system.pid(), &canary()));
    let system = restarted(system);
    assert_eq!((names(&system), problems(&system)), (vec!["openai".to_owned()], "[]".to_owned()));
    system.log().until("init", "up in");
}

#[test]
fn a_write_that_is_cut_short_leaves_the_old_or_the_new_store() {
    let mut system = Setup::new().start();
    set(&system, "first", &canary());
    let large = [sealed(&[b'a'; 60_000]), sealed(&[b'b'; 60_000])];
    for round in 0..5 {
        let client = system.client();
        for value in &large {
            send_set(&client, "second", value);
        }
        std::thread::sleep(Duration::from_millis(round));
        system.kill_and_wait();
        system = restarted(system);
        assert_eq!(problems(&system), "[]");
        assert!(names(&system).contains(&"first".to_owned()));
    }
}
