//! What a line of the shell means: one of its own words, or a tool with arguments.

use serde_json::{Map, Value, json};

use crate::arguments::request;
use crate::catalogue::Catalogue;
use crate::failure::Error;
use crate::help;
use crate::message::Request;
use crate::render::table::Table;
use crate::render::terminal::{Role, Terminal};
use crate::render::units::{ago, now_ms, took};
use crate::render::{json, safe};
use crate::secret;
use crate::shell::files::{absolute, content, listing};
use crate::shell::say;
use crate::shell::session::{Answered, Session, note};
use crate::words::{Given, split, without_json_flag};

/// What comes after a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next one.
    Line,
    /// Nothing: the shell ends.
    Leave,
}

/// A line taken apart.
struct Line<'l> {
    /// The first word.
    head: &'l str,
    /// What follows it, without the flag.
    rest: &'l str,
    /// Whether the result is wanted raw.
    is_raw: bool,
}

impl Line<'_> {
    /// The words of the rest.
    fn words(&self) -> Result<Vec<String>, Error> {
        Ok(split(self.rest)?.into_iter().map(|word| word.text).collect())
    }

    /// The only word of the rest, if any.
    fn one_word(&self) -> Result<Option<String>, Error> {
        let mut words = self.words()?;
        if words.len() > 1 {
            return Err(Error::Usage(format!("{} takes one word; a name with blanks needs quotes", self.head)));
        }
        Ok(words.pop())
    }
}

/// Runs one line. `ask` puts a question to the person and tells whether the answer was yes.
///
/// # Errors
/// What a person has to be told.
pub(super) async fn run_line(
    session: &mut Session,
    line: &str,
    ask: &mut dyn FnMut(&str) -> bool,
) -> Result<Next, Error> {
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(Next::Line);
    }
    let (trimmed, is_raw) = without_json_flag(trimmed);
    let (head, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let words: Vec<&str> = trimmed.split_whitespace().collect();
    if let Some(command) = secret::parse(&words) {
        keep_secret(session, &command?, is_raw).await?;
        return Ok(Next::Line);
    }
    let line = Line { head, rest: rest.trim(), is_raw };
    match head {
        "exit" | "quit" => return Ok(Next::Leave),
        "help" => show_help(session, &line).await?,
        "connect" => connect(session, &line).await?,
        "pwd" => say(&safe::line(session.folder()))?,
        "cd" => change_folder(session, &line).await?,
        "ls" | "dir" => list(session, &line).await?,
        "cat" => show_file(session, &line).await?,
        "rm" => remove(session, &line, ask).await?,
        "llm" => ask_model(session, &line).await?,
        "licence" => call_and_show(session, &dialect("mcp.licence.check", json!([])), is_raw).await?,
        "services" => show_services(session, &line).await?,
        "logs" => show_logs(session, &line).await?,
        _ => call_tool(session, &line).await?,
    }
    Ok(Next::Line)
}

/// What is about secrets goes to init.
async fn keep_secret(session: &mut Session, command: &secret::Command, is_raw: bool) -> Result<(), Error> {
    let addresses = [session.connect().await?.address().clone()];
    let source = if session.is_interactive() { secret::Source::StandardInput } else { secret::Source::Nowhere };
    let done = secret::run(&addresses, command, source)?;
    match secret::shown(&done, &session.terminal()).filter(|_| session.is_interactive() && !is_raw) {
        Some(table) => say(&table)?,
        None => say(&json::compact(&done.value))?,
    }
    done.advice.into_iter().for_each(|advice| note(&safe::line(&advice)));
    Ok(())
}

async fn call_tool(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let given = Given::parse(line.rest)?;
    let catalogue = match &given {
        Given::Words(_) | Given::Json(Value::Array(_)) => Some(session.catalogue().await?),
        Given::Nothing | Given::Json(_) => session.catalogue_if_known(),
    };
    let request = request(line.head, given, catalogue.as_deref())?;
    call_and_show(session, &request, line.is_raw).await
}

async fn call_and_show(session: &mut Session, request: &Request, is_raw: bool) -> Result<(), Error> {
    let answered = session.call(request, !is_raw).await?;
    show(session, &answered, is_raw)
}

