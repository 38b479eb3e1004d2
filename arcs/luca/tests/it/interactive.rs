//! `luca-shell` at a terminal.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::gateway::Gateway;
use crate::screen::Screen;

/// A shell at a terminal.
pub(crate) fn start(home: &Path, gateway: &str) -> Screen {
    let mut script = Command::new("script");
    script.env_clear();
    script.envs([("HOME", home.as_os_str()), ("TERM", "xterm".as_ref()), ("PATH", "/usr/bin:/bin".as_ref())]);
    let program = format!("{} --gateway {gateway}", env!("CARGO_BIN_EXE_luca-shell"));
    Screen::run(script, &program, Duration::from_secs(20))
}

pub(crate) const PROMPT: &str = "› ";

#[test]
fn ctrl_c_cancels_the_call_and_not_the_shell() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = start(home.path(), &gateway.address);
    screen.expect("cages: not on this kernel: the memory limit, the disk quota · system.cages says why");
    screen.expect(PROMPT);
    screen.press("test.slow\r");
    let call = gateway.wait_for_call("test.slow");
    screen.press("\u{3}");
    let cancelled = gateway.wait_for(|message| message["method"] == "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], call["id"]);
    screen.expect("cancelled");
    screen.expect(PROMPT);
    // At the prompt it clears the line.
    screen.press("half a li\u{3}");
    screen.expect(PROMPT);
    screen.press("kv.get hello\r");
    screen.expect("\"world\"");
    screen.expect(" ms");
    // Before the prompt the terminal would take the Ctrl-D for itself.
    screen.expect(PROMPT);
    screen.press("\u{4}");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn tab_completes_from_the_live_catalogue_and_the_history_outlives_the_shell() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = start(home.path(), &gateway.address);
    gateway.wait_for(|message| message["method"] == "tools/list");
    screen.expect(PROMPT);
    // One call with plain words is answered only when the catalogue is there.
    screen.press("kv.get hello\r");
    screen.expect("\"world\"");
    screen.press("kv.g\thello\r");
    gateway.wait_for_call("kv.get");
    assert_eq!(gateway.wait_for_call("kv.get")["params"]["arguments"]["key"], "hello");
    screen.expect("\"world\"");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
    let history = std::fs::read_to_string(home.path().join(".local/state/llmbasedos/history")).expect("kept");
    assert!(history.contains("kv.get hello"), "{history}");
    let mut screen = start(home.path(), &gateway.address);
    screen.expect(PROMPT);
    // Up, up: past `exit` to the call.
    screen.press("\u{1b}[A\u{1b}[A\r");
    screen.expect("\"world\"");
    screen.press("quit\r");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn a_models_text_is_shown_as_it_comes_and_once() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = start(home.path(), &gateway.address);
    screen.expect(PROMPT);
    screen.press("llm say hello\r");
    screen.expect("Hello there\r\n");
    assert!(!screen.expect("tiny · ").contains("Hello there"));
    screen.press("test.list\r");
    screen.expect("name  size");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn a_folder_is_deleted_only_after_a_yes() {
    let home = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::unix(home.path());
    let mut screen = start(home.path(), &gateway.address);
    screen.expect(PROMPT);
    screen.press("rm -r /sites/old\r");
    screen.expect("delete /sites/old and all that is in it? [y/N] ");
    screen.press("\r");
    screen.expect("/sites/old was not deleted");
    screen.press("rm -r /sites/old\r");
    screen.expect("[y/N] ");
    screen.press("y\r");
    let deleted = gateway.wait_for(|message| message["method"] == "mcp.fs.delete");
    assert_eq!(deleted["params"], serde_json::json!(["/sites/old", true]));
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
}

#[test]
fn without_a_system_the_shell_stays_and_says_what_to_do() {
    let home = tempfile::tempdir().expect("a folder");
    let path = crate::gateway::stale_socket(home.path());
    let mut screen = start(home.path(), &format!("unix:{}", path.display()));
    screen.expect("nobody answers at unix:");
    screen.expect("scripts/run");
    screen.expect(PROMPT);
    let gateway = Gateway::on(&home.path().join("other.sock"));
    screen.press(&format!("connect {}\r", gateway.address));
    screen.expect("connected to unix:");
    screen.press("kv.get hello\r");
    screen.expect("\"world\"");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
}
