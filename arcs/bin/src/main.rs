//! `arcs NAME`: the one program that holds all Arcs. init starts it once for each, so that they share their code on
//! disk and in memory.

use std::io::Write;
use std::process::ExitCode;

/// An Arc of this program.
struct Arc {
    name: &'static str,
    description: &'static str,
    run: fn() -> ExitCode,
}

/// Every Arc, in the order of the names.
const ARCS: &[Arc] = &[
    Arc { name: "awake", description: "thinks of a topic, publishes a site on it, remembers", run: awake::run },
    Arc { name: "files", description: "reads and writes files in the granted folder", run: files::run },
    Arc { name: "kv", description: "keeps values under keys, durably", run: kv::run },
    Arc { name: "llm_router", description: "asks a language model, local first", run: llm_router::run },
    Arc { name: "seo_affiliate", description: "writes a mini-site on a topic", run: seo_affiliate::run },
    Arc { name: "sites", description: "serves the finished mini-sites over HTTP", run: sites::run },
];

const USAGE: &str = "\
usage: arcs NAME
       arcs --list

Runs one Arc. init does so, with the sockets that the Arc serves: to start the whole system, run scripts/run.
";

/// The exit code of a command line that cannot be understood.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--help" | "-h"] => print(&format!("{USAGE}\n{}", list())),
        ["--list"] => print(&list()),
        ["--version" | "-V"] => print(&format!("arcs {}\n", env!("CARGO_PKG_VERSION"))),
        [name] => match ARCS.iter().find(|arc| arc.name == *name) {
            Some(arc) => (arc.run)(),
            None => refuse(&unknown(name)),
        },
        [] => refuse(&format!("which Arc is to run?\n{USAGE}\n{}", list())),
        _ => refuse(&format!("one name is expected, not {} words\n{USAGE}\n{}", arguments.len(), list())),
    }
}

fn list() -> String {
    ARCS.iter().map(|arc| format!("  {:<14} {}\n", arc.name, arc.description)).collect()
}

fn unknown(name: &str) -> String {
    let hint = spec::close_to(name, ARCS.iter().map(|arc| arc.name));
    format!("there is no Arc {name:?} in this program{hint}. It holds:\n{}", list())
}

fn print(text: &str) -> ExitCode {
    // A reader that closed the pipe early has read enough.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(message: &str) -> ExitCode {
    let _ = write!(std::io::stderr().lock(), "error: {message}");
    ExitCode::from(WRONG_USAGE)
}
