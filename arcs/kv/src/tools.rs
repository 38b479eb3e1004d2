//! The tools: their arguments, results and words.

use std::sync::Arc;
use std::time::Duration;

use kit::{Call, Error, Result, Server, Shared};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;

use crate::change::{Applied, Change, Refusal};
use crate::key::Key;
use crate::now_ms;
use crate::store::{Entry, Store, StoreError};
use crate::writer::{WriteError, Writer};

/// The most bytes that a value has as JSON text.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most bytes of values on their way to the disk, whoever sent them.
const MAX_BYTES_UNDER_WAY: usize = 16 << 20;
/// A hundred years; beyond that a time has no ISO 8601 form of four-digit years.
const MAX_TTL_S: u64 = 100 * 365 * 86_400;
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// The store with the way to change it.
pub(crate) struct KeyValue {
    store: Arc<Store>,
    writer: Arc<Writer>,
    /// The bytes of values that may be on their way to the disk.
    room: Semaphore,
}

impl KeyValue {
    pub(crate) fn new(store: Arc<Store>, writer: Arc<Writer>) -> Self {
        Self { store, writer, room: Semaphore::new(MAX_BYTES_UNDER_WAY) }
    }

    async fn write(&self, change: Change) -> Result<Applied> {
        let bytes = u32::try_from(change.bytes()).unwrap_or(u32::MAX);
        let _room = self.room.acquire_many(bytes).await.map_err(|error| Error::new("it is closed").caused_by(error))?;
        self.writer.write(change).await.map_err(|error| match error {
            WriteError::Refused(refusal) => refused(&refusal),
            WriteError::Store(error) => failed(error),
            WriteError::Stopped => Error::new(error.to_string()),
        })
    }
}

/// The server with all the tools.
pub(crate) fn server(state: KeyValue) -> Server<KeyValue> {
    Server::new(state)
        .tool("get", "The value stored under a key, null where there is none.", get)
        .tool("set", "Stores a value under a key, for ever or for a number of seconds.", set)
        .tool("delete", "Removes a key and its value.", delete)
        .tool("incrby", "Adds to the whole number under a key (0 where there is none) and answers the sum.", incrby)
        .tool("list", "The entries whose keys begin with a prefix, in the order of their keys, page by page.", list)
        .tool(
            "compare_and_set",
            "Stores a value under a key only if the value that is there is the expected one.",
            compare_and_set,
        )
}

#[derive(Deserialize, JsonSchema)]
struct Get {
    /// The key.
    key: Key,
}

async fn get(state: Shared<KeyValue>, _call: Call, args: Get) -> Result<Value> {
    let value = state.store.get(&args.key, now_ms()).map_err(|error| failed(Arc::new(error)))?;
    Ok(value.unwrap_or(Value::Null))
}

#[derive(Deserialize, JsonSchema)]
struct Set {
    /// The key: 1 to 512 bytes without control characters.
    key: Key,
    /// The value: any JSON, up to 1 MiB of text.
    value: Value,
    /// After how many seconds it expires; never unless stated.
    #[schemars(range(min = 1, max = MAX_TTL_S))]
    ttl_s: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Done {
    /// Always `ok`.
    status: &'static str,
}

async fn set(state: Shared<KeyValue>, _call: Call, args: Set) -> Result<Done> {
    let text = text(&args.value)?;
    state.write(Change::Set { key: args.key, text, ttl: args.ttl_s.map(Duration::from_secs) }).await?;
    Ok(Done { status: "ok" })
}

#[derive(Deserialize, JsonSchema)]
struct Delete {
    /// The key.
    key: Key,
}

#[derive(Serialize, JsonSchema)]
struct Deleted {
    /// Always `ok`.
    status: &'static str,
    /// Whether there was a value.
    existed: bool,
}

async fn delete(state: Shared<KeyValue>, _call: Call, args: Delete) -> Result<Deleted> {
    let applied = state.write(Change::Delete { key: args.key }).await?;
    Ok(Deleted { status: "ok", existed: applied.changed })
}

#[derive(Deserialize, JsonSchema)]
struct Incrby {
    /// The key.
    key: Key,
    /// What to add; negative to subtract.
    by: i64,
}

#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct Sum(#[schemars(with = "i64")] Value);

async fn incrby(state: Shared<KeyValue>, _call: Call, args: Incrby) -> Result<Sum> {
    let applied = state.write(Change::Increment { key: args.key, by: args.by }).await?;
    Ok(Sum(applied.value))
}

#[derive(Deserialize, JsonSchema)]
struct List {
    /// What the keys begin with; all keys unless stated.
    #[serde(default)]
    prefix: String,
    /// How many entries to answer at the most; 100 unless stated.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Listing {
    /// The entries.
    entries: Vec<Listed>,
    /// Where there is more: what to give as `after` for the next page. A page may be shorter than `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Listed {
    key: String,
    value: Value,
    /// When it expires, as ISO 8601; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

async fn list(state: Shared<KeyValue>, _call: Call, args: List) -> Result<Listing> {
    let limit = usize::try_from(args.limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
    let listed = state.store.list(&args.prefix, args.after.as_deref(), limit, now_ms());
    let listed = listed.map_err(|error| failed(Arc::new(error)))?;
    Ok(Listing { entries: listed.entries.into_iter().map(Listed::from).collect(), next: listed.next })
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        Self { key: entry.key, value: entry.value, expires_at: entry.expires_ms.and_then(iso) }
    }
}

fn iso(ms: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    time.format(&Rfc3339).ok()
}

#[derive(Deserialize, JsonSchema)]
struct CompareAndSet {
    /// The key.
    key: Key,
    /// The value that must be there; null: there must be none.
    expected: Value,
    /// The value to store.
    value: Value,
    /// After how many seconds it expires; never unless stated.
    #[schemars(range(min = 1, max = MAX_TTL_S))]
    ttl_s: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Compared {
    /// Whether the expected value was there, so that the new one is now.
    swapped: bool,
    /// The value that is there now, null where there is none.
    current: Value,
}

async fn compare_and_set(state: Shared<KeyValue>, _call: Call, args: CompareAndSet) -> Result<Compared> {
    let text = text(&args.value)?;
    let ttl = args.ttl_s.map(Duration::from_secs);
    let applied = state.write(Change::CompareAndSet { key: args.key, expected: args.expected, text, ttl }).await?;
    Ok(Compared { swapped: applied.changed, current: applied.value })
}

fn text(value: &Value) -> Result<String> {
    let text = value.to_string();
    if text.len() > MAX_VALUE_BYTES {
        let message = format!("a value must have at most {MAX_VALUE_BYTES} bytes as JSON text, not {}", text.len());
        return Err(Error::invalid("/value", message));
    }
    Ok(text)
}

fn refused(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::NotWhole => Error::invalid("/key", format!("{refusal}: set it to one first")),
        Refusal::Overflow => Error::invalid("/by", format!("{refusal}; nothing was changed")),
    }
}

/// The words for the caller name no path of this machine; the log has it.
fn failed(error: Arc<StoreError>) -> Error {
    let message = match error.as_ref() {
        StoreError::Read { .. } | StoreError::Write { .. } | StoreError::Uncertain { .. } => error.to_string(),
        StoreError::Folder { .. } | StoreError::InUse { .. } | StoreError::Open { .. } => {
            "the key-value store cannot be opened: see the log of kv; nothing was changed".to_owned()
        }
    };
    Error::new(message).caused_by(error)
}