/// Shows a result: raw, or as a person likes it best. In a pipe each is one line of JSON, a model's text excepted.
fn show(session: &Session, answered: &Answered, is_raw: bool) -> Result<(), Error> {
    let terminal = session.terminal();
    let value = &answered.value;
    if is_raw {
        return say(&json::compact(value));
    }
    if let Some(text) = model_text(value) {
        return show_text(answered, text, &terminal);
    }
    if !session.is_interactive() {
        return say(&json::compact(value));
    }
    let shown = Table::of_like_objects(value).map(|table| table.render(&terminal));
    let shown = shown.unwrap_or_else(|| json::pretty(value, &terminal));
    say(&terminal.with_note(&shown, &took(answered.took)))
}

/// The text of a chat completion.
fn model_text(value: &Value) -> Option<&str> {
    value.pointer("/choices/0/message/content").and_then(Value::as_str)
}

/// A model's text, unless it was shown while it came; then, for a person, who wrote it.
fn show_text(answered: &Answered, text: &str, terminal: &Terminal) -> Result<(), Error> {
    if answered.streamed.trim() != text.trim() {
        if !answered.streamed.is_empty() {
            note(&terminal.paint(Role::Dim, "the answer is another one than what was shown:"));
        }
        say(&safe::text(text.trim_end()))?;
    }
    if !terminal.is_terminal {
        return Ok(());
    }
    let model = answered.value.get("model").and_then(Value::as_str).unwrap_or_default();
    let tokens = answered.value.pointer("/usage/total_tokens").and_then(Value::as_u64);
    let tokens = tokens.map(|tokens| format!("{tokens} tokens")).unwrap_or_default();
    let parts = [safe::line(model), tokens, took(answered.took)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    say(&terminal.with_note("", &parts.join(" · ")))
}

async fn show_help(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let terminal = session.terminal();
    let Some(name) = line.one_word()? else {
        let catalogue = session.catalogue().await;
        say(&help::overview(catalogue.as_deref().unwrap_or(&Catalogue::default()), &terminal))?;
        return catalogue.map(|_| ());
    };
    let own = if name.starts_with("secret.") { "secret" } else { name.as_str() };
    if let Some((word, takes, does)) = help::WORDS.iter().find(|(word, ..)| *word == own) {
        return say(&format!("{word} {takes}\n  {does}"));
    }
    let name = name.strip_prefix("mcp.").unwrap_or(&name);
    let catalogue = session.catalogue().await?;
    let Some(tool) = catalogue.get(name) else {
        let names = catalogue.tools().map(|tool| tool.name.as_str());
        let near = spec::close_to(name, names);
        let hint = if near.is_empty() { ". help lists all" } else { &near };
        return Err(Error::Usage(format!("there is no tool {name}{hint}")));
    };
    say(&help::page(tool, &terminal))
}

async fn connect(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let named = line.one_word()?;
    let named = named.map(|text| text.parse().map_err(|reason| Error::Usage(format!("connect: the address {reason}"))));
    let client = session.connect_to(named.transpose()?).await?;
    note(&format!("connected to {}", client.address()));
    Ok(())
}

async fn change_folder(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let folder = absolute(session.folder(), &line.one_word()?.unwrap_or_else(|| "/".to_owned()));
    if folder != "/" {
        // Only a folder that is there can be listed.
        session.call(&dialect("mcp.fs.list", json!([folder])), false).await?;
    }
    session.set_folder(folder);
    Ok(())
}

async fn list(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let folder = absolute(session.folder(), &line.one_word()?.unwrap_or_default());
    let answered = session.call(&dialect("mcp.fs.list", json!([folder])), false).await?;
    match listing(&answered.value, &session.terminal()).filter(|_| !line.is_raw) {
        Some(_) if answered.value.as_array().is_some_and(Vec::is_empty) => {
            note(&format!("{} is empty", safe::line(&folder)));
            Ok(())
        }
        Some(table) => say(&table),
        None => show(session, &answered, line.is_raw),
    }
}

async fn show_file(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let Some(path) = line.one_word()? else { return Err(Error::Usage("cat needs a file: cat notes.txt".to_owned())) };
    let path = absolute(session.folder(), &path);
    let read = |encoding: &str| dialect("mcp.fs.read", json!([path, encoding]));
    let answered = match session.call(&read("text"), false).await {
        // What is no text can be had in base64; where that fails too, the first reason is the better one.
        Err(error @ Error::Tool { .. }) => session.call(&read("base64"), false).await.map_err(|_| error)?,
        called => called?,
    };
    match content(&answered.value).filter(|_| !line.is_raw) {
        Some((text, remark)) => {
            say(safe::text(text).trim_end_matches('\n'))?;
            remark.into_iter().for_each(|remark| note(&safe::line(&remark)));
            Ok(())
        }
        None => show(session, &answered, line.is_raw),
    }
}

async fn remove(session: &mut Session, line: &Line<'_>, ask: &mut dyn FnMut(&str) -> bool) -> Result<(), Error> {
    let (flags, paths): (Vec<String>, Vec<String>) = line.words()?.into_iter().partition(|word| word == "-r");
    if paths.is_empty() || paths.iter().any(|path| path.starts_with('-')) {
        return Err(Error::Usage("rm needs a path: rm old.txt, or for a folder rm -r old".to_owned()));
    }
    let is_recursive = !flags.is_empty();
    for path in paths {
        let path = absolute(session.folder(), &path);
        if is_recursive && !ask(&format!("delete {} and all that is in it? [y/N] ", safe::line(&path))) {
            note(&format!("{} was not deleted", safe::line(&path)));
            continue;
        }
        let request = dialect("mcp.fs.delete", json!([path, is_recursive]));
        let answered = session.call(&request, false).await?;
        if line.is_raw {
            show(session, &answered, true)?;
        }
    }
    Ok(())
}

async fn ask_model(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    if line.rest.is_empty() {
        return Err(Error::Usage("llm needs a text: llm What is a hardware wallet?".to_owned()));
    }
    let messages = json!([{"role": "user", "content": line.rest}]);
    call_and_show(session, &tool("llm.chat", [("messages", messages)]), line.is_raw).await
}

async fn show_services(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let answered = session.call(&tool("system.services", []), false).await?;
    let services: Option<Vec<spec::control::ServiceInfo>> = serde_json::from_value(answered.value.clone()).ok();
    let Some(services) = services.filter(|_| !line.is_raw) else { return show(session, &answered, line.is_raw) };
    let mut table = Table::new(&["name", "state", "since", "restarts", "what"]);
    for service in services {
        let state = serde_json::to_value(service.state).ok();
        let state = state.as_ref().and_then(Value::as_str).unwrap_or_default();
        let since = ago(now_ms() - i128::from(service.since_ms));
        let what = service.reason.unwrap_or(service.description);
        table.row(&[service.name.as_str(), state, &since, &service.restarts.to_string(), &what]);
    }
    say(&table.render(&session.terminal()))
}

async fn show_logs(session: &mut Session, line: &Line<'_>) -> Result<(), Error> {
    let mut arguments = Map::new();
    for word in line.words()? {
        let argument = word.parse::<u32>().map_or_else(|_| ("name", json!(word)), |lines| ("lines", json!(lines)));
        arguments.insert(argument.0.to_owned(), argument.1);
    }
    let request = Request::Tool { name: "system.logs".to_owned(), arguments };
    let answered = session.call(&request, false).await?;
    let lines: Option<Vec<spec::control::LogLine>> = serde_json::from_value(answered.value.clone()).ok();
    let Some(lines) = lines.filter(|_| !line.is_raw) else { return show(session, &answered, line.is_raw) };
    if lines.is_empty() {
        note("no lines yet");
    }
    let terminal = session.terminal();
    for log in lines {
        let head = format!("{:>11}  {}", ago(now_ms() - i128::from(log.time_ms)), log.service);
        say(&format!("{}  {}", terminal.paint(Role::Dim, &head), safe::line(&log.text)))?;
    }
    Ok(())
}

/// The words of the files speak the dialect, whose parameters have places and no names.
fn dialect(method: &str, params: Value) -> Request {
    Request::Method { name: method.to_owned(), params }
}

fn tool<const N: usize>(name: &str, arguments: [(&str, Value); N]) -> Request {
    let arguments = arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Request::Tool { name: name.to_owned(), arguments }
}
