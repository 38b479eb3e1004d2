//! Completion and hints from the live catalogue.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter, HistoryHinter};
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::catalogue::{Catalogue, Tool};
use crate::help;
use crate::render::safe;
use crate::render::terminal::{Role, Terminal};
use crate::schema::Argument;
use crate::secret;
use crate::shell::session::KnownTools;

/// Completes tools, the shell's words, and the names and choices of arguments.
pub(super) struct Completions {
    known: KnownTools,
    history: HistoryHinter,
    terminal: Terminal,
}

/// Dim text behind the cursor.
pub(super) struct Behind {
    text: String,
    /// Whether the right arrow takes it over: a line of the history, not a signature.
    can_be_taken: bool,
}

impl Hint for Behind {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.can_be_taken.then_some(&self.text)
    }
}

impl Completions {
    /// From what is known of the tools, now and later.
    pub(super) fn new(known: KnownTools, terminal: Terminal) -> Self {
        Self { known, history: HistoryHinter::new(), terminal }
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }
}

/// Where the word under the cursor begins, and what it may become: what is shown, and what is put there.
fn candidates(line: &str, catalogue: &Catalogue) -> (usize, Vec<(String, String)>) {
    let start = line
        .rfind(char::is_whitespace)
        .map_or(0, |blank| blank + line[blank..].chars().next().map_or(1, char::len_utf8));
    let word = line.get(start..).unwrap_or_default();
    let before: Vec<&str> = line.get(..start).unwrap_or_default().split_whitespace().collect();
    let found = match before.as_slice() {
        [] => first_words(word, catalogue),
        ["help"] => tools(word, catalogue),
        ["secret"] => beginning(word, secret::WORDS.iter().map(|what| (*what).to_owned())),
        [method, given @ ..] => match catalogue.get(method.strip_prefix("mcp.").unwrap_or(method)) {
            Some(tool) => argument_words(word, tool, given),
            None => Vec::new(),
        },
    };
    (start, found)
}

fn first_words(word: &str, catalogue: &Catalogue) -> Vec<(String, String)> {
    let own = help::WORDS.iter().map(|(own, ..)| *own).chain(["dir", "quit"]).map(str::to_owned);
    let dotted = secret::WORDS.iter().map(|what| format!("secret.{what}"));
    let mut found = beginning(word, own.chain(dotted));
    found.extend(tools(word, catalogue));
    found
}

fn beginning(word: &str, candidates: impl Iterator<Item = String>) -> Vec<(String, String)> {
    candidates.filter(|own| own.starts_with(word)).map(|own| (own.clone(), format!("{own} "))).collect()
}

/// Tools whose name begins with `word`, with `mcp.` in front where it has that.
fn tools(word: &str, catalogue: &Catalogue) -> Vec<(String, String)> {
    let prefix = if word.starts_with("mcp.") { "mcp." } else { "" };
    let names = catalogue.tools().map(|tool| format!("{prefix}{}", tool.name));
    names.filter(|name| name.starts_with(word)).map(|name| (name.clone(), format!("{name} "))).collect()
}

/// Arguments that are not given yet, as `name=`; after `name=` the values of a choice.
fn argument_words(word: &str, tool: &Tool, given: &[&str]) -> Vec<(String, String)> {
    if let Some((name, value)) = word.split_once('=') {
        let choices = tool.argument(name).map(choices).unwrap_or_default();
        let choices = choices.into_iter().filter(|choice| choice.starts_with(value));
        return choices.map(|choice| (choice.clone(), format!("{name}={choice} "))).collect();
    }
    let is_given =
        |name: &str| given.iter().any(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let names = tool.arguments.iter().map(|argument| argument.name.as_str());
    let names = names.filter(|name| name.starts_with(word) && is_name(name) && !is_given(name));
    names.map(|name| (format!("{name}="), format!("{name}="))).collect()
}

fn choices(argument: &Argument) -> Vec<String> {
    let is_plain = |choice: &&String| choice.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if argument.kinds.in_words() == "boolean" {
        return vec!["true".to_owned(), "false".to_owned()];
    }
    argument.kinds.choices.iter().filter(is_plain).cloned().collect()
}

impl Completer for Completions {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = candidates(line.get(..position).unwrap_or_default(), &self.catalogue());
        Ok((start, found.into_iter().map(|(display, replacement)| Pair { display, replacement }).collect()))
    }
}

impl Hinter for Completions {
    type Hint = Behind;

    /// After a tool's name and a blank, what it takes; else how the line went on the last time.
    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<Behind> {
        if let Some(method) = line.strip_suffix(' ').filter(|_| position == line.len()) {
            let catalogue = self.catalogue();
            let tool = catalogue.get(method.strip_prefix("mcp.").unwrap_or(method))?;
            let word = |argument: &Argument| match argument.required {
                true => argument.name.clone(),
                false => format!("[{}]", argument.name),
            };
            let words: Vec<String> = tool.arguments.iter().map(word).collect();
            return Some(Behind { text: safe::line(&words.join(" ")), can_be_taken: false });
        }
        self.history.hint(line, position, context).map(|text| Behind { text, can_be_taken: true })
    }
}

impl Highlighter for Completions {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.terminal.paint(Role::Dim, hint))
    }
}

impl Validator for Completions {}

impl Helper for Completions {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::sample;

    fn completed(line: &str) -> Vec<String> {
        let (start, found) = candidates(line, &sample());
        found.into_iter().map(|(_, replacement)| format!("{}{replacement}", &line[..start])).collect()
    }

    #[test]
    fn tools_are_completed_in_both_ways_of_writing() {
        assert_eq!(completed("kv."), ["kv.get ", "kv.set "]);
        assert_eq!(completed("mcp.kv.g"), ["mcp.kv.get "]);
        assert_eq!(completed("help seo"), ["help seo_affiliate.generate_site "]);
        assert!(completed("nothing").is_empty());
    }

    #[test]
    fn the_shells_own_words_come_with_them() {
        assert_eq!(completed("secret "), ["secret set ", "secret list ", "secret delete "]);
        assert_eq!(completed("secret.d"), ["secret.delete "]);
        assert_eq!(completed("l"), ["llm ", "ls ", "logs ", "licence ", "llm.chat "]);
    }

    #[test]
    fn arguments_are_offered_once_and_choices_after_them() {
        let tool = "seo_affiliate.generate_site";
        assert_eq!(completed(&format!("{tool} site_id=a ke")), [format!("{tool} site_id=a keyword=")]);
        assert_eq!(completed(&format!("mcp.{tool} keyword=a k")), Vec::<String>::new());
        assert_eq!(completed(&format!("{tool} lang=f")), [format!("{tool} lang=fr ")]);
        assert_eq!(completed(&format!("{tool} dry=")), [format!("{tool} dry=true "), format!("{tool} dry=false ")]);
        assert_eq!(completed("unknown.tool k"), Vec::<String>::new());
    }

    #[test]
    fn any_text_before_the_cursor_is_fine() {
        for line in ["", " ", "\u{a0}", "kv.get \u{3000}k", "日本 語"] {
            let (start, _) = candidates(line, &sample());
            assert!(line.is_char_boundary(start), "{line:?}");
        }
    }
}
