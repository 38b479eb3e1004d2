//! The beginning of a connection to an MCP server that is not ours: which revision it speaks.
//!
//! `server/discover` is asked first, as the specification of 2026-07-28 (basic/versioning) has it; what does not know it,
//! or says nothing to it, is greeted by `initialize` of the revisions before.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use spec::caller::code;
use tokio::time::{Instant, timeout_at};
use tokio_util::bytes::Bytes;

use super::Answer;
use super::ask::{Ask, INITIALIZED, initialize};
use super::connection::Connection;
use crate::mcp::{Era, STATELESS, WITH_INITIALIZE};
use crate::message::Fault;

/// After so long without a word to `server/discover` a server is taken for an older one. A newer one may be as slow to
/// start: its answer counts when it comes.
const SILENCE: Duration = Duration::from_secs(10);

/// Asks what is at the other end of `connection`. `known` is what was there before. It may take `patience`.
pub(super) async fn introduce(
    connection: &Arc<Connection>,
    known: Option<Era>,
    patience: Duration,
) -> Result<Era, Fault> {
    let begun = Instant::now();
    let (silence, deadline) = (begun + SILENCE.min(patience / 3), begun + patience);
    if known == Some(Era::WithInitialize)
        && let Some(era) = timeout_at(deadline, greet(connection, patience)).await.ok().flatten()
    {
        return Ok(era);
    }
    let discovered = discover(connection, patience);
    tokio::pin!(discovered);
    match timeout_at(silence, &mut discovered).await {
        Ok(Some(era)) => return Ok(era),
        Ok(None) => return timeout_at(deadline, greet(connection, patience)).await.ok().flatten().ok_or_else(refused),
        Err(_) => {}
    }
    let both = async {
        let greeted = greet(connection, patience);
        tokio::pin!(greeted);
        tokio::select! {
            era = &mut discovered => match era { Some(era) => Some(era), None => greeted.await },
            era = &mut greeted => match era { Some(era) => Some(era), None => discovered.await },
        }
    };
    timeout_at(deadline, both).await.ok().flatten().ok_or_else(refused)
}

fn refused() -> Fault {
    let words = "it answers neither server/discover nor initialize as an MCP server does";
    Fault::new(code::INTERNAL, words)
}

/// Whether it speaks the revision without `initialize`. `None`: it does not, or the connection ended.
async fn discover(connection: &Arc<Connection>, patience: Duration) -> Option<Era> {
    #[derive(Deserialize)]
    struct Discovered {
        #[serde(rename = "supportedVersions")]
        versions: Vec<String>,
    }
    let ask = Ask { method: "server/discover", members: b"", meta: b"" };
    let answer = ask_for(connection, patience, |id| ask.line(id, false, Era::Stateless)).await?;
    let discovered: Discovered = serde_json::from_slice(&answer.ok()?).ok()?;
    discovered.versions.iter().any(|version| version == STATELESS).then_some(Era::Stateless)
}

/// Greets it as the revisions with `initialize` do.
async fn greet(connection: &Arc<Connection>, patience: Duration) -> Option<Era> {
    #[derive(Deserialize)]
    struct Greeted {
        #[serde(rename = "protocolVersion")]
        version: String,
    }
    let answer: Bytes = ask_for(connection, patience, initialize).await?.ok()?;
    let greeted: Greeted = serde_json::from_slice(&answer).ok()?;
    if !WITH_INITIALIZE.contains(&greeted.version.as_str()) {
        return None;
    }
    connection.tell(INITIALIZED);
    Some(Era::WithInitialize)
}

async fn ask_for(
    connection: &Arc<Connection>,
    patience: Duration,
    line: impl FnOnce(u64) -> Vec<u8>,
) -> Option<Answer> {
    connection.request(&mut None, patience, |id, _| line(id)).await?.answer().await
}
