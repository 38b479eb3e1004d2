//! What there is and how it is written: the overview, the page of one tool, and the call that would have fitted.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use spec::caller::code;

use crate::catalogue::{Catalogue, Tool};
use crate::failure::Error;
use crate::message::Request;
use crate::render::terminal::{Role, Terminal, clipped, padded, width};
use crate::render::{json, safe};
use crate::schema::Argument;

/// The shell's own words, each with what it takes and what it does.
pub(crate) const WORDS: &[(&str, &str, &str)] = &[
    ("llm", "TEXT", "ask the model"),
    ("ls", "[FOLDER]", "list files (also dir)"),
    ("cat", "FILE", "show a file"),
    ("cd", "[FOLDER]", "change the folder that ls, cat and rm start from"),
    ("pwd", "", "say which folder that is"),
    ("rm", "[-r] PATH", "delete a file, with -r a folder"),
    ("services", "", "how the services are doing"),
    ("logs", "[NAME] [LINES]", "what a service wrote last"),
    ("secret", "set|list|delete [NAME]", "keep a value that Arcs are handed (also secret.set …)"),
    ("licence", "", "what the licence allows"),
    ("connect", "[ADDRESS]", "connect again, or to another gateway"),
    ("help", "[TOOL]", "this, or all about one tool"),
    ("exit", "", "leave (also quit, Ctrl-D)"),
];

/// All tools by Arc, then the shell's own words.
pub(crate) fn overview(catalogue: &Catalogue, terminal: &Terminal) -> String {
    let mut groups = BTreeMap::<&str, Vec<&Tool>>::new();
    for tool in catalogue.tools() {
        groups.entry(tool.group()).or_default().push(tool);
    }
    let longest = catalogue.tools().map(|tool| width(&tool.name)).max().unwrap_or(0).clamp(21, 32);
    let line = |name: &str, text: &str| {
        let room = if terminal.is_terminal { terminal.width.saturating_sub(longest + 4) } else { usize::MAX };
        let line = format!("  {}  {}", padded(&safe::line(name), longest), clipped(&safe::line(text), room));
        line.trim_end().to_owned()
    };
    let mut lines = Vec::new();
    for (group, tools) in groups {
        lines.push(terminal.paint(Role::Strong, &safe::line(group)));
        lines.extend(tools.into_iter().map(|tool| line(&tool.name, &tool.summary())));
    }
    lines.push(terminal.paint(Role::Strong, "shell"));
    lines.extend(WORDS.iter().map(|(word, takes, does)| line(&format!("{word} {takes}"), does)));
    lines
        .push(terminal.paint(Role::Dim, "help TOOL tells all about one · --json at a line's end shows the raw result"));
    lines.join("\n")
}

/// All about one tool: what it takes and answers, whose it is, what it does, both ways of writing a call.
pub(crate) fn page(tool: &Tool, terminal: &Terminal) -> String {
    let traits = [
        Some(format!("Arc {}", tool.group())),
        tool.reads_only.map(|reads| if reads { "reads".to_owned() } else { "changes things".to_owned() }),
        tool.label.as_ref().map(|label| format!("label {label}")),
    ];
    let traits: Vec<String> = traits.into_iter().flatten().collect();
    let head = terminal.paint(Role::Strong, &safe::line(&signature(tool)));
    let mut lines = vec![terminal.with_note(&head, &safe::line(&traits.join(" · ")))];
    lines.extend(safe::text(tool.description.trim()).lines().map(|line| format!("  {line}")));
    let longest = tool.arguments.iter().map(|argument| width(&argument.name)).max().unwrap_or(0);
    for argument in tool.arguments.iter().filter(|argument| !argument.description.is_empty()) {
        let name = terminal.paint(Role::Key, &padded(&safe::line(&argument.name), longest));
        lines.push(format!("    {name}  {}", safe::line(&argument.description)));
    }
    let (positional, words) = examples(tool);
    let name = &tool.name;
    lines.push(safe::line(&format!("  mcp.{name} '{positional}'        {name}{words}        luca-run {name}{words}")));
    lines.join("\n")
}

/// `kv.set(key: string, value: any, ttl_s?: integer) → object`
pub(crate) fn signature(tool: &Tool) -> String {
    let argument = |argument: &Argument| {
        let mark = if argument.required { "" } else { "?" };
        format!("{}{mark}: {}", argument.name, argument.kinds.in_words())
    };
    let arguments: Vec<String> = tool.arguments.iter().map(argument).collect();
    let answers = tool.answers.as_ref().map(|kinds| format!(" → {}", kinds.in_words())).unwrap_or_default();
    format!("{}({}){answers}", tool.name, arguments.join(", "))
}

/// The arguments that a call needs, as a JSON array, and as words with a blank in front.
fn examples(tool: &Tool) -> (String, String) {
    let is_leading = |argument: &&Argument| argument.required;
    let leading: Vec<&Argument> = tool.arguments.iter().take_while(is_leading).collect();
    let positional: Vec<Value> = leading.iter().map(|argument| sample(argument)).collect();
    let words = tool.arguments.iter().filter(is_leading).enumerate().map(|(index, argument)| {
        let value = sample(argument);
        if tool.arguments.len() > 2 || index >= leading.len() {
            format!(" {}", assignment(&argument.name, &value))
        } else {
            format!(" {}", word(&value))
        }
    });
    (json::compact(&Value::Array(positional)), words.collect())
}

