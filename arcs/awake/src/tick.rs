//! The tool `tick`: whose turn it is, and what came of it.

use std::path::PathBuf;
use std::sync::Arc;

use kit::{Autonomy, Call, Error, Result, Sentinel, Shared, Trigger, code};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::act::{Failed, act};
use crate::memory;
use crate::shelf::Shelf;
use crate::think::{Thought, think};
use crate::world::World;

/// So far are the seeds of a second thought from those of the first, which count upwards.
const SEED_STEP: u32 = 1000;

/// What all ticks share.
pub(crate) struct Awake {
    quests: PathBuf,
    /// Held while a Sentinel is awake: one at a time.
    turn: Mutex<()>,
}

/// The arguments of `tick`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Tick {
    /// The Sentinel to wake, whatever it is woken by. Unless it is named, the one that has waited longest among those
    /// that a tick wakes.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    sentinel: Option<String>,
}

/// What a tick did.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ticked {
    /// Whether a Sentinel acted.
    pub(crate) triggered: bool,
    /// The tool that it called last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    /// Why it did what it did, or why nothing was done.
    pub(crate) reason: String,
    /// The Sentinel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sentinel: Option<String>,
    /// What it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// What the tool returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Value>,
}

impl Awake {
    /// With the owner's Sentinels in `quests`.
    pub(crate) fn new(quests: PathBuf) -> Self {
        Self { quests, turn: Mutex::new(()) }
    }

    /// The Sentinels as they are now.
    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::read(&self.quests)
    }
}

/// The tool.
///
/// # Errors
/// What the Sentinel tried failed, or no Sentinel can be read.
pub(crate) async fn tick(awake: Shared<Arc<Awake>>, call: Call, args: Tick) -> Result<Ticked> {
    run(&awake, &call, args.sentinel.as_deref(), OffsetDateTime::now_utc()).await
}

/// Wakes the Sentinel that is `named`, or the one that has waited longest among those that a tick wakes, or else the
/// next one.
pub(crate) async fn run(awake: &Awake, world: &impl World, named: Option<&str>, now: OffsetDateTime) -> Result<Ticked> {
    let Ok(_turn) = awake.turn.try_lock() else {
        return Ok(Ticked::nothing("a tick is already running".to_owned()));
    };
    let shelf = awake.shelf();
    shelf.log_broken();
    if let Some(named) = named {
        return wake(world, shelf.find(named)?, now).await;
    }
    let mut waking = Vec::new();
    for sentinel in shelf.sentinels.iter().filter(|sentinel| sentinel.triggers.contains(&Trigger::Tick)) {
        let last = memory::last_turn(world.store(), &sentinel.name).await?;
        // A turn in the future was taken by a clock that was wrong.
        waking.push((last.filter(|last| *last <= now.unix_timestamp()), sentinel));
    }
    if waking.is_empty() && !shelf.broken.is_empty() {
        return Err(Error::new(format!("no Sentinel can be woken:\n{}", shelf.broken.join("\n"))));
    }
    waking.sort_by_key(|(last, _)| *last);
    let mut reasons = Vec::new();
    for (_, sentinel) in waking {
        let ticked = wake(world, sentinel, now).await?;
        if ticked.triggered {
            return Ok(ticked);
        }
        reasons.push(ticked.reason);
    }
    reasons.extend(shelf.broken);
    let none = "no Sentinel is woken by a tick: one that is has `tick = true` under [on]";
    Ok(Ticked::nothing(if reasons.is_empty() { none.to_owned() } else { reasons.join("\n") }))
}

/// One turn of a Sentinel: it thinks, acts and remembers.
pub(crate) async fn wake(world: &impl World, sentinel: &Sentinel, now: OffsetDateTime) -> Result<Ticked> {
    let name = &sentinel.name;
    memory::take_turn(world.store(), name, now).await?;
    if sentinel.autonomy == Autonomy::Ask {
        return Ok(Ticked::nothing(format!(
            "{name} asks before each step, and nobody can be asked yet: give it autonomy = \"guarded\" or \"full\""
        )));
    }
    world.progress(format!("think {:?}", sentinel.think)).await;
    let mut covered = memory::covered(world.store(), name).await?;
    let mut seed = now.nanosecond();
    let mut failed = None;
    let (topic, reason, done) = loop {
        let (topic, reason) = match think(world, sentinel, &covered, seed).await? {
            Thought::Topic { topic, reason } => (topic, reason),
            Thought::Nothing(reason) => return failed.map_or(Ok(Ticked::nothing(reason)), Err),
        };
        world.progress(format!("think {topic:?}")).await;
        match act(world, sentinel, &topic, &now.date().to_string()).await {
            Ok(done) => break (topic, reason, done),
            // A small model may have nothing to say on one topic and enough on the next; once, as it costs minutes, and
            // only while nothing is done yet.
            Err(Failed { error, done: 0 }) if error.code() == code::MODEL && failed.is_none() => {
                tracing::warn!("given up, and another topic is thought of: {error}");
                covered.push(topic);
                seed = seed.wrapping_add(SEED_STEP);
                failed = Some(error);
            }
            Err(Failed { error, .. }) => return Err(error),
        }
    };
    let remembered = memory::remember(world.store(), name, &topic, &done, now).await;
    world.progress(summary(&done.action, &done.details)).await;
    Ok(Ticked {
        triggered: true,
        reason: match remembered {
            Ok(()) => reason,
            // It was done all the same, and whoever asked must hear of it.
            Err(error) => format!("{reason}. It could not be remembered, and may be done again: {error}"),
        },
        action: Some(done.action),
        sentinel: Some(name.to_string()),
        topic: Some(topic),
        details: Some(done.details),
    })
}

/// `done 1 article in data/sites/demo` of a result that names pages and their folder.
fn summary(action: &str, details: &Value) -> String {
    let pages = details.get("pages").and_then(Value::as_array).map(Vec::len);
    let folder = details.get("out_dir").and_then(Value::as_str);
    match (pages, folder) {
        (Some(1), Some(folder)) => format!("done 1 article in {}", folder.trim_start_matches('/')),
        (Some(pages), Some(folder)) => format!("done {pages} articles in {}", folder.trim_start_matches('/')),
        _ => format!("done {action}"),
    }
}

impl Ticked {
    fn nothing(reason: String) -> Self {
        Self { triggered: false, action: None, reason, sentinel: None, topic: None, details: None }
    }
}

#[cfg(test)]
mod tests;
