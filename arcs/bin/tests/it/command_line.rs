//! What a person sees who runs `arcs` by hand.

use std::process::{Command, Output};

use crate::arc::ARCS;

fn arcs(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(ARCS).args(arguments).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_list_names_every_arc() {
    let (code, list, _) = arcs(&["--list"]);
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!((code, names), (Some(0), vec!["awake", "files", "kv", "llm_router", "seo_affiliate", "sites"]));
    let (code, help, _) = arcs(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(help.starts_with("usage: arcs NAME") && help.contains(&list), "{help}");
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let (code, out, error) = arcs(&["file"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.starts_with("error: there is no Arc \"file\" in this program. Close to it: files."), "{error}");
    assert!(error.contains("llm_router"), "{error}");
    let (code, _, error) = arcs(&["zzz"]);
    assert!(code == Some(2) && !error.contains("Close to it"), "{error}");
}

#[test]
fn a_wrong_command_line_says_what_is_right() {
    for (arguments, words) in
        [(&[][..], "which Arc is to run?"), (&["kv", "files"][..], "one name is expected, not 2 words")]
    {
        let (code, _, error) = arcs(arguments);
        assert_eq!(code, Some(2));
        assert!(error.contains(words) && error.contains("usage: arcs NAME"), "{error}");
    }
}

#[test]
fn an_arc_that_init_did_not_start_says_how_to() {
    let (code, _, error) = arcs(&["kv"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot start: init handed over no descriptor called mcp"), "{error}");
}
