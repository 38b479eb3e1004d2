//! Tables: of like objects, and of rows that a command made.

use serde_json::Value;

use crate::render::safe;
use crate::render::terminal::{Role, Terminal, clipped, padded, width};

/// Blanks between columns.
const GAP: usize = 2;
/// A column is not made narrower than this.
const COLUMN_MIN: usize = 8;
/// With more columns than this a table is harder to read than JSON.
const COLUMNS_MAX: usize = 8;

/// A table under way.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these words above its columns.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&word| word.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells are made harmless here.
    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| safe::line(cell)).collect());
    }

    /// Of an array of flat objects with the same keys; `None` for anything else.
    pub(crate) fn of_like_objects(value: &Value) -> Option<Self> {
        let items = value.as_array().filter(|items| !items.is_empty())?;
        let first = items.first()?.as_object()?;
        let keys: Vec<&String> = first.keys().collect();
        if keys.is_empty() || keys.len() > COLUMNS_MAX {
            return None;
        }
        let row = |item: &Value| {
            let object = item.as_object().filter(|object| object.len() == keys.len())?;
            keys.iter().map(|key| cell(object.get(*key)?)).collect::<Option<Vec<String>>>()
        };
        let rows = items.iter().map(row).collect::<Option<_>>()?;
        Some(Self { head: keys.into_iter().map(|key| safe::line(key)).collect(), rows })
    }

    /// The lines of the table, no wider than the terminal; in a pipe as wide as it is.
    pub(crate) fn render(&self, terminal: &Terminal) -> String {
        let widths = self.widths(if terminal.is_terminal { terminal.width } else { usize::MAX });
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).map(|(cell, &columns)| padded(&clipped(cell, columns), columns));
            cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        let mut lines = vec![terminal.paint(Role::Dim, &line(&self.head))];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.join("\n")
    }

    /// The widths that the columns get: what they need, the widest giving way first.
    fn widths(&self, room: usize) -> Vec<usize> {
        let needed = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).chain(self.head.get(index));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.head.len()).map(needed).collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        loop {
            let total: usize = widths.iter().sum::<usize>() + gaps;
            let Some(widest) = widths.iter_mut().max().filter(|widest| total > room && **widest > COLUMN_MIN) else {
                return widths;
            };
            *widest = widest.saturating_sub(total - room).max(COLUMN_MIN.max(*widest / 2));
        }
    }
}

/// A scalar as it stands in a table; `None` for what does not fit there.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("–".to_owned()),
        Value::String(text) => Some(safe::line(text)),
        Value::Array(_) | Value::Object(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn like_objects_are_a_table() {
        let value = json!([{"name": "a", "size": 12}, {"name": "longer", "size": null}]);
        let table = Table::of_like_objects(&value).expect("a table");
        assert_eq!(table.render(&Terminal::plain()), "name    size\na       12\nlonger  –");
    }

    #[test]
    fn unlike_or_nested_objects_are_none() {
        for value in
            [json!([]), json!([1]), json!({"a": 1}), json!([{"a": []}]), json!([{"a": 1}, {"b": 1}]), json!([{}])]
        {
            assert!(Table::of_like_objects(&value).is_none(), "{value}");
        }
    }

    #[test]
    fn the_widest_column_gives_way() {
        let mut table = Table::new(&["name", "what"]);
        table.row(&["kv", &"very long ".repeat(10)]);
        let terminal = Terminal { is_terminal: true, colour: false, width: 30 };
        for line in table.render(&terminal).lines() {
            assert!(width(line) <= 30, "{line}");
        }
        assert!(table.render(&terminal).contains('…'));
    }

    #[test]
    fn cells_are_harmless() {
        let mut table = Table::new(&["name"]);
        table.row(&["\x1b[2Ja\nb"]);
        assert_eq!(table.render(&Terminal::plain()), "name\n\\u{1b}[2Ja b");
    }
}
