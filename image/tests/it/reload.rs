//! The last steps of CONTRIBUTING's "Adding an Arc" on a running system: its tool is there, and gone again with its
//! manifest. (The first steps are the example `greeter`, which is built with everything else.)

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::system::System;
use crate::workbench::{Workbench, two_free_ports, until};

#[test]
fn an_arc_comes_and_goes_with_its_manifest() {
    let bench = Workbench::new();
    let (data, port) = (bench.path("data"), two_free_ports());
    let system = System::start(bench.dev(&["--no-model", "--listen", &format!("127.0.0.1:{port}")]), port);
    let greet = || system.call(&["hello.greet", r#"{"name": "Ada"}"#]);
    let unknown = greet().expect_err("not there yet");
    assert!(unknown.contains("there is no tool hello.greet"), "{unknown}");

    let greeter = Path::new(env!("CARGO_BIN_EXE_image")).with_file_name("examples/greeter");
    assert!(greeter.is_file(), "it is not built: cargo build --workspace --examples");
    let manifest = data.join("arcs.d/hello.toml");
    let text = format!("name = \"hello\"\nversion = \"0.1.0\"\ndescription = \"Greets\"\nexec = [{greeter:?}]\n");
    fs::write(&manifest, text).expect("written");
    let greeted = until(|| greet().ok());
    assert_eq!(greeted["text"], "Hello Ada, says owner");
    assert_eq!(system.call(&["kv.set", r#"["a", 1]"#]), Ok(json!({"status": "ok"})), "the others are undisturbed");

    fs::remove_file(&manifest).expect("it is there");
    // A call on the way there may meet the Arc as it ends.
    until(|| greet().err().filter(|words| words.contains("there is no tool hello.greet")));
}
