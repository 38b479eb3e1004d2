//! The machine's own Ollama, in an image that has it and a model: what it answers, what it cannot reach, how it ends. And
//! llama.cpp's server, which a lite image has in its place.
//!
//! These tests need an image with the real program, which is not to be had everywhere. Without one they say so and test
//! nothing:
//!
//! ```text
//! cargo image build --ollama ollama-linux-amd64.tar.zst --starter-model MODEL.gguf
//! LLMBASEDOS_BOOT_IMAGE=build/x86_64-ollama cargo test -p image --test boot -- --ignored --nocapture --test-threads=1 ollama
//!
//! scripts/build-image x86_64 --lite --starter-model MODEL.gguf
//! LLMBASEDOS_BOOT_IMAGE=build/buildroot/x86_64/images/llmbasedos cargo test … a_lite_machine
//! ```

use std::cell::RefCell;
use std::time::Instant;

use serde_json::{Value, json};

use crate::guest::{Guest, until};
use crate::machine::{Machine, TOKEN, built};

/// A model takes more memory than other machines of the tests have. It is emulated several times as fast without AVX, and on
/// one processor: all are emulated on one thread, where threads of the model that wait for each other spin in vain.
const OPTIONS: [&str; 6] = ["-smp", "1", "-m", "1536", "-cpu", "max,cx16=off,avx=off"];
/// Emulated, it writes a word in seconds.
const SETTINGS: &str = "[arcs.llm_router.backends.ollama]\nkind = \"ollama\"\nurl = \"http://127.0.0.1:11434\"\n\
                        timeout = \"9m\"\nparallel = 1\n";

/// A machine with that program; `None` where the image that is booted has none.
fn machine_with(program: &str) -> Option<Machine> {
    let is_there = built(&format!("work/root/usr/bin/{program}")).exists();
    if !is_there {
        eprintln!("LEFT OUT: the image has no {program}. See image/tests/boot/ollama.rs for how to build one that has");
    }
    is_there.then(Machine::new)
}

/// The same with Ollama.
fn machine() -> Option<Machine> {
    machine_with("ollama")
}

/// Boots it and waits until its model server answers; answers what the router says of it.
fn boot<'m>(machine: &'m Machine, options: &[&str]) -> (Guest<'m>, Value) {
    let guest = machine.boot("", options);
    guest.says("  claim ");
    let state = until("its model server answers", || {
        let all = guest.call(&["llm.models", "{}"]).map_err(|error| eprintln!("{error}")).ok()?;
        all.as_array()?.iter().find(|state| state["ready"] == true).cloned()
    });
    (guest, state)
}

/// What a service uses: processes, and their memory in MB.
fn usage(guest: &Guest<'_>, name: &str) -> Option<(u64, u64)> {
    let metrics = guest.call_until_answered(&["system.metrics"]);
    let of = metrics["services"].as_array()?.iter().find(|service| service["name"] == name)?;
    Some((of["processes"].as_u64()?, of["memory"].as_u64()? / 1_000_000))
}

#[test]
#[ignore = "boots an image with Ollama, and takes minutes: see above"]
fn ollama_answers_with_no_configuration_and_its_end_is_the_end_of_its_runners() {
    let Some(machine) = machine() else { return };
    let machine = machine.with_hand();
    let (guest, state) = boot(&machine, &OPTIONS);
    assert_eq!((&state["backend"], &state["ready"]), (&json!("ollama"), &json!(true)), "{state}");
    let mut hand = guest.hand();
    assert_eq!((hand.does("count ollama"), hand.does("count llama-server")), ("1".to_owned(), "0".to_owned()));
    eprintln!("  ollama, idle: {:?} (processes, MB)", usage(&guest, "ollama"));

    let begun = Instant::now();
    let ask = r#"{"messages": [{"role": "user", "content": "Hi"}], "options": {"max_tokens": 8}}"#;
    let answer = guest.call_for("9m", &["llm.chat", ask]).expect("it answers");
    let seconds = begun.elapsed().as_secs_f64();
    let text = answer["choices"][0]["message"]["content"].as_str().expect("a text");
    assert!(!text.trim().is_empty(), "{answer}");
    assert_eq!((&answer["backend"], &answer["model"]), (&json!("ollama"), &state["model"]), "{answer}");
    let begun = Instant::now();
    guest.call_for("9m", &["llm.chat", ask]).expect("it answers");
    let again = begun.elapsed().as_secs_f64();
    eprintln!("  it says {text:?} after {seconds:.1} s, loaded {again:.1} s: {}", answer["usage"]);
    eprintln!("  ollama with a model: {:?} (processes, MB)", usage(&guest, "ollama"));

    assert_eq!((hand.does("count ollama"), hand.does("count llama-server")), ("1".to_owned(), "1".to_owned()));
    guest.call(&["system.stop", "ollama"]).expect("stopped");
    guest.service_comes_to("ollama", |service| service["state"] == "stopped");
    assert_eq!((hand.does("count ollama"), hand.does("count llama-server")), ("0".to_owned(), "0".to_owned()));
    guest.call(&["system.start", "ollama"]).expect("started");
    let answers = || guest.call_for("9m", &["llm.chat", ask]).map_err(|error| eprintln!("{error}")).ok();
    // The service is up before it listens.
    until("it answers again", answers);

    // Whoever kills it does not leave the model behind in memory.
    assert_eq!(hand.does("kill ollama"), "1");
    let hand = RefCell::new(hand);
    until("its runner has gone with it", || (hand.borrow_mut().does("count llama-server") == "0").then_some(()));
    until("it was started again", answers);
    guest.power_off();
}

