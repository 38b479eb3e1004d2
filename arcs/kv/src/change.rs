//! Changes, and what each does to the tables.

use std::time::Duration;

use redb::{ReadableTable, StorageError, Table};
use serde_json::Value;

use crate::key::Key;

/// One change that a caller asked for.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Stores a JSON text under a key, whatever was there.
    Set { key: Key, text: String, ttl: Option<Duration> },
    /// Removes a key.
    Delete { key: Key },
    /// Adds to the whole number under a key, 0 where there is none. Keeps how long the key lives.
    Increment { key: Key, by: i64 },
    /// Stores a JSON text under a key if `expected` is what is there; null: if nothing is there.
    CompareAndSet { key: Key, expected: Value, text: String, ttl: Option<Duration> },
    /// Removes what has expired, as much as one batch should.
    Sweep,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// Whether there was something to change: the key existed, the expected value was there, more is to be swept.
    pub(crate) changed: bool,
    /// The value under the key now; null where there is none.
    pub(crate) value: Value,
}

/// Why a change was not carried out. Others of the same batch are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the value under this key is not a whole number")]
    NotWhole,
    #[error("the sum does not fit into 64 bits")]
    Overflow,
}

/// An entry's value: when it expires (milliseconds since 1970; `None`: never), and its JSON text.
pub(crate) type Stored = (Option<u64>, &'static str);

/// How many expired entries one batch removes, so that no caller waits long for a sweep.
const SWEEP_AT_ONCE: usize = 1000;

/// The tables, open in one write transaction.
pub(crate) struct Tables<'t> {
    /// Every entry by its key.
    pub(crate) entries: Table<'t, &'static str, Stored>,
    /// The entries that expire, by when and key.
    pub(crate) expiries: Table<'t, (u64, &'static str), ()>,
    /// The time that counts for the whole batch.
    pub(crate) now_ms: u64,
}

impl Change {
    /// How many bytes of values it carries.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Set { text, .. } | Self::CompareAndSet { text, .. } => text.len(),
            Self::Delete { .. } | Self::Increment { .. } | Self::Sweep => 0,
        }
    }

    /// Carries the change out.
    pub(crate) fn apply(&self, tables: &mut Tables<'_>) -> Result<Result<Applied, Refusal>, StorageError> {
        match self {
            Self::Set { key, text, ttl } => {
                tables.put(key, text, tables.expiry(*ttl))?;
                Ok(Ok(Applied { changed: true, value: Value::Null }))
            }
            Self::Delete { key } => Ok(Ok(Applied { changed: tables.remove(key)?, value: Value::Null })),
            Self::Increment { key, by } => tables.increment(key, *by),
            Self::CompareAndSet { key, expected, text, ttl } => {
                let current = tables.current(key)?.map_or(Value::Null, |(_, value)| value);
                let changed = current == *expected;
                if changed {
                    tables.put(key, text, tables.expiry(*ttl))?;
                }
                Ok(Ok(Applied { changed, value: if changed { read(text) } else { current } }))
            }
            Self::Sweep => Ok(Ok(Applied { changed: tables.sweep()?, value: Value::Null })),
        }
    }
}

impl Tables<'_> {
    fn expiry(&self, ttl: Option<Duration>) -> Option<u64> {
        let ttl_ms = u64::try_from(ttl?.as_millis()).unwrap_or(u64::MAX);
        Some(self.now_ms.saturating_add(ttl_ms))
    }

    /// What is under `key` and has not expired.
    fn current(&self, key: &Key) -> Result<Option<(Option<u64>, Value)>, StorageError> {
        let stored = self.entries.get(key.as_str())?;
        Ok(stored.and_then(|stored| {
            let (expires, text) = stored.value();
            lives(expires, self.now_ms).then(|| (expires, read(text)))
        }))
    }

    fn put(&mut self, key: &Key, text: &str, expires: Option<u64>) -> Result<(), StorageError> {
        let before = self.entries.insert(key.as_str(), (expires, text))?.and_then(|before| before.value().0);
        if let Some(before) = before {
            self.expiries.remove((before, key.as_str()))?;
        }
        if let Some(expires) = expires {
            self.expiries.insert((expires, key.as_str()), ())?;
        }
        Ok(())
    }

    /// Removes `key`; answers whether it was there and had not expired.
    fn remove(&mut self, key: &Key) -> Result<bool, StorageError> {
        let Some(before) = self.entries.remove(key.as_str())?.map(|before| before.value().0) else { return Ok(false) };
        if let Some(before) = before {
            self.expiries.remove((before, key.as_str()))?;
        }
        Ok(lives(before, self.now_ms))
    }

    fn increment(&mut self, key: &Key, by: i64) -> Result<Result<Applied, Refusal>, StorageError> {
        let (expires, value) = self.current(key)?.unwrap_or((None, Value::from(0)));
        let Some(number) = value.as_i64() else { return Ok(Err(Refusal::NotWhole)) };
        let Some(sum) = number.checked_add(by) else { return Ok(Err(Refusal::Overflow)) };
        self.put(key, &sum.to_string(), expires)?;
        Ok(Ok(Applied { changed: true, value: sum.into() }))
    }

    /// Removes the entries that expired first; answers whether more are left.
    fn sweep(&mut self) -> Result<bool, StorageError> {
        let mut swept = 0;
        while swept < SWEEP_AT_ONCE {
            let Some((expiry, _)) = self.expiries.first()? else { return Ok(false) };
            let (expires, key) = expiry.value();
            if lives(Some(expires), self.now_ms) {
                return Ok(false);
            }
            self.entries.remove(key)?;
            drop(expiry);
            self.expiries.pop_first()?;
            swept += 1;
        }
        Ok(true)
    }
}

/// Whether what expires then is there now.
pub(crate) fn lives(expires: Option<u64>, now_ms: u64) -> bool {
    expires.is_none_or(|expires| now_ms < expires)
}

/// The value of a stored text. Only JSON is ever stored.
pub(crate) fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
