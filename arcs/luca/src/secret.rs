//! `secret set`, `secret list`, `secret delete`: spoken with init itself on its own socket, past the gateway, so that no
//! other process sees a value.
//!
//! A value comes from the terminal without being shown, or from the standard input. It goes over in a sealed memory file
//! that is attached to the request (`spec::control`), and is wiped here.

mod input;
mod wire;

use std::path::PathBuf;

use serde_json::{Value, json};
use spec::Name;
use spec::control::{SECRET_DELETE, SECRET_LIST, SECRET_SET, SecretInfo};

use crate::address::Address;
use crate::failure::Error;
use crate::render::table::Table;
use crate::render::terminal::Terminal;
use crate::render::units::{ago, now_ms};
pub(crate) use input::Source;

/// The words that follow `secret`.
pub(crate) const WORDS: [&str; 3] = ["set", "list", "delete"];

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Set a secret, whose value comes from elsewhere.
    Set(Name),
    /// Say which there are.
    List,
    /// Forget a secret.
    Delete(Name),
}

/// What came of it.
pub(crate) struct Done {
    /// The answer, as programs read it.
    pub value: Value,
    /// What a person does next.
    pub advice: Option<String>,
}

/// The words of a line that is about secrets, from `secret set openai` as from `secret.set openai`; `None` where it is
/// about something else.
fn taken_apart<'w>(words: &[&'w str]) -> Option<(&'w str, Vec<&'w str>)> {
    let (&head, rest) = words.split_first()?;
    let head = head.strip_prefix("mcp.").unwrap_or(head);
    match head.strip_prefix("secret")? {
        "" => Some(rest.split_first().map_or(("", Vec::new()), |(what, rest)| (*what, rest.to_vec()))),
        what => Some((what.strip_prefix('.')?, rest.to_vec())),
    }
}

/// Reads a command; `None` where the words are about something else.
///
/// # Errors
/// It is about secrets and cannot be understood. Nothing of it is repeated: it may hold a value.
pub(crate) fn parse(words: &[&str]) -> Option<Result<Command, Error>> {
    let (what, rest) = taken_apart(words)?;
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    let named = |make: fn(Name) -> Command| {
        match rest.as_slice() {
        [] => usage("name the secret: luca-run secret set openai"),
        [name] => name.parse().map(make).or_else(|_| {
            usage("a secret's name has 1 to 64 lower-case letters, digits, '_' or '-', a letter first (yours is not repeated here)")
        }),
        _ => usage(
            "a value is never an argument: others see it in the list of processes, and the history keeps it; give the \
             name alone, and the value when it is asked for, or from a file: luca-run secret set NAME < FILE\nif what \
             you wrote was a real key, change it",
        ),
    }
    };
    Some(match what {
        "set" => named(Command::Set),
        "delete" => named(Command::Delete),
        "list" if rest.is_empty() => Ok(Command::List),
        "list" => usage("secret list takes no words"),
        _ => usage("secret takes one of set, list, delete: secret set openai"),
    })
}

/// A line as the history may keep it: with `secret set`, what follows the name is cut off.
pub(crate) fn for_history(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match taken_apart(&words) {
        Some((_, rest)) if rest.len() > 1 => {
            let kept = words.len() - rest.len() + 1;
            words.into_iter().take(kept).collect::<Vec<_>>().join(" ")
        }
        _ => line.to_owned(),
    }
}

/// Carries a command out on the machine of one of the gateways at `addresses`.
///
/// # Errors
/// It is another machine, nobody answers, init refuses, or there is no value.
pub(crate) fn run(addresses: &[Address], command: &Command, source: Source) -> Result<Done, Error> {
    let sockets = sockets(addresses)?;
    let ask = |method: &str, params: Value, value: Option<&[u8]>| wire::ask(&sockets, method, &params, value);
    match command {
        Command::Set(name) => {
            let value = input::read(name, source)?;
            let answer = ask(SECRET_SET, json!({ "name": name }), Some(&value))?;
            Ok(Done { advice: after_set(&answer), value: answer })
        }
        Command::Delete(name) => {
            let value = ask(SECRET_DELETE, json!({ "name": name }), None)?;
            let arcs = users(&value);
            let advice = (!arcs.is_empty()).then(|| format!("{arcs} named it, and cannot be handed it any more"));
            Ok(Done { value, advice })
        }
        Command::List => {
            let value = ask(SECRET_LIST, json!({}), None)?;
            let is_empty = value.as_array().is_some_and(Vec::is_empty);
            let advice = is_empty.then(|| "there are none yet: secret set openai".to_owned());
            Ok(Done { value, advice })
        }
    }
}