#[test]
#[ignore = "boots a lite image: see above"]
fn a_lite_machine_answers_with_no_configuration() {
    let Some(machine) = machine_with("llama-server") else { return };
    let (guest, state) = boot(&machine, &OPTIONS);
    assert_eq!((&state["backend"], &state["kind"]), (&json!("llama_server"), &json!("openai")), "{state}");
    let begun = Instant::now();
    let ask = r#"{"messages": [{"role": "user", "content": "Hi"}], "options": {"max_tokens": 8}}"#;
    let answer = guest.call_for("9m", &["llm.chat", ask]).expect("it answers");
    let (text, seconds) = (&answer["choices"][0]["message"]["content"], begun.elapsed().as_secs_f64());
    assert!(text.as_str().is_some_and(|text| !text.trim().is_empty()), "{answer}");
    eprintln!("  it says {text} after {seconds:.1} s: {}", answer["usage"]);
    eprintln!("  llama_server with a model: {:?} (processes, MB)", usage(&guest, "llama_server"));
    guest.power_off();
}

#[test]
#[ignore = "boots an image with Ollama: see above"]
fn ollama_reaches_its_registry_alone_and_what_it_cannot_do_is_said() {
    let Some(machine) = machine() else { return };
    let (guest, _) = boot(&machine, &OPTIONS);
    let cage = guest.call(&["system.cage", "ollama"]).expect("known");
    let may: Vec<&str> = cage["may"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let reached: Vec<&str> = may.iter().filter(|line| line.starts_with("reaches ")).copied().collect();
    assert_eq!(reached.len(), 2, "{may:?}");
    assert!(reached[0].starts_with("reaches registry.ollama.ai:443,"), "{reached:?}");
    assert!(may.contains(&"is reached at its own 127.0.0.1:11434, through the gateway"), "{may:?}");

    let refused = |words: &[&str]| guest.call_for("5m", words).expect_err("refused");
    let elsewhere = refused(&["llm.pull", r#"{"model": "example.com/library/tiny"}"#]);
    assert!(elsewhere.contains("could not be fetched") && elsewhere.contains("Forbidden"), "{elsewhere}");
    let unknown =
        refused(&["llm.chat", r#"{"messages": [{"role": "user", "content": "Hi"}], "options": {"model": "no"}}"#]);
    assert!(unknown.contains("no backend has a model"), "{unknown}");
    let gone = refused(&["llm.remove", r#"{"model": "nonesuch"}"#]);
    assert!(gone.contains("nonesuch could not be removed") && gone.contains("not found"), "{gone}");
    let cage = guest.call(&["system.cage", "ollama"]).expect("known");
    eprintln!("  its cage, with what it refused: {cage:#}");
    guest.power_off();
}

#[test]
#[ignore = "boots an image with Ollama, and takes an hour where it is emulated: see above"]
fn ollama_writes_a_site_in_a_tick() {
    let Some(machine) = machine() else { return };
    machine.settings(&format!("[gateway]\ntokens = [\"{TOKEN}\"]\n{SETTINGS}"));
    let (guest, state) = boot(&machine, &OPTIONS);
    let begun = Instant::now();
    let tick = guest.call_for("6h", &["awake.tick", "{}"]).expect("it acts");
    eprintln!("  a tick with {} took {:.0} s: {tick:#}", state["model"], begun.elapsed().as_secs_f64());
    assert_eq!(tick["triggered"], json!(true), "{tick}");
    guest.power_off();
}
