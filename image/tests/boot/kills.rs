//! Whatever dies in a machine comes back, and whoever calls is answered.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::guest::{Guest, until};
use crate::machine::Machine;

/// A call that each Arc answers in the same way again and again, be it by a refusal.
const CALLS: [(&str, &[&str]); 6] = [
    ("kv", &["kv.get", "nothing"]),
    ("files", &["fs.list"]),
    ("sites", &["sites.list"]),
    ("llm_router", &["llm.models"]),
    ("seo_affiliate", &["seo_affiliate.generate_site", "{}"]),
    ("awake", &["awake.tick", r#"{ "sentinel": "nobody" }"#]),
];
/// The services of the system: any call is answered while they come back.
const SERVICES: [&str; 3] = ["gateway", "netd", "logd"];

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn whatever_is_killed_comes_back_and_no_call_is_lost() {
    let machine = Machine::new().with_hand();
    machine.service("dry", r#"["/data/saboteur", "fail"]"#);
    let guest = machine.boot_to_ready("");
    let mut hand = guest.hand();

    let dry = guest.service_comes_to("dry", |service| service["state"] == "failed");
    let expected = "failed 5 times within 60 s; the last time: exited with code 7: the well is dry";
    assert_eq!(dry["reason"], expected);
    assert!(guest.console().contains(expected), "the screen says so");

    for (arc, call) in CALLS {
        let before = guest.call(call);
        let usual = time(|| assert_eq!(guest.call(call), before));
        assert_eq!(hand.does(&format!("kill {arc}")), "1", "{arc} runs once");
        let after_kill = time(|| assert_eq!(guest.call(call), before, "{arc} answers as before"));
        eprintln!("{arc}: answers after {after_kill:.2?} when it was killed, else after {usual:.2?}");
        guest.service_comes_to(arc, |service| service["state"] == "running");
    }
    for service in SERVICES {
        let killed = guest.service(service)["pid"].clone();
        assert_eq!(hand.does(&format!("kill {service}")), "1", "{service} runs once");
        let after_kill = time(|| assert!(guest.call(&["kv.get", "nothing"]).is_ok(), "killed: {service}"));
        eprintln!("{service}: killed, a call is answered after {after_kill:.2?}");
        guest.service_comes_to(service, |now| now["state"] == "running" && now["pid"] != killed);
    }
    let logs = guest.call_until_answered(&["system.logs", "dry"]).to_string();
    assert!(logs.contains("the well is dry"), "what was logged before logd was killed is there: {logs}");

    survive_a_storm(&guest, &mut |line| hand.does(line));
    guest.power_off();
}

/// Orphans by the hundred: all are reaped, and nobody notices.
fn survive_a_storm(guest: &Guest<'_>, does: &mut dyn FnMut(&str) -> String) {
    let restarts = |guest: &Guest<'_>| -> Value {
        let all = guest.call_until_answered(&["system.services"]);
        all.as_array().into_iter().flatten().map(|service| service["restarts"].clone()).collect()
    };
    let before = restarts(guest);
    assert_eq!(does("storm 500"), "500");
    let does = std::cell::RefCell::new(does);
    until("every orphan is reaped", || Some(()).filter(|()| (does.borrow_mut())("zombies") == "0"));
    assert_eq!(restarts(guest), before);
}

fn time(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}