/// The sockets of init beside those of the gateways.
fn sockets(addresses: &[Address]) -> Result<Vec<PathBuf>, Error> {
    let beside = |address: &Address| match address {
        Address::Unix(path) => spec::paths::init_socket_beside(path),
        Address::WebSocket(..) => None,
    };
    let sockets: Vec<PathBuf> = addresses.iter().filter_map(beside).collect();
    if sockets.is_empty() {
        let message = "secrets are set on the machine itself, not over the network: run luca-run secret there, at its \
                       console, or write the secret to [secrets] of llmbasedos.toml on its card";
        return Err(Error::Usage(message.to_owned()));
    }
    Ok(sockets)
}

fn after_set(answer: &Value) -> Option<String> {
    let info: SecretInfo = serde_json::from_value(answer.clone()).ok()?;
    let name = &info.name;
    Some(match info.arcs.as_slice() {
        [] => format!(
            "no Arc names it yet: add secrets = [\"{name}\"] to its arc.toml, or to [grants.ARC] of llmbasedos.toml"
        ),
        [first, ..] => format!("granted to: {}; restart it with system.restart {first}", users(answer)),
    })
}

fn users(answer: &Value) -> String {
    let info: Option<SecretInfo> = serde_json::from_value(answer.clone()).ok();
    let arcs = info.map(|info| info.arcs).unwrap_or_default();
    arcs.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

/// The answer as a person reads it.
pub(crate) fn shown(done: &Done, terminal: &Terminal) -> Option<String> {
    let infos: Vec<SecretInfo> = match &done.value {
        Value::Array(_) => serde_json::from_value(done.value.clone()).ok()?,
        one => vec![serde_json::from_value(one.clone()).ok()?],
    };
    let mut table = Table::new(&["name", "set", "handed to"]);
    for info in &infos {
        let set = info.set_ms.map_or_else(|| "not set".to_owned(), |set| ago(now_ms() - i128::from(set)));
        table.row(&[info.name.as_str(), &set, &info.arcs.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")]);
    }
    (!infos.is_empty()).then(|| table.render(terminal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Result<Command, String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        parse(&words).map(|command| command.map_err(|error| error.to_string()))
    }

    #[test]
    fn both_spellings_are_understood() {
        let set = Command::Set("openai".parse().expect("a name"));
        for line in ["secret set openai", "secret.set openai", "mcp.secret.set openai"] {
            assert_eq!(parsed(line), Some(Ok(set.clone())), "{line}");
        }
        assert_eq!(parsed("secret list"), Some(Ok(Command::List)));
        assert!(parsed("kv.set a b").is_none() && parsed("secretary.call").is_none());
    }

    #[test]
    fn a_value_is_never_an_argument_and_never_repeated() {
        for line in ["secret set openai sk-Canary", "secret.set sk-Canary", "secret sk-Canary", "secret list sk-Canary"]
        {
            let message = parsed(line).expect("about secrets").expect_err("refused");
            assert!(!message.contains("Canary"), "{message}");
        }
        assert_eq!(for_history("secret set openai sk-Canary 2"), "secret set openai");
        assert_eq!(for_history("secret.set openai sk-Canary"), "secret.set openai");
        assert_eq!(for_history("kv.set  a b"), "kv.set  a b");
    }

    #[test]
    fn another_machine_is_refused() {
        let address = Address::WebSocket("ws://10.0.0.1:80/ws".to_owned(), None);
        assert!(sockets(&[address]).expect_err("refused").to_string().contains("on the machine itself"));
    }
}
