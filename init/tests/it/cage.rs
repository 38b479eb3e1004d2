//! What a service in a cage sees and may do, with all the layers that this machine gives.

use serde_json::{Value, json};

use crate::system::{Setup, System};

/// A shell and what a shell needs.
const SHELL: &str = "[cage]\nallow = [\"processes\"]\nmounts = [{ path = \"/bin\", mode = \"rx\" }, { path = \"/usr/bin\", mode = \"rx\" }]\n";

/// Whether this kernel gives a layer; what it does not give is said, not passed over.
fn gives(system: &System, layer: &str) -> bool {
    let cages = system.call("cages", json!({})).expect("cages");
    let gives = cages["layers"].as_array().expect("a list").contains(&json!(layer));
    if !gives {
        eprintln!("not on this kernel: {layer}: {}", cages["missing"]);
    }
    gives
}

fn refused(system: &System, service: &str) -> Value {
    system.call("cage", json!({ "name": service })).expect("a cage")["refused"].clone()
}

#[test]
fn a_service_sees_its_own_folder_and_what_its_manifest_names() {
    let script = "echo see $(ls /) ; echo data $(ls /data /data/arcs); echo passwd $(cat /etc/passwd 2>&1); \
                  echo mine > mine && echo wrote $(cat /data/arcs/a/mine); echo out $(echo x 2>&1 > /etc/x); \
                  echo procs $(ls /proc 2>&1); echo end; sleep 1000";
    let system = Setup::new().caged().script("a", script, SHELL).start();
    let mut log = system.log();
    if !gives(&system, "files") {
        return;
    }
    let see = log.until("a", "see");
    for there in ["bin", "data", "dev", "lib", "run", "tmp", "usr"] {
        assert!(see.split(' ').any(|name| name == there), "{see}");
    }
    for not in ["home", "root", "sys", "proc", "boot", "work"] {
        assert!(!see.split(' ').any(|name| name == not), "{see}");
    }
    assert_eq!(log.until("a", "data"), "data /data: arcs /data/arcs: a");
    assert!(log.until("a", "passwd").contains("No such file"));
    assert_eq!(log.until("a", "wrote"), "wrote mine");
    assert!(log.until("a", "out").contains("Read-only file system"));
    assert!(log.until("a", "procs").contains("No such file"));
    assert_eq!(std::fs::read_to_string(system.data("arcs/a/mine")).expect("kept"), "mine\n");
}

#[test]
fn what_it_may_not_is_an_error_to_it_and_a_line_in_the_log() {
    let script = "unshare -r true; echo unshare $?; mount -t tmpfs none /tmp; echo mount $?; echo end; sleep 1000";
    let system = Setup::new().caged().script("a", script, SHELL).start();
    let mut log = system.log();
    if !gives(&system, "seccomp") {
        return;
    }
    assert_eq!(log.until("a", "unshare 1"), "unshare 1");
    log.until("a", "mount ");
    log.until("a", "end");
    let refused = refused(&system, "a");
    assert!(refused["unshare"].as_u64() >= Some(1), "{refused}");
    let lines = system.call("logs", json!({ "name": "init" })).expect("lines");
    assert!(lines.to_string().contains("a: unshare was refused by its cage"), "{lines}");
}

#[test]
fn who_tries_without_end_is_refused_without_end_and_init_goes_on() {
    let system = Setup::new().caged().service("a", "ready insist sleep", "activation = \"boot\"").start();
    if !gives(&system, "seccomp") {
        return;
    }
    system.log().until("a", "refused 20000 times");
    let lines = system.call("logs", json!({ "name": "init" })).expect("lines").to_string();
    assert!(lines.contains("a: what its cage refuses is not counted any more"), "{lines}");
    assert_eq!(refused(&system, "a")["chroot"], 5_000);
}

#[test]
fn a_service_is_its_own_user_alone_in_its_own_network() {
    let script = "echo id $(id -u); echo pid $$; echo host $(uname -n); echo end; sleep 1000";
    let more = SHELL.replace("[cage]", "[cage]\nproc = true");
    let script =
        format!("{script}; true").replace("echo end", "echo net $(tail -n +3 /proc/net/dev | cut -d: -f1); echo end");
    let system = Setup::new().caged().script("a", &script, &more).start();
    let mut log = system.log();
    let id = log.until("a", "id ");
    if gives(&system, "user") {
        let own: u32 = id.trim_start_matches("id ").parse().expect("a number");
        assert!(own >= 0x1000_0000, "{id}");
    }
    if gives(&system, "processes") {
        assert_eq!(log.until("a", "pid"), "pid 1");
    }
    if gives(&system, "names") {
        assert_eq!(log.until("a", "host"), "host a");
    }
    if gives(&system, "network") {
        assert_eq!(log.until("a", "net").trim(), "net lo");
    }
}

