//! The first boot of a machine on a disk that is larger than the image, with a file of its owner that is broken, and a
//! clock that has stopped; and the second.

use serde_json::json;

use crate::guest::Guest;
use crate::machine::Machine;

/// 2025-01-01: no source of this image is older.
const LONG_AGO_MS: u64 = 1_735_689_600_000;

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn what_a_machine_has_at_its_first_boot_it_has_at_the_next() {
    let machine = Machine::new();
    machine.enlarge(1 << 30);
    machine.settings("hostnam = \"attic\"\n[listen]\ngateway = \"everywhere\"\n");
    let (_, small) = machine.partition("data");
    let mut guest = machine.boot("", &["-rtc", "base=1970-01-01"]);

    let claim = guest.says("  claim ");
    let setup_code = claim.split_ascii_whitespace().next_back().expect("a code").to_owned();
    let certificate = guest.says("certificate sha256 ");
    guest.token = claimed(&guest, &setup_code);
    for words in [
        "llmbasedos.toml:1: hostnam: unknown key. Close to it: hostname",
        "llmbasedos.toml:3: listen.gateway: must be ADDRESS:PORT",
        "(slot A, verified)",
        " · grown to fill the disk",
        " up · 0 failed",
    ] {
        assert!(guest.console().contains(words), "no {words:?} on the screen");
    }
    let status = guest.call_until_answered(&["system.status"]);
    assert_eq!(
        (&status["ready"], &status["slot"], &status["host_name"]),
        (&json!(true), &json!("a"), &json!("llmbasedos"))
    );
    assert!(status["problems"].to_string().contains("llmbasedos.toml:3: listen.gateway"), "{status}");
    assert!(status["watchdog_seconds"].as_u64().is_some_and(|seconds| seconds > 0), "{status}");
    assert!(guest.service("kv")["since_ms"].as_u64() > Some(LONG_AGO_MS), "time begins when the image was built");
    assert!(guest.get("/").contains("200 OK") && guest.get("/ws").contains("401"), "nothing is open");
    // Init is told that the token was shown beside what is asked with it.
    let status = guest.call_until_answered(&["system.status"]);
    assert_eq!(status["ownership"], "claimed", "{status}");
    let digest = status["certificate_sha256"].as_str().expect("a digest");
    assert!(certificate.contains(&digest[..29]), "{certificate} {digest}");
    let log = guest.call_until_answered(&["system.logs", "{\"lines\": 1000}"]).to_string();
    assert!(log.contains("claim: somebody has entered the set-up code"), "{log}");
    assert!(!log.contains(&setup_code) && !log.contains(&guest.token), "neither is in the log: {log}");
    guest.call(&["kv.set", "greeting", "hello"]).expect("kept");
    let token = guest.token.clone();
    guest.power_off();

    assert_eq!(machine.partition("data").1, small + (1 << 30));
    let (code, said) = machine.check_data("-fn");
    assert_eq!(code, Some(0), "{said}");
    let identity = machine.debugfs("cat /machine-id");
    let seed = machine.debugfs("cat /random-seed");
    assert!(identity.trim().len() == 32 && !seed.is_empty(), "{identity}");

    let mut guest = machine.boot_to_ready("");
    guest.token = token;
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    let console = guest.console();
    assert!(!console.contains("grown"), "there was nothing to grow");
    assert!(console.contains("claimed: come in with your token"), "it is claimed for good");
    assert!(console.contains(certificate.trim()), "its certificate is the same");
    assert_eq!(guest.claim(&setup_code).0, "403");
    assert!(!console.contains("has yet to come up well"), "the slot was well when the machine was switched off");
    guest.power_off();
    assert_eq!(machine.debugfs("cat /machine-id"), identity);
    assert_ne!(machine.debugfs("cat /random-seed"), seed);
}

/// Claims the machine, which nobody has done yet, and shows that nobody does it twice; answers the token.
fn claimed(guest: &Guest<'_>, code: &str) -> String {
    assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
    let page = guest.get("/");
    assert!(page.contains("It is nobody's yet.") && !page.contains("<form"), "{page}");
    assert!(!page.contains("llm_router") && !page.contains("10.0.2.15"), "strangers are told little: {page}");
    let (status, page) = guest.page("/", None, None);
    assert!(status == "200" && page.contains("action=\"/claim\""), "{page}");
    assert_eq!(guest.claim("2222-2222").0, "403");
    let (status, token) = guest.claim(&code.to_lowercase());
    assert_eq!(status, "200", "{token}");
    guest.says("token given, not yet shown");
    assert_eq!(guest.claim(code).0, "403", "once");
    let (_, page) = guest.page("/", None, Some(&token));
    assert!(page.contains("llm_router") && page.contains("10.0.2.15"), "its owner is told more: {page}");
    guest.says("claimed: come in with your token");
    token
}
