//! What a Sentinel remembers, in the key-value store.
//!
//! | key | value |
//! | --- | --- |
//! | `awake:topic:<sentinel>:<slug>` | `{topic, sentinel, at, action, result}` |
//! | `awake:last_run:<ISO 8601>` | `{sentinel, topic, action}`, for 90 days |
//! | `awake:clock:<sentinel>` | seconds since 1970: its last turn |

use kit::{Name, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::act::Done;
use crate::topic::slug;
use crate::world::{Tools, ask};

/// How long the list of runs goes back.
const RUNS_KEPT_S: u32 = 90 * 86_400;
/// How many topics are remembered at the most; those beyond are not compared.
const PAGES: u32 = 20;

#[derive(Deserialize)]
struct Listing {
    entries: Vec<Entry>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    value: Value,
}

/// The topics that a Sentinel has covered.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn covered(store: &impl Tools, sentinel: &Name) -> Result<Vec<String>> {
    let mut topics = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES {
        let mut arguments = json!({"prefix": format!("awake:topic:{sentinel}:"), "limit": 500});
        if let Some(after) = after {
            arguments["after"] = after.into();
        }
        let page: Listing = ask(store, "kv.list", &arguments).await?;
        topics.extend(page.entries.iter().filter_map(|entry| entry.value.get("topic")?.as_str().map(str::to_owned)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(topics)
}

/// Remembers what was done about a topic.
///
/// # Errors
/// The store cannot be written.
pub(crate) async fn remember(
    store: &impl Tools,
    sentinel: &Name,
    topic: &str,
    done: &Done,
    now: OffsetDateTime,
) -> Result<()> {
    let at = now.format(&Rfc3339).unwrap_or_default();
    let result = json!({"topic": topic, "sentinel": sentinel, "at": at, "action": done.action, "result": done.details});
    let run = json!({"sentinel": sentinel, "topic": topic, "action": done.action});
    let topic = json!({"key": format!("awake:topic:{sentinel}:{}", slug(topic)), "value": result});
    store.call("kv.set", &topic).await?;
    store.call("kv.set", &json!({"key": format!("awake:last_run:{at}"), "value": run, "ttl_s": RUNS_KEPT_S})).await?;
    Ok(())
}

/// When the Sentinel had its last turn, in seconds since 1970.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn last_turn(store: &impl Tools, sentinel: &Name) -> Result<Option<i64>> {
    let value = store.call("kv.get", &json!({"key": format!("awake:clock:{sentinel}")})).await?;
    Ok(value.as_i64())
}

/// Remembers that the Sentinel has its turn now.
///
/// # Errors
/// The store cannot be written.
pub(crate) async fn take_turn(store: &impl Tools, sentinel: &Name, now: OffsetDateTime) -> Result<()> {
    let turn = json!({"key": format!("awake:clock:{sentinel}"), "value": now.unix_timestamp()});
    store.call("kv.set", &turn).await.map(drop)
}
