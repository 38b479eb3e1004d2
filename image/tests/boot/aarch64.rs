//! The image for 64-bit ARM, on the machine that QEMU calls `virt`.

use serde_json::json;

use crate::machine::{Architecture, Machine};

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn the_other_kind_of_machine_comes_up_keeps_what_it_is_told_and_ends_in_order() {
    let machine = Machine::of(Architecture::Aarch64);
    machine.enlarge(1 << 30);
    let guest = machine.boot_to_ready("");
    for words in ["(slot A, verified)", "aarch64 · 2 cores", " · grown to fill the disk", " up · 0 failed"] {
        assert!(guest.console().contains(words), "no {words:?} on the screen");
    }
    let status = guest.call_until_answered(&["system.status"]);
    assert_eq!((&status["ready"], &status["slot"], &status["audit"]), (&json!(true), &json!("a"), &json!("ok")));
    guest.call(&["kv.set", "greeting", "hello"]).expect("kept");
    guest.power_off();
    let (code, said) = machine.check_data("-fn");
    assert_eq!(code, Some(0), "{said}");

    let guest = machine.boot_by_firmware();
    guest.says("(slot A, verified)");
    assert_eq!(guest.call_until_answered(&["kv.get", "greeting"]), json!("hello"));
    guest.power_off();
}
