//! `secret set` and its kin, with an init that does what a script says beside the gateway.

use std::io::{BufRead, BufReader, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{SealFlags, fcntl_get_seals};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::interactive::{PROMPT, start};
use crate::program::Program;

const CANARY: &str = "sk-Canary-1";

/// What init was asked: the message, and the content of the memory file that came with it.
type Asked = (Value, Option<Vec<u8>>);

/// A gateway with an init beside it, in the folder `run`.
struct Machine {
    gateway: Gateway,
    asked: Receiver<Asked>,
    run: PathBuf,
}

impl Machine {
    fn start(home: &Path) -> Self {
        let run = home.join("run");
        let gateway = Gateway::on(&run.join("mcp/gateway.sock"));
        let listener = UnixListener::bind(run.join("init.sock")).expect("bound");
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asked = hear(&stream);
                let answer = answer(&asked.0);
                let _ = (&stream).write_all(format!("{answer}\n").as_bytes());
                if sender.send(asked).is_err() {
                    break;
                }
            }
        });
        Self { gateway, asked, run }
    }

    fn asked(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(20)).expect("init was asked")
    }

    /// That init was asked nothing more.
    fn assert_idle(&self) {
        assert!(self.asked.try_recv().is_err());
    }
}

fn hear(stream: &UnixStream) -> Asked {
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty());
    bytes.truncate(received.expect("received").bytes);
    let mut attached: Option<OwnedFd> = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            attached = rights.into_iter().next();
        }
    }
    if !bytes.ends_with(b"\n") {
        let mut rest = String::new();
        BufReader::new(stream).read_line(&mut rest).expect("the rest");
        bytes.extend(rest.into_bytes());
    }
    let value = attached.map(|descriptor| {
        let seals = fcntl_get_seals(&descriptor).expect("a memory file");
        assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW));
        let (mut file, mut value) = (std::fs::File::from(descriptor), Vec::new());
        file.rewind().and_then(|()| file.read_to_end(&mut value)).expect("read");
        value
    });
    (serde_json::from_slice(&bytes).expect("JSON"), value)
}