/// A value to show how the argument is written.
fn sample(argument: &Argument) -> Value {
    argument.example.clone().unwrap_or_else(|| argument.kinds.sample())
}

fn assignment(name: &str, value: &Value) -> String {
    format!("{name}={}", word(value))
}

/// A value as one word of a command line.
fn word(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => return quoted_once(&json::compact(other)),
    };
    let is_plain = |c: char| c.is_alphanumeric() || "_-.,:/@+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("{text:?}") }
}

/// Single quotes where a shell would take the text apart.
fn quoted_once(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)) {
        return text.to_owned();
    }
    format!("'{text}'")
}

/// The error, with the call that would have fitted where the arguments were at fault and the tool is known. `before`
/// stands before it: `luca-run `.
pub(crate) fn advised(error: Error, request: &Request, catalogue: Option<&Catalogue>, before: &str) -> Error {
    let Error::Tool { tool, failure, suggestion: None } = error else { return error };
    let suggestion = match request {
        Request::Tool { name, arguments } if failure.code == code::INVALID_PARAMS => {
            catalogue.and_then(|catalogue| catalogue.get(name)).and_then(|known| {
                let at_fault: Vec<&str> = failure.problems.iter().map(|problem| top(&problem.path)).collect();
                fitting(known, arguments, &at_fault).map(|call| format!("{before}{call}"))
            })
        }
        _ => None,
    };
    Error::Tool { tool, failure, suggestion }
}

/// The first segment of a JSON pointer.
fn top(pointer: &str) -> &str {
    pointer.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// The call as it was, with samples in place of what was wrong or missing and without what the tool does not know.
/// `None` where that is the call as it was.
fn fitting(tool: &Tool, given: &Map<String, Value>, at_fault: &[&str]) -> Option<String> {
    let mut differs = given.keys().any(|name| tool.argument(name).is_none());
    let mut call = tool.name.clone();
    for argument in &tool.arguments {
        let value = given.get(&argument.name);
        let is_wrong = at_fault.contains(&argument.name.as_str()) || (argument.required && value.is_none());
        let value = if is_wrong { Some(sample(argument)) } else { value.cloned() };
        differs |= is_wrong;
        if let Some(value) = value {
            call.push_str(&format!(" {}", assignment(&argument.name, &value)));
        }
    }
    differs.then_some(call)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spec::caller::{ArgumentProblem, Failure};

    use super::*;
    use crate::catalogue::tests::sample as catalogue;

    fn tool(name: &str) -> Tool {
        catalogue().get(name).expect("listed").clone()
    }

    #[test]
    fn a_page_has_the_signature_and_every_way_of_writing() {
        let page = page(&tool("kv.get"), &Terminal::plain());
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines[0].starts_with("kv.get(key: string) → any  "), "{page}");
        assert!(lines[0].ends_with("Arc kv · reads · label private"), "{page}");
        assert_eq!(lines[1], "  The value stored under key, null when there is none. More.");
        assert_eq!(lines[2], "  mcp.kv.get '[\"hello\"]'        kv.get hello        luca-run kv.get hello");
    }

    #[test]
    fn optional_arguments_are_marked_and_kinds_told() {
        assert_eq!(
            signature(&tool("seo_affiliate.generate_site")),
            "seo_affiliate.generate_site(site_id: string, keyword: string, n_articles?: integer, dry?: boolean, \
             lang?: \"en\" | \"fr\")"
        );
        assert_eq!(signature(&tool("kv.set")), "kv.set(key: string, value: any, ttl_s?: integer | null)");
    }

    #[test]
    fn the_overview_groups_by_arc() {
        let overview = overview(&catalogue(), &Terminal::plain());
        let position = |text: &str| overview.find(text).unwrap_or_else(|| panic!("{text} in {overview}"));
        assert!(position("kv\n  kv.get ") < position("\nllm\n") && position("\nllm\n") < position("\nshell\n"));
    }

    #[test]
    fn the_call_that_would_fit_is_suggested() {
        let advice = |arguments: Value, problems: &[&str]| {
            let arguments = arguments.as_object().cloned().expect("an object");
            let request = Request::Tool { name: "seo_affiliate.generate_site".to_owned(), arguments };
            let problem = |path: &&str| ArgumentProblem { path: (*path).to_owned(), message: "is wrong".to_owned() };
            let problems = problems.iter().map(problem).collect();
            let failure = Failure { code: code::INVALID_PARAMS, message: "no".to_owned(), problems };
            advised(Error::of_tool(request.name(), failure), &request, Some(&catalogue()), "").next_step()
        };
        let fitting = Some("seo_affiliate.generate_site site_id=demo keyword=\"self custody\"".to_owned());
        assert_eq!(advice(json!({"site_id": "demo", "keyword": ""}), &["/keyword"]), fitting);
        assert_eq!(advice(json!({"site_id": "demo"}), &[""]), fitting);
        assert_eq!(advice(json!({"site_id": "demo", "keyword": "self custody", "kee": 1}), &["/kee"]), fitting);
        assert_eq!(advice(json!({"site_id": "demo", "keyword": "x"}), &[]), None);
    }

    #[test]
    fn values_are_written_so_that_a_shell_leaves_them_whole() {
        assert_eq!(word(&json!("plain")), "plain");
        assert_eq!(word(&json!("two words")), "\"two words\"");
        assert_eq!(word(&json!("")), "\"\"");
        assert_eq!(word(&json!(3)), "3");
        assert_eq!(word(&json!({"a": [1]})), "'{\"a\":[1]}'");
    }
}
