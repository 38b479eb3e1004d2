//! The end of init, and starts that must not be.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::system::{Setup, manifest, processes_with, signal_to};

const BOOT: &str = "activation = \"boot\"";

/// What is left in the folders of sockets.
fn sockets_in(run: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for folder in ["", "mcp", "callers", "notify", "settings"] {
        let entries = fs::read_dir(run.join(folder)).expect("there").flatten();
        let files = entries.filter(|entry| !entry.path().is_dir());
        left.extend(files.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    left.retain(|name| name != "init.lock");
    left
}

#[test]
fn ctrl_c_stops_everything_in_reverse_order_and_leaves_nothing() {
    let mut system = Setup::new()
        .service("a", "orphan ready forever:mcp", BOOT)
        .service("b", "ready forever:mcp", &format!("{BOOT}\nafter = [\"a\"]"))
        .service("c", "ready forever:mcp", &format!("{BOOT}\nafter = [\"b\"]"))
        .start();
    let mark = system.setup.path("").display().to_string();
    let pids: Vec<u32> = ["a", "b", "c", "gateway"].map(|name| system.pid_of(name)).into();
    system.signal(Signal::SIGINT);
    assert!(system.wait().success());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
    assert_eq!(with_environment(&mark), [0; 0], "orphans included");
    assert_eq!(sockets_in(&system.data("run")), [""; 0]);
    let log = fs::read_to_string(system.data("log/init.log")).expect("a log");
    assert!(log.contains("stopping everything") && log.ends_with("stopped\n"), "{log}");
}

#[test]
fn services_stop_in_reverse_order_one_after_the_other() {
    let script = "trap 'sleep 0.1; echo bye; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";
    let mut system = Setup::new()
        .script("a", script, "")
        .script("b", script, "after = [\"a\"]")
        .script("c", script, "after = [\"b\"]")
        .start();
    let mut log = system.log();
    for name in ["a", "b", "c"] {
        log.until(name, "up");
    }
    system.signal(Signal::SIGTERM);
    assert!(system.wait().success());
    // A time such as 2026-11-23T05:59:32.123Z sorts as text.
    let time_of_bye = |name: &str| {
        let log = fs::read_to_string(system.data(&format!("log/{name}.log"))).expect("a log");
        log.lines().find(|line| line.ends_with(" bye")).expect("it stopped by itself").to_owned()
    };
    let [a, b, c] = ["a", "b", "c"].map(time_of_bye);
    assert!(c < b && b < a, "{c}, {b}, {a}");
}

#[test]
fn a_second_ctrl_c_kills() {
    let more = format!("{BOOT}\nstop_timeout = \"10m\"");
    let mut system = Setup::new().service("deaf", "deaf ready sleep", &more).start();
    let pid = system.pid_of("deaf");
    system.signal(Signal::SIGINT);
    system.until_said("Ctrl-C kills");
    system.signal(Signal::SIGINT);
    assert!(system.wait().success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn when_init_itself_is_killed_its_services_go_too_and_the_next_start_finds_no_trace() {
    let setup = Setup::new().service("kv", "orphan ready forever:mcp", BOOT);
    let again = (setup.command(), setup.path("data"));
    let mut system = setup.start();
    let mark = system.setup.path("").display().to_string();
    let main = system.pid_of("kv");
    system.kill_and_wait();
    while Path::new(&format!("/proc/{main}")).exists() {
        std::thread::yield_now();
    }
    let (mut command, _) = again;
    let mut second = command.stderr(std::process::Stdio::null()).spawn().expect("it starts again");
    let socket = system.data("run/init.sock");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::yield_now();
    }
    let orphans = with_environment(&mark).into_iter().filter(|pid| is_sleep(*pid)).count();
    assert!(orphans <= 1, "the orphan of the first one is gone: {orphans}");
    signal_to(second.id(), Signal::SIGTERM);
    assert!(second.wait().expect("waited").success());
    assert_eq!(with_environment(&mark), [0; 0]);
}

#[test]
fn init_ends_with_its_parent_when_it_is_told_to() {
    let setup = Setup::new().argument("--with-parent").service("kv", "ready sleep", BOOT);
    let init = setup.command();
    let words: Vec<String> = std::iter::once(init.get_program())
        .chain(init.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let log = setup.path("said");
    let line = format!("{} 2>'{}' & echo $!; read end", words.join(" "), log.display());
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &line])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    while !fs::read_to_string(&log).is_ok_and(|said| said.contains("up in")) {
        std::thread::yield_now();
    }
    parent.kill().expect("killed");
    parent.wait().expect("waited");
    while !fs::read_to_string(&log).is_ok_and(|said| said.ends_with("stopped\n")) {
        std::thread::yield_now();
    }
    let mark = setup.path("").display().to_string();
    while !processes_with(&mark).is_empty() {
        std::thread::yield_now();
    }
}

/// Exit code and standard error of an init that must not start.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
}

#[test]
fn a_second_instance_is_refused_and_the_first_runs_on() {
    let system = Setup::new().start();
    let (code, said) = refused(system.setup.command());
    let data = system.data("").canonicalize().expect("there");
    let expected = format!(
        "init: llmbasedos is already running on {} (pid {}); stop it or use --data",
        data.display(),
        system.pid()
    );
    assert_eq!((code, said), (Some(3), expected));
    assert_eq!(system.info("gateway")["state"], "running");
}

#[test]
fn an_address_in_use_or_open_to_the_network_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let setup = Setup::new().argument("--listen").argument(&address);
    let expected = format!("init: {address} is in use (gateway): choose another with --listen");
    assert_eq!(refused(setup.command()), (Some(4), expected));
    let setup = Setup::new().argument("--listen").argument("0.0.0.0:8000");
    let (code, said) = refused(setup.command());
    assert!(code == Some(2) && said.contains("only loopback addresses are served"), "{said}");
}