fn answer(asked: &Value) -> Value {
    let info = |name: &Value, arcs: &[&str]| json!({"name": name, "set_ms": 1_700_000_000_000_u64, "arcs": arcs});
    let name = &asked["params"]["name"];
    match (asked["method"].as_str(), name.as_str()) {
        (Some("secret.list"), _) => json!({"id": 1, "result": [info(&json!("openai"), &["llm_router"])]}),
        (_, Some("openai")) => json!({"id": 1, "result": info(name, &["llm_router"])}),
        (_, Some("broken")) => json!({"id": 1, "error": {"code": -32603, "message": "the store cannot be written"}}),
        _ => json!({"id": 1, "result": info(name, &[])}),
    }
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// What lies in files below `folder`.
fn all_text(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let text = |path: PathBuf| match path.is_dir() {
        true => all_text(&path),
        false if path.is_file() => std::fs::read_to_string(&path).unwrap_or_default(),
        false => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn a_value_goes_from_the_standard_input_to_init_alone() {
    let home = home();
    let machine = Machine::start(home.path());
    let run = |arguments: &[&str], input: &str| {
        Program::run(home.path(), arguments).gateway(&machine.gateway.address).input(input).end()
    };
    let set = run(&["secret", "set", "openai"], "sk-Canary-1\n");
    assert_eq!(set.code, 0, "{set:?}");
    let (message, value) = machine.asked();
    assert_eq!(message["params"], json!({"name": "openai"}));
    assert_eq!(value.as_deref(), Some(CANARY.as_bytes()));
    assert_eq!(set.err, "granted to: llm_router; restart it with system.restart llm_router\n");
    assert!(set.out.contains("\"openai\"") && !set.out.contains("Canary"), "{set:?}");

    let set = run(&["secret.set", "mail"], "two\nlines\n\n");
    assert_eq!(machine.asked().1.as_deref(), Some(&b"two\nlines\n"[..]));
    assert!(set.err.starts_with("no Arc names it yet: add secrets = [\"mail\"] to its arc.toml"), "{set:?}");
    assert_eq!(run(&["secret", "list"], "").code, 0);
    assert_eq!(machine.asked().0["method"], "secret.list");
    assert_eq!(run(&["secret", "delete", "openai"], "").code, 0);
    assert_eq!(machine.asked().0["method"], "secret.delete");
    let broken = run(&["secret", "set", "broken"], CANARY);
    assert!(broken.code == 1 && broken.err.contains("the store cannot be written"), "{broken:?}");
    assert!(!broken.err.contains("Canary"), "{broken:?}");
    machine.asked();
    assert_eq!(run(&["secret", "set", "openai"], "\n").code, 2, "an empty value");
    machine.assert_idle();
    assert_eq!(machine.gateway.methods(), Vec::<String>::new(), "the gateway is not asked");
}

#[test]
fn a_value_is_never_an_argument_and_never_sent_over_the_network() {
    let home = home();
    let machine = Machine::start(home.path());
    let run =
        |arguments: &[&str]| Program::run(home.path(), arguments).gateway(&machine.gateway.address).input("x").end();
    for arguments in [&["secret", "set", "openai", CANARY][..], &["secret.set", CANARY], &["secret", CANARY]] {
        let refused = run(arguments);
        assert!(refused.code == 2 && !refused.err.contains("Canary"), "{refused:?}");
    }
    assert!(run(&["secret", "set", "openai", CANARY]).err.contains("a value is never an argument"));
    let remote =
        Program::run(home.path(), &["secret", "set", "openai"]).gateway("ws://127.0.0.1:9/ws").input("x").end();
    assert!(remote.code == 2 && remote.err.contains("on the machine itself"), "{remote:?}");
    machine.assert_idle();
    let piped = Program::shell(home.path(), &machine.gateway.address, "secret set openai\nsk-Canary-1\n").end();
    assert!(piped.err.contains("luca-run secret set NAME < FILE"), "{piped:?}");
    std::fs::remove_file(machine.run.join("init.sock")).expect("removed");
    let gone = run(&["secret", "list"]);
    assert!(gone.code == 3 && gone.err.contains("init.sock"), "{gone:?}");
}

#[test]
fn a_value_that_is_typed_is_not_shown_and_not_in_the_history() {
    let home = home();
    let machine = Machine::start(home.path());
    let mut screen = start(home.path(), &machine.gateway.address);
    screen.expect(PROMPT);
    screen.press("secret set openai\r");
    screen.expect("value of openai (not shown): ");
    screen.press("sk-Canary-12\u{7f}\r");
    let shown = screen.expect("granted to: llm_router");
    assert!(!shown.contains("Canary"), "{shown:?}");
    assert_eq!(machine.asked().1.as_deref(), Some(CANARY.as_bytes()));
    screen.expect(PROMPT);

    // Ctrl-C leaves all as it is, and the terminal shows again what is typed.
    screen.press("secret.set openai\r");
    screen.expect("(not shown): ");
    screen.press("sk-Can\u{3}");
    screen.expect("cancelled");
    screen.expect(PROMPT);
    // Two lines at once are more than was meant, and the second one is no command.
    screen.press("secret set openai\r");
    screen.expect("(not shown): ");
    screen.press("sk-Canary-1\rsk-Canary-2\r");
    screen.expect("more than one line");
    screen.expect(PROMPT);
    screen.press("secret set openai sk-Canary-3\r");
    screen.expect("a value is never an argument");
    screen.expect(PROMPT);
    machine.assert_idle();
    screen.press("secret list\r");
    screen.expect("openai");
    screen.expect("llm_router");
    screen.press("exit\r");
    assert_eq!(screen.exit_code(), Some(0));
    let kept = all_text(&home.path().join(".local"));
    assert!(kept.contains("secret set openai\n") && !kept.contains("Canary"), "{kept}");
}
