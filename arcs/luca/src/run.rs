//! `luca-run`: one call, its result on the standard output.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::address::{Address, Surroundings, candidates};
use crate::arguments::request;
use crate::call::{Patience, conduct};
use crate::client::Client;
use crate::failure::Error;
use crate::help;
use crate::render::progress::Stages;
use crate::render::terminal::Terminal;
use crate::render::{error, json, safe};
use crate::secret;
use crate::token;
use crate::words::{self, Given};

/// Calls one tool of the running system and prints its result.
#[derive(Debug, Parser)]
#[command(name = "luca-run", version, after_help = AFTER_HELP)]
pub struct RunOptions {
    /// The tool, with or without `mcp.` in front: kv.get
    method: String,
    /// One JSON array or object, or plain words and name=value; `-` reads JSON from the standard input, as does
    /// nothing at all where that is a pipe or a file
    #[arg(allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Print the result as one line of JSON without colour, and an error as JSON too
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Give up after this time: 500ms, 30s, 5m [default: the tool's own limit]
    #[arg(long, value_name = "TIME", value_parser = spec::parse_duration)]
    timeout: Option<Duration>,
    /// The gateway: unix:PATH, ws://HOST:PORT/ws, or through TLS wss://HOST/ws#sha256=DIGITS, its certificate [default: $LLMBASEDOS_GATEWAY, or found]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Address>,
    /// A file with the token that a gateway on another machine asks for [default: $LLMBASEDOS_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  luca-run mcp.kv.set '[\"hello\", \"world\"]'
  luca-run kv.get hello
  luca-run seo_affiliate.generate_site site_id=demo keyword=\"self custody\"
  luca-run secret set openai
  echo '{\"key\": \"hello\"}' | luca-run kv.get

Exit codes:
  0    the tool answered
  1    the tool failed
  2    the command line or its JSON is wrong
  3    no gateway is reachable, or the connection was lost
  4    --timeout is over
  130  Ctrl-C; the call was cancelled";

/// Runs `luca-run` to its exit code.
#[must_use]
pub fn run(options: RunOptions) -> ExitCode {
    let as_json = options.json;
    let words: Vec<&str> = std::iter::once(&options.method).chain(&options.arguments).map(String::as_str).collect();
    if let Some(command) = secret::parse(&words) {
        return command
            .and_then(|command| keep_secret(&options, &command))
            .map_or_else(|error| report(&error, as_json), |()| ExitCode::SUCCESS);
    }
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "luca-run cannot start", source })
        .and_then(|runtime| {
            let outcome = runtime.block_on(work(options));
            // A read of the standard input may still be under way, and nobody waits for it any more.
            runtime.shutdown_background();
            outcome
        });
    let result = outcome.and_then(|value| print(&value, as_json));
    result.map_or_else(|error| report(&error, as_json), |()| ExitCode::SUCCESS)
}

/// What is about secrets goes to init, and takes no gateway.
fn keep_secret(options: &RunOptions, command: &secret::Command) -> Result<(), Error> {
    let addresses = candidates(options.gateway.as_ref(), &Surroundings::of_this_process())?;
    let done = secret::run(&addresses, command, secret::Source::StandardInput)?;
    print(&done.value, options.json)?;
    if let Some(advice) = done.advice.filter(|_| !options.quiet && !options.json) {
        complain(&safe::line(&advice));
    }
    Ok(())
}

async fn work(options: RunOptions) -> Result<Value, Error> {
    let mut patience = Patience::new(options.timeout)?;
    let given = match options.arguments.as_slice() {
        [] if !std::io::stdin().is_terminal() => None,
        [dash] if dash == "-" => match patience.wait("the standard input", StandardInput::read().rest()).await? {
            Given::Nothing => return Err(Error::Usage("the standard input is empty: JSON was expected there".into())),
            given => Some(given),
        },
        _ => Some(Given::from_arguments(options.arguments)?),
    };
    let addresses = candidates(options.gateway.as_ref(), &Surroundings::of_this_process())?;
    let token = token::find(options.token_file.as_deref())?;
    let connecting = Client::connect(&addresses, token.as_ref(), "luca-run");
    let client = patience.wait("the gateway", connecting).await?;
    let given = match given {
        Some(given) => given,
        None => piped(&client, &options.method, options.quiet, &mut patience).await?,
    };
    call(&client, &options.method, given, options.quiet, &mut patience).await
}

