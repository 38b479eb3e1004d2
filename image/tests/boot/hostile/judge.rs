//! Makes the attempts, one after the other, and says of each what came of it, and whether anybody else noticed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::table::{DISK_MAX, RACE, ROWS, Row, Verdict};
use super::visitor::Visitor;

/// What attempts are aimed at.
pub(crate) struct Targets {
    /// Where the data lie.
    pub(crate) data: String,
    /// Processes of others, by their numbers outside.
    pub(crate) processes: String,
    /// Listening sockets of this machine.
    pub(crate) loopback: String,
    pub(crate) gateway: String,
    pub(crate) lan: String,
    pub(crate) metadata: String,
    pub(crate) dns: String,
    pub(crate) abstract_name: String,
    /// The port at which a visitor is served the published pages.
    pub(crate) sites: u16,
}

impl Targets {
    fn of(&self, row: &Row, profile: &str) -> String {
        match row.name {
            "connect to loopback" => self.loopback.clone(),
            "connect to the gateway's port" => self.gateway.clone(),
            "connect to the LAN" => self.lan.clone(),
            "connect to the metadata address" => self.metadata.clone(),
            "DNS by UDP" | "DNS by TCP" => self.dns.clone(),
            "the proxy" => self.loopback.clone(),
            "abstract socket" => self.abstract_name.clone(),
            "learn the machine's name" => profile.to_owned(),
            "fill the disk" => DISK_MAX.to_string(),
            // A gigabyte once: emulated, it takes minutes.
            "flood the log" if profile == super::PROFILES[0] => "1000000000".to_owned(),
            "flood the log" => "50000000".to_owned(),
            RACE => "/data/sites".to_owned(),
            _ if row.layer == "processes" => self.processes.clone(),
            _ => self.data.clone(),
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    /// It failed: at what.
    Stopped(String),
    /// It succeeded, for want of a layer that this kernel does not give.
    NotGiven(String),
    /// It succeeded.
    Red(String),
}

/// A system with the hostile Arc in it, and those that must not notice.
pub(crate) struct Judge<'s> {
    call: &'s dyn Fn(&[&str]) -> Result<Value, String>,
    targets: Targets,
    /// The layers that this kernel gives.
    layers: Vec<String>,
    before: BTreeMap<String, Value>,
}

impl<'s> Judge<'s> {
    pub(crate) fn new(call: &'s dyn Fn(&[&str]) -> Result<Value, String>, targets: Targets) -> Self {
        call(&["kv.set", "bystander", "untouched"]).expect("set");
        let cages = call(&["system.cages"]).expect("answered");
        let layers = cages["layers"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let layers = layers.map(str::to_owned).collect();
        let mut judge = Self { call, targets, layers, before: BTreeMap::new() };
        judge.before = judge.others();
        judge
    }

    /// The names of all attempts, as the program has them.
    pub(crate) fn attempts(&self, profile: &str) -> Vec<String> {
        let names = (self.call)(&[&format!("{profile}.attempts"), "{}"]).expect("answered");
        names["names"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// How often each other service was started again, and in what state it is.
    fn others(&self) -> BTreeMap<String, Value> {
        let services = (self.call)(&["system.services"]).expect("the gateway answers");
        let others = services.as_array().into_iter().flatten().filter(|service| {
            let name = service["name"].as_str().unwrap_or_default();
            !name.starts_with("hostile")
        });
        // One that idles away and comes back at a call is well.
        let well = ["running", "listening"];
        others
            .map(|service| {
                let state = service["state"].as_str().unwrap_or_default();
                let state = if well.contains(&state) { "well" } else { state };
                let name = service["name"].as_str().unwrap_or_default().to_owned();
                (name, json!([state, service["restarts"]]))
            })
            .collect()
    }

    /// What anybody else has noticed.
    fn effect(&self) -> Option<String> {
        let kept = (self.call)(&["kv.get", "bystander"]);
        if kept != Ok(json!("untouched")) {
            return Some(format!("kv answers {kept:?}"));
        }
        if let Ok(Value::String(stolen)) = (self.call)(&["kv.get", "stolen"]) {
            return Some(format!("something was written {stolen}"));
        }
        let now = self.others();
        let changed = now.iter().find(|(name, state)| self.before.get(*name) != Some(*state));
        changed.map(|(name, state)| format!("{name} was {:?}, is {state}", self.before.get(name)))
    }

    fn refused(&self, profile: &str) -> u64 {
        let info = (self.call)(&["system.cage", profile]).expect("answered");
        info["refused"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// Makes one attempt.
    pub(crate) fn tries(&self, profile: &str, row: &Row) -> Came {
        let at = self.targets.of(row, profile);
        let refused = self.refused(profile);
        let tool = if row.verdict == Verdict::NotAnswered { "answer" } else { "try" };
        let visitor = (row.name == RACE).then(|| Visitor::start(self.targets.sites));
        let answer = (self.call)(&[&format!("{profile}.{tool}"), &json!({ "what": row.name, "at": at }).to_string()]);
        let shown = visitor.and_then(Visitor::leaves);
        let is_by_list = self.refused(profile) > refused;
        let came = self.judged(profile, row, answer, is_by_list);
        match shown.or_else(|| self.effect()) {
            Some(effect) => Came::Red(format!("{came:?}, but {effect}")),
            None => came,
        }
    }

    fn judged(&self, profile: &str, row: &Row, answer: Result<Value, String>, is_by_list: bool) -> Came {
        let by = if is_by_list { "the list of system calls" } else { row.stopped_by };
        let (did, how) = match &answer {
            Ok(answer) => (answer["did"] == true, answer["how"].as_str().unwrap_or_default().to_owned()),
            Err(words) => (false, message(words)),
        };
        match (row.verdict, did) {
            (Verdict::RefusedUnlessGranted, true) if profile != super::PROFILES[0] => {
                Came::Stopped(format!("nothing: granted by `allow`; it is itself that it harms ({how})"))
            }
            (Verdict::InVain, _) => Came::Stopped(format!("{by} ({how})")),
            (Verdict::NotAnswered, _) if answer.is_err() => Came::Stopped(format!("{by} ({how})")),
            (Verdict::NotAnswered, _) => Came::Red(format!("the caller was answered: {how:.80}")),
            (Verdict::RefusedOrEnded, false) => Came::Stopped(format!("{by} ({how})")),
            (_, false) if answer.is_err() => Came::Red(format!("it was not answered: {how}")),
            (_, false) => Came::Stopped(format!("{by} ({how})")),
            (_, true) if !row.layer.is_empty() && !self.layers.iter().any(|layer| layer == row.layer) => {
                Came::NotGiven(format!("{} is not on this kernel ({how})", row.layer))
            }
            (_, true) => Came::Red(how),
        }
    }

    /// Makes all attempts in one of its cages and prints the table, a line each; answers how many of them succeeded.
    pub(crate) fn tries_all(&self, profile: &str) -> usize {
        assert_eq!(self.attempts(profile), ROWS.map(|row| row.name), "the table has all attempts");
        let tried = ROWS.iter().map(|row| {
            let came = self.tries(profile, row);
            let (mark, words, effect) = match &came {
                Came::Stopped(words) => ("stopped by", words, "none"),
                Came::NotGiven(words) => ("NOT GIVEN", words, "none"),
                Came::Red(words) => ("SUCCEEDED", words, "see there"),
            };
            eprintln!("  {:32} {mark:10} {words} · effect on others: {effect}", row.name);
            usize::from(matches!(came, Came::Red(_)))
        });
        tried.sum()
    }
}

/// What an error of the gateway says.
fn message(words: &str) -> String {
    let error: Value = serde_json::from_str(words).unwrap_or_default();
    error["message"].as_str().unwrap_or(words).to_owned()
}
