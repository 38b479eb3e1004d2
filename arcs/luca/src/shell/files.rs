//! The words that work on files: a folder to start from, and lists as tables.

use serde_json::Value;

use crate::render::table::Table;
use crate::render::terminal::Terminal;
use crate::render::units::{ago, milliseconds_of, now_ms, size};

/// `path` as seen from `folder`, both virtual: absolute, without `.`, `..` and doubled slashes. Nothing lies above `/`.
pub(super) fn absolute(folder: &str, path: &str) -> String {
    let from = if path.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The result of `fs.list` as a table, folders first; `None` where it is not of that form.
pub(super) fn listing(value: &Value, terminal: &Terminal) -> Option<String> {
    let mut rows: Vec<(bool, &str, String, String)> = Vec::new();
    for entry in value.as_array()? {
        let name = entry.get("name")?.as_str()?;
        let is_folder = entry.get("type")?.as_str()? == "directory";
        let modified = entry.get("modified_at").and_then(Value::as_str).unwrap_or_default();
        let modified = milliseconds_of(modified).map_or_else(|| modified.to_owned(), |time| ago(now_ms() - time));
        let bytes = entry.get("size").and_then(Value::as_u64).filter(|_| !is_folder);
        rows.push((!is_folder, name, bytes.map(size).unwrap_or_default(), modified));
    }
    rows.sort();
    let mut table = Table::new(&["name", "size", "modified"]);
    for (is_file, name, size, modified) in &rows {
        let name = format!("{name}{}", if *is_file { "" } else { "/" });
        table.row(&[&name, size, modified]);
    }
    Some(table.render(terminal))
}

/// The result of `fs.read`: the text, or the base64 with a note on what it is.
pub(super) fn content(value: &Value) -> Option<(&str, Option<String>)> {
    let content = value.get("content")?.as_str()?;
    let is_text = value.get("encoding").and_then(Value::as_str) != Some("base64");
    let kind = value.get("mime_type").and_then(Value::as_str).unwrap_or("not text");
    Some((content, (!is_text).then(|| format!("this is base64: the file is {kind}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_start_from_the_folder_and_never_leave_the_top() {
        assert_eq!(absolute("/", "sites"), "/sites");
        assert_eq!(absolute("/sites/demo", "../x//y/./z"), "/sites/x/y/z");
        assert_eq!(absolute("/sites", "/etc"), "/etc");
        assert_eq!(absolute("/a", "../../../.."), "/");
        assert_eq!(absolute("/a", ""), "/a");
    }

    #[test]
    fn folders_come_first_and_sizes_are_for_files() {
        let value = json!([
            {"name": "a.txt", "path": "/a.txt", "type": "file", "size": 1234, "modified_at": "not a time"},
            {"name": "sites", "path": "/sites", "type": "directory", "size": 4096, "modified_at": ""}]);
        let shown = listing(&value, &Terminal::plain()).expect("a list");
        assert_eq!(shown, "name    size    modified\nsites/\na.txt   1.2 KB  not a time");
        assert_eq!(listing(&json!([{"name": 3}]), &Terminal::plain()), None);
    }

    #[test]
    fn base64_is_said_to_be_some() {
        let value = json!({"content": "AA==", "encoding": "base64", "mime_type": "image/png"});
        assert_eq!(content(&value), Some(("AA==", Some("this is base64: the file is image/png".to_owned()))));
        assert_eq!(content(&json!({"content": "hi", "encoding": "text"})), Some(("hi", None)));
    }
}