#[test]
fn a_secret_is_a_file_in_the_cage_of_whom_it_is_granted() {
    let script = "echo secret $(cat /run/secrets/token | tr a-z A-Z); echo listed $(ls /run/secrets 2>&1); \
                  echo env $(env | grep -ci sesame); echo end; sleep 1000";
    let granted = format!("secrets = [\"token\"]\n{SHELL}");
    let setup = Setup::new().caged().script("a", script, &granted).script("b", script, SHELL);
    let config = setup.path("llmbasedos.toml");
    std::fs::write(&config, "[secrets]\ntoken = \"open-sesame-please\"\n").expect("written");
    let system = setup.argument("--config").argument(config.display().to_string()).start();
    let mut log = system.log();
    if !gives(&system, "files") {
        return;
    }
    assert_eq!(log.until("a", "secret"), "secret OPEN-SESAME-PLEASE");
    assert_eq!(log.until("a", "listed"), "listed token");
    assert_eq!(log.until("a", "env"), "env 0");
    let mut log = system.log();
    assert!(log.until("b", "listed").contains("No such file"));
}

#[test]
fn what_a_manifest_requires_and_a_kernel_lacks_keeps_it_from_starting() {
    let setup = Setup::new().caged().argument("--without").argument("network");
    let more = "activation = \"boot\"\n[cage]\nrequires = [\"network\"]\n";
    let system = setup.service("a", "ready sleep", more).service("b", "ready sleep", "activation = \"boot\"").start();
    let info = system.info("a");
    assert_eq!(info["state"], "failed");
    let reason = info["reason"].as_str().expect("a reason");
    assert!(reason.contains("a network of its own, which its cage requires"), "{reason}");
    assert_eq!(system.info("b")["state"], "running");
}

#[test]
fn a_program_that_does_not_catch_the_signal_stops_at_once_as_everywhere() {
    let system = Setup::new().caged().script("a", "echo up; exec sleep 1000", SHELL).start();
    system.log().until("a", "up");
    let begun = std::time::Instant::now();
    system.call("stop", json!({ "name": "a" })).expect("stopped");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A service that is started by a connection, with this `exec` and `[cage]`.
fn on_stdio(exec: &str, cage: &str) -> System {
    let setup = Setup::new().caged();
    let text = format!(
        "name = \"a\"\nversion = \"1\"\ndescription = \"A test\"\nexec = {exec}\ntransport = \"stdio\"\n[cage]\n{cage}\n"
    );
    std::fs::write(setup.path("manifests/a.toml"), text).expect("written");
    setup.start()
}

/// Why it is not running after a connection has come.
fn reason(system: &System) -> String {
    assert_eq!(system.ask("a", "hello"), "", "it ends");
    system.info("a")["reason"].as_str().expect("a reason").to_owned()
}

/// Why init does not start it when a connection waits.
fn refusal(system: &System) -> String {
    let _waiting = std::os::unix::net::UnixStream::connect(system.data("run/mcp/a.sock")).expect("it listens");
    system.until_said("a: /")
}

#[test]
fn a_script_is_refused_with_the_words_that_would_start_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("server");
    std::fs::write(&script, "#!/usr/bin/env sh\ncat\n").expect("written");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, everybody).expect("made executable");
    let system = on_stdio(&format!("[{script:?}, \"--quick\"]"), "");
    let reason = refusal(&system);
    assert!(reason.contains(&format!("sh\", {script:?}, \"--quick\"]")), "{reason}");
}

#[test]
fn a_file_that_it_is_called_with_must_be_in_its_cage() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.sh");
    std::fs::write(&file, "read line; echo $line").expect("written");
    let exec = format!("[\"/bin/sh\", {file:?}]");
    let system = on_stdio(&exec, &format!("mounts = [{{ path = {:?} }}]", folder.path()));
    assert_eq!(system.ask("a", "hello"), "hello");
    if !gives(&system, "files") {
        return;
    }
    let system = on_stdio(&exec, "");
    let reason = refusal(&system);
    assert!(reason.contains(&format!("add {{ path = {:?} }} to `mounts` of [cage]", folder.path())), "{reason}");
}

#[test]
fn what_its_cage_refused_is_said_of_a_service_that_failed_with_the_word_that_permits_it() {
    let system = on_stdio(
        "[\"/bin/sh\", \"-c\", \"read line; /bin/true; exit 1\"]",
        "mounts = [{ path = \"/bin\", mode = \"rx\" }]",
    );
    if !gives(&system, "seccomp") {
        return;
    }
    let reason = reason(&system);
    assert!(reason.contains("allow = [\"processes\"] in [cage] permits it"), "{reason}");
}