#[test]
fn a_data_folder_that_cannot_be_used_is_refused() {
    let setup = Setup::new();
    fs::write(setup.path("data"), "a file").expect("written");
    let (code, said) = refused(setup.command());
    let expected = format!("init: cannot use the data folder: {}: cannot create it: ", setup.path("data").display());
    assert!(code == Some(5) && said.starts_with(&expected) && said.ends_with("choose another with --data"), "{said}");
    // Nobody may write here, not even root.
    let mut command = Command::new(env!("CARGO_BIN_EXE_init"));
    command.args(["--dev", "--data", "/proc/data"]);
    let (code, said) = refused(command);
    assert!(code == Some(5) && said.contains("/proc/data"), "{said}");
}

#[test]
fn without_being_told_how_init_says_what_it_can_be() {
    let (code, said) = refused(Command::new(env!("CARGO_BIN_EXE_init")));
    let expected =
        "init: runs as PID 1 of the image, or on a developer's machine as `init --dev --data DIR`; see `init --help`";
    assert_eq!((code, said.as_str()), (Some(2), expected));
    let output = Command::new(env!("CARGO_BIN_EXE_init")).arg("--version").output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("init ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_data_folder_whose_path_is_too_long_for_sockets_is_a_reason() {
    let setup = Setup::new();
    let long = setup.path("x".repeat(60));
    fs::write(setup.path("manifests/kv.toml"), manifest(&"k".repeat(40), "ready sleep", "")).expect("written");
    let mut command = setup.command();
    command.arg("--data").arg(&long);
    let mut init = command.stderr(std::process::Stdio::null()).spawn().expect("it starts");
    let socket = long.join("run/init.sock");
    let services = loop {
        if let Ok(stream) = std::os::unix::net::UnixStream::connect(&socket) {
            use std::io::{BufRead, BufReader, Write};
            (&stream).write_all(b"{\"id\":1,\"method\":\"services\"}\n").expect("written");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).expect("an answer");
            break line;
        }
    };
    signal_to(init.id(), Signal::SIGTERM);
    assert!(init.wait().expect("waited").success());
    assert!(services.contains("the path is too long for a socket (107 bytes at most)"), "{services}");
}

/// The processes that have `text` in their environment.
fn with_environment(text: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(text)
    };
    processes_with("").into_iter().filter(has).collect()
}

fn is_sleep(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}
