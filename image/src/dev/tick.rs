//! The first tick: fired by `luca-run` as a user would, its result read as hostile text.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use spec::Name;

use crate::failure::Failure;
use crate::process::Running;
use crate::signals::Signals;

/// What `awake.tick` answers.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Tick {
    /// Whether a Sentinel acted.
    triggered: bool,
    /// Why it did, or why none did.
    #[serde(default)]
    reason: String,
    /// What the action returned.
    #[serde(default)]
    details: Option<Site>,
}

/// The site that was made, as `seo_affiliate.generate_site` tells of it.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Site {
    /// Whether it passed its own validation.
    ok: bool,
    /// Its name: a folder below `sites/` and the first part of its URL.
    pub(crate) site_id: Name,
    /// The model that wrote it.
    #[serde(default)]
    pub(crate) model: String,
    /// What that took.
    #[serde(default)]
    pub(crate) usage: Usage,
}

/// Tokens that a model read and wrote.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Usage {
    /// Tokens in all.
    pub(crate) fn total(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// Fires a tick and waits for its end; its progress goes to standard error as it comes.
pub(crate) fn fire(luca_run: &Path, gateway: &Path, signals: &Signals) -> Result<Site, Failure> {
    let mut command = Command::new(luca_run);
    command.arg("--gateway").arg(format!("unix:{}", gateway.display())).arg("mcp.awake.tick");
    let mut luca = Running::start(command.stdout(Stdio::piped()))?;
    let output = luca.output().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text);
            text
        })
    });
    let status = luca.wait(signals, || {})?;
    let text = output.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if !status.success() {
        return Err(Failure::new("the tick failed", "see above", AFTER_FAILURE));
    }
    read(&text)
}

const AFTER_FAILURE: &str =
    "try again: bin/luca-run mcp.awake.tick; a small model fails at times: --model names a better one";

fn read(text: &str) -> Result<Site, Failure> {
    let unread = |why: String| Failure::new("the tick's result cannot be read", why, AFTER_FAILURE);
    let tick: Tick = serde_json::from_str(text).map_err(|error| unread(error.to_string()))?;
    match tick.details {
        _ if !tick.triggered => Err(Failure::new("nothing was done", tick.reason, AFTER_NOTHING)),
        Some(site) if site.ok => Ok(site),
        Some(site) => {
            Err(Failure::new(format!("the site {} did not pass its checks", site.site_id), tick.reason, AFTER_FAILURE))
        }
        None => Err(unread("it names no site".to_owned())),
    }
}

const AFTER_NOTHING: &str = "see data/quests for the Sentinels that wake at a tick";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_read_from_the_result() {
        let text = r#"{"triggered":true,"action":"seo_affiliate.generate_site","reason":"new","topic":"t",
            "details":{"ok":true,"dry":false,"site_id":"crypto-beginner","out_dir":"/data/sites/crypto-beginner",
            "pages":[],
            "model":"qwen2.5-coder-0.5b","usage":{"prompt_tokens":3000,"completion_tokens":412},"words":800}}"#;
        let site = read(text).expect("a site");
        assert_eq!((site.site_id.as_str(), site.usage.total()), ("crypto-beginner", 3412));
    }

    #[test]
    fn what_is_no_finished_site_is_a_failure() {
        let why = |text: &str| read(text).expect_err("no site").to_string();
        assert_eq!(why(r#"{"triggered":false,"reason":"all covered"}"#), "nothing was done: all covered");
        let failed = r#"{"triggered":true,"reason":"r","details":{"ok":false,"site_id":"a"}}"#;
        assert_eq!(why(failed), "the site a did not pass its checks: r");
        assert!(why(r#"{"triggered":true}"#).ends_with("it names no site"));
        assert!(why(r#"{"triggered":true,"details":{"ok":true,"site_id":"../../etc"}}"#).contains("must be 1 to 64"));
        assert!(why("").starts_with("the tick's result cannot be read"));
    }
}
