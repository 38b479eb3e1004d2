//! TOML as it is written: tables from their entries.

use serde::Serialize;
use toml::{Table, Value};

/// A table of these entries.
pub(crate) fn table<T: Serialize, const N: usize>(entries: [(&str, T); N]) -> Table {
    let value = |value: T| Value::try_from(value).unwrap_or_else(|_| Value::String(String::new()));
    entries.into_iter().map(|(key, entry)| (key.to_owned(), value(entry))).collect()
}

/// A table in tables of these names, the outermost first.
pub(crate) fn nested(keys: &[&str], inner: Table) -> Table {
    keys.iter().rev().fold(inner, |inner, key| table([(key, inner)]))
}
