//! Processes killed in the middle of a tick.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::model::{Mood, ScriptedModel};
use crate::system::System;
use crate::workbench::repository;

/// How long a tick may take here: the model is small, but a machine of CI may be busy.
const TICK_MAX: Duration = Duration::from_secs(600);

/// A tick that was fired.
struct Tick {
    luca: Child,
    /// Its progress, line by line.
    heard: Receiver<String>,
    /// All that was heard.
    words: Vec<String>,
    deadline: Instant,
}

impl Tick {
    fn fire(system: &System) -> Self {
        let mut luca = system.luca(&["--json", "mcp.awake.tick"]).spawn().expect("luca-run runs");
        let lines = BufReader::new(luca.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let (sender, heard) = channel();
        std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        Self { luca, heard, words: Vec::new(), deadline: Instant::now() + TICK_MAX }
    }

    /// Waits for its next words; false once it has ended.
    fn hear(&mut self) -> bool {
        match self.heard.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => self.words.push(line),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.luca.kill();
                panic!("the tick took too long; so far it said {:?}", self.words);
            }
        }
        true
    }

    /// Waits until it is in `stage`; whether it came to that.
    fn comes_to(&mut self, stage: &str) -> bool {
        while self.words.last().is_none_or(|line| !line.starts_with(stage)) {
            if !self.hear() {
                return false;
            }
        }
        true
    }

    /// Its end: the result, or the error.
    fn end(mut self) -> Result<Value, String> {
        while self.hear() {}
        let output = self.luca.wait_with_output().expect("it ends");
        let result = String::from_utf8(output.stdout).expect("UTF-8");
        let error = self.words.pop().unwrap_or_default();
        if output.status.success() { Ok(serde_json::from_str(&result).expect("JSON")) } else { Err(error) }
    }
}

/// The Sentinel as it ships, but that it only plans its site: a tick passes through every process and is short.
pub(crate) fn planner() -> String {
    let shipped = std::fs::read_to_string(repository().join("quests/quick-money.toml")).expect("it ships");
    let planner = shipped.replace("n_articles = 1", "n_articles = 1\ndry = true");
    assert_ne!(planner, shipped);
    planner
}

/// Fires a tick and kills processes in it, each at one of its stages: the tick ends with a result or with an error that
/// says something, and the processes come back with what was kept. The model keeps the tick where it is meanwhile.
pub(crate) fn in_a_tick(system: &System, model: &ScriptedModel, deaths: &[(&str, &str)]) {
    let mut tick = Tick::fire(system);
    let mut killed = Vec::new();
    for (stage, name) in deaths {
        assert!(tick.comes_to(stage), "it ended before {stage}, {killed:?} killed: {:?}", tick.words);
        model.set_mood(Mood::Absent);
        killed.push((*name, system.kill(name)));
        model.set_mood(Mood::Helpful);
    }
    match tick.end() {
        Ok(result) => assert_eq!(result["details"]["ok"], json!(true), "{deaths:?}: {result}"),
        Err(error) => {
            eprintln!("{deaths:?} killed: {error}");
            let error: Value = serde_json::from_str(&error).expect("an error as JSON");
            let message = error["message"].as_str().expect("its message");
            assert!(!message.is_empty() && !message.contains("panicked"), "{deaths:?}: {message}");
        }
    }
    for (name, pid) in killed {
        system.wait_until_back(name, pid);
        let kept = system.call(&["kv.get", r#"{"key": "before"}"#]);
        assert_eq!(kept, Ok(json!(1)), "{name} killed, and then");
    }
}
