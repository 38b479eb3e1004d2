//! `luca-shell`: lines from a person or a pipe, each run in turn.

mod complete;
mod files;
mod language;
mod session;
mod watch;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;

use crate::address::{Address, home_folder};
use crate::call::Patience;
use crate::failure::Error;
use crate::render::safe;
use crate::render::terminal::{Role, Terminal};
use crate::secret;
use complete::Completions;
use language::{Next, run_line};
use session::Session;

/// The interactive command line of the running system. Lines from a pipe are run one after another.
#[derive(Debug, Parser)]
#[command(name = "luca-shell", version, after_help = AFTER_HELP)]
pub struct ShellOptions {
    /// The gateway: unix:PATH, ws://HOST:PORT/ws, or through TLS wss://HOST/ws#sha256=DIGITS, its certificate [default: $LLMBASEDOS_GATEWAY, or found]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Address>,
    /// A file with the token that a gateway on another machine asks for [default: $LLMBASEDOS_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Type `help` inside. From a pipe: one command a line, blank lines and # comments skipped, one result a line;
the exit code is 0 if all succeeded, 3 if no gateway is reachable, 130 after Ctrl-C, else 1.";

/// How many lines the history keeps.
const HISTORY_MAX: usize = 10_000;

type LineEditor = Editor<Completions, FileHistory>;

/// Runs `luca-shell` to its exit code.
#[must_use]
pub fn shell(options: ShellOptions) -> ExitCode {
    let is_interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    // One worker besides this thread, which waits for keys: the connection lives on while nobody types.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = runtime.map_err(|source| Error::Io { what: "luca-shell cannot start", source }).and_then(|runtime| {
        let session = Session::new(options.gateway, options.token_file, is_interactive);
        let outcome = if is_interactive { interactive(session, &runtime) } else { piped(session, &runtime) };
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        session::complain(&error);
        ExitCode::from(error.exit_code())
    })
}

fn interactive(mut session: Session, runtime: &Runtime) -> Result<ExitCode, Error> {
    let mut editor = editor(&session).map_err(|error| unusable(&error))?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none yet at the first start.
        let _ = editor.load_history(path);
    }
    runtime.block_on(session.greet());
    loop {
        let line = match editor.readline(&prompt(&session)) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(unusable(&error)),
        };
        remember(&mut editor, history.as_ref(), &secret::for_history(&line));
        let mut ask = |question: &str| matches!(editor.readline(question), Ok(answer) if answer.trim() == "y");
        match runtime.block_on(run_line(&mut session, &line, &mut ask)) {
            Ok(Next::Line) => {}
            Ok(Next::Leave) => return Ok(ExitCode::SUCCESS),
            Err(error) => session::complain(&error),
        }
    }
}

fn piped(mut session: Session, runtime: &Runtime) -> Result<ExitCode, Error> {
    runtime.block_on(async {
        session.connect().await?;
        let mut patience = Patience::new(None)?;
        let mut lines = lines_of_input();
        let mut code = ExitCode::SUCCESS;
        while let Some(line) = patience.wait("a line", async { Ok(lines.recv().await) }).await? {
            let line = line.map_err(|source| Error::Io { what: "the standard input cannot be read", source })?;
            // Nobody is there to be asked: what a script says is meant.
            match run_line(&mut session, &line, &mut |_| true).await {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => break,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    session::complain(&error);
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    })
}

/// The lines of the standard input, read on a thread of their own so that Ctrl-C is heard meanwhile.
fn lines_of_input() -> tokio::sync::mpsc::Receiver<std::io::Result<String>> {
    let (sender, lines) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn editor(session: &Session) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Completions::new(session.known_tools(), Terminal::of(&std::io::stdout()))));
    Ok(editor)
}

/// `luca ›`, with the folder where that is not the top one: plain, and in colour.
fn prompt(session: &Session) -> (String, String) {
    let terminal = Terminal::of(&std::io::stdout());
    let folder = if session.folder() == "/" { String::new() } else { format!("{} ", safe::line(session.folder())) };
    (format!("luca {folder}› "), format!("{} {folder}› ", terminal.paint(Role::Strong, "luca")))
}

/// `$XDG_STATE_HOME/llmbasedos/history`, its folder made for this user alone.
fn history_file() -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = home_folder("XDG_STATE_HOME", ".local/state")?.join("llmbasedos");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Some(folder.join("history"))
}

/// Keeps the line at once: a shell that is killed has lost nothing.
fn remember(editor: &mut LineEditor, history: Option<&PathBuf>, line: &str) {
    if line.trim().is_empty() {
        return;
    }
    let is_new = editor.add_history_entry(line).unwrap_or(false);
    if let Some(path) = history.filter(|_| is_new) {
        // A history that cannot be written is no reason to refuse the command.
        let _ = editor.append_history(path);
    }
}

fn unusable(error: &ReadlineError) -> Error {
    Error::Io { what: "the terminal cannot be used", source: std::io::Error::other(error.to_string()) }
}

/// Writes a line to the standard output.
///
/// # Errors
/// It cannot be written.
fn say(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|source| Error::Io { what: "the output cannot be written", source })
}
