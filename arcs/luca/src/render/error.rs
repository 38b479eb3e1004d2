//! Errors in three parts: what failed, why, what to do.

use serde_json::{Value, json};

use crate::failure::Error;
use crate::render::terminal::{Role, Terminal};
use crate::render::{json, safe};

/// For people: `error: …`, and `try …` where something can be suggested.
pub(crate) fn for_people(error: &Error, terminal: &Terminal) -> String {
    if matches!(error, Error::Cancelled) {
        // The person knows why.
        return error.to_string();
    }
    let mut shown = format!("{} {}", terminal.paint(Role::Error, "error:"), safe::text(&error.to_string()));
    if let Some(step) = error.next_step() {
        shown.push_str(&format!("\n  {}   {}", terminal.paint(Role::Dim, "try"), safe::line(&step)));
    }
    shown
}

/// For programs: one line of JSON with `kind` and `message`, and a tool's `code` and `problems`.
pub(crate) fn for_programs(error: &Error) -> String {
    let mut object = json!({"kind": error.kind(), "message": error.to_string()});
    if let Error::Tool { tool, failure, .. } = error
        && let Some(members) = object.as_object_mut()
    {
        members.insert("message".to_owned(), Value::from(failure.message.as_str()));
        members.insert("tool".to_owned(), Value::from(tool.as_str()));
        members.insert("code".to_owned(), Value::from(failure.code));
        members.insert("problems".to_owned(), json!(failure.problems));
    }
    json::compact(&object)
}

#[cfg(test)]
mod tests {
    use spec::caller::{ArgumentProblem, Failure};

    use super::*;

    fn refused() -> Error {
        let problems = vec![ArgumentProblem { path: "/key".to_owned(), message: "is missing".to_owned() }];
        let failure = Failure { code: -32602, message: "key is missing\u{1b}[2J".to_owned(), problems };
        Error::Tool { tool: "kv.get".to_owned(), failure, suggestion: Some("kv.get hello".to_owned()) }
    }

    #[test]
    fn people_read_what_why_and_what_next() {
        let shown = for_people(&refused(), &Terminal::plain());
        assert_eq!(shown, "error: kv.get: key is missing\\u{1b}[2J (at /key)\n  try   kv.get hello");
    }

    #[test]
    fn programs_read_an_object() {
        let read: Value = serde_json::from_str(&for_programs(&refused())).expect("JSON");
        assert_eq!((&read["kind"], &read["code"]), (&json!("tool"), &json!(-32602)));
        assert_eq!(read["problems"][0]["path"], "/key");
        let read: Value = serde_json::from_str(&for_programs(&Error::Cancelled)).expect("JSON");
        assert_eq!(read, json!({"kind": "cancelled", "message": "cancelled"}));
    }
}