async fn call(
    client: &Client,
    method: &str,
    given: Given,
    is_quiet: bool,
    patience: &mut Patience,
) -> Result<Value, Error> {
    // To list the tools wakes every Arc. Words cannot do without; what is JSON already, the gateway maps as well.
    let catalogue = match &given {
        Given::Words(_) => Some(patience.wait("tools/list", client.catalogue()).await?),
        Given::Nothing | Given::Json(_) => None,
    };
    let request = request(method, given, catalogue.as_ref())?;
    let called = match is_quiet {
        true => conduct(client, &request, patience, &mut ()).await,
        false => {
            let terminal = Terminal::of(&std::io::stderr());
            let mut stages = Stages::new(std::io::stderr(), terminal, request.name(), Instant::now());
            let called = conduct(client, &request, patience, &mut stages).await;
            stages.finish(Instant::now());
            called
        }
    };
    called.map_err(|error| help::advised(error, &request, catalogue.as_ref(), "luca-run "))
}

/// The largest JSON that is taken from the standard input, that of the gateway's own frames being below it.
const INPUT_MAX: u64 = 64 << 20;
/// When nothing has come by then, nothing may ever come.
const INPUT_SILENCE: Duration = Duration::from_secs(2);

/// What comes on the standard input where nothing else was given. Who runs us may leave it open and never write to it:
/// a tool that needs no arguments does not wait for them for ever.
async fn piped(client: &Client, method: &str, is_quiet: bool, patience: &mut Patience) -> Result<Given, Error> {
    let mut input = StandardInput::read();
    let silence = async {
        tokio::select! {
            () = input.begins() => Ok(false),
            () = tokio::time::sleep(INPUT_SILENCE) => Ok(true),
        }
    };
    if patience.wait("the standard input", silence).await? {
        let catalogue = patience.wait("tools/list", client.catalogue()).await?;
        let tool = catalogue.get(method.strip_prefix("mcp.").unwrap_or(method));
        if !tool.is_some_and(|tool| tool.arguments.iter().any(|argument| argument.required)) {
            return Ok(Given::Nothing);
        }
        if !is_quiet {
            complain("reading the arguments from the standard input");
        }
    }
    patience.wait("the standard input", input.rest()).await
}

/// The standard input, read in a thread of its own: nothing else can read it without blocking.
struct StandardInput {
    begun: oneshot::Receiver<()>,
    text: JoinHandle<std::io::Result<String>>,
}

impl StandardInput {
    fn read() -> Self {
        let (sender, begun) = oneshot::channel();
        let text = tokio::task::spawn_blocking(|| {
            let mut input = std::io::stdin().lock();
            input.fill_buf()?;
            let _ = sender.send(());
            let mut text = String::new();
            input.take(INPUT_MAX).read_to_string(&mut text)?;
            Ok(text)
        });
        Self { begun, text }
    }

    /// Waits for its first byte, its end or its failure.
    async fn begins(&mut self) {
        let _ = (&mut self.begun).await;
    }

    /// All of it as JSON, [`Given::Nothing`] where that is empty.
    async fn rest(self) -> Result<Given, Error> {
        let read = self.text.await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
        let text = read.map_err(|source| Error::Io { what: "the standard input cannot be read", source })?;
        if text.trim().is_empty() { Ok(Given::Nothing) } else { words::json(&text).map(Given::Json) }
    }
}

fn print(value: &Value, as_json: bool) -> Result<(), Error> {
    let mut out = std::io::stdout();
    let terminal = Terminal::of(&out);
    let text = if as_json || !terminal.is_terminal { json::compact(value) } else { json::pretty(value, &terminal) };
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|source| Error::Io { what: "the result cannot be written", source })
}

fn report(error: &Error, as_json: bool) -> ExitCode {
    let terminal = Terminal::of(&std::io::stderr());
    complain(&if as_json { error::for_programs(error) } else { error::for_people(error, &terminal) });
    ExitCode::from(error.exit_code())
}

fn complain(text: &str) {
    // There is no other place to say it.
    let _ = writeln!(std::io::stderr(), "{text}");
}
