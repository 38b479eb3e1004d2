//! What is written while the power is cut, and what must be there afterwards.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};

use super::server::Server;
use crate::guest::Guest;

/// So many write at once, each to keys of its own.
const WRITERS: usize = 3;
/// How many values each writes, one after another, and to how many keys in turn.
const WRITES: usize = 24;
const KEYS: usize = 7;

/// A value that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    key: String,
    /// The number of the value among those of its writer.
    number: usize,
    /// How many events had reached the disk when it was known to be kept.
    pub(crate) at: usize,
}

impl Kept {
    /// The same, known before anything happened to the disk.
    pub(crate) fn before(&self) -> Self {
        Self { at: 0, ..self.clone() }
    }
}

/// Writes values through the gateway of a machine; answers them in the order in which they were acknowledged.
pub(crate) fn write(guest: &Guest<'_>, server: &Server) -> Vec<Kept> {
    let write_some = |writer: usize| {
        let key = |number: usize| format!("writer {writer}, key {}", number % KEYS);
        (0..WRITES).map(|number| write_one(guest, server, &key(number), number)).collect::<Vec<_>>()
    };
    let mut all: Vec<Kept> = thread::scope(|scope| {
        let write_some = &write_some;
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write_some(writer))).collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("all is kept")).collect()
    });
    all.sort_by_key(|kept| kept.at);
    all
}

/// Writes the value of that number.
pub(crate) fn write_one(guest: &Guest<'_>, server: &Server, key: &str, number: usize) -> Kept {
    let arguments = json!({ "key": key, "value": value(number) }).to_string();
    guest.call(&["kv.set", &arguments]).expect("it is kept");
    Kept { key: key.to_owned(), number, at: server.happened() }
}

/// The value of that number: from some bytes to some pages of the store.
fn value(number: usize) -> Value {
    json!({ "number": number, "filler": "x".repeat(number * number * 37) })
}

/// What was acknowledged by then and is not there, nor what was written over it later.
pub(crate) fn lost<'k>(all: &'k [Kept], at: usize, there: &BTreeMap<String, Value>) -> impl Iterator<Item = &'k Kept> {
    let is_there = |kept: &Kept| {
        let found = there.get(&kept.key)?;
        let number = usize::try_from(found["number"].as_u64()?).ok()?;
        Some(number >= kept.number && *found == value(number))
    };
    all.iter().filter(move |kept| kept.at <= at && is_there(kept) != Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_lost_unless_it_or_a_later_one_is_there() {
        let kept = |key: &str, number, at| Kept { key: key.to_owned(), number, at };
        let all = [kept("a", 1, 10), kept("b", 2, 20), kept("a", 3, 30)];
        let there =
            |entries: &[(&str, Value)]| entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let lost_at = |at, entries: &[(&str, Value)]| lost(&all, at, &there(entries)).count();
        assert_eq!(lost_at(9, &[]), 0, "nothing was acknowledged yet");
        assert_eq!(lost_at(10, &[]), 1);
        assert_eq!(lost_at(29, &[("a", value(1)), ("b", value(2))]), 0);
        assert_eq!(lost_at(29, &[("a", value(3)), ("b", value(2))]), 0, "the next one may be there already");
        assert_eq!(lost_at(30, &[("a", value(1)), ("b", value(2))]), 1, "an old value came back");
        assert_eq!(lost_at(30, &[("a", json!({ "number": 3, "filler": "x" })), ("b", value(2))]), 2, "half a value");
    }
}
