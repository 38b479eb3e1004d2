//! init and `logd`: what services write is handed over, what people ask of it is passed on, and where `logd` cannot run
//! init does the least that keeps the services going.
//!
//! Nothing here waits for `logd`. While it is started again, what is written waits in the pipes, and what is asked waits
//! here. Lines pass through init only while somebody follows; those that are told bear numbers, so that a new `logd` goes
//! on where the old one stopped.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use spec::Name;
use spec::caller::code;
use spec::control::{self, ByName, LogQuery, LogResume, NextLines, ServiceState};

use super::Supervisor;
use super::peers::Peer;
use super::service::Service;
use super::stream::OwnWords;
use crate::command_line::Mode;
use crate::connection::{Connection, Follows, Heard};
use crate::log::Rate;
use crate::machine::Event;
use crate::rpc;
use crate::sys::Source;

/// How many queries may wait for `logd`.
const MOST_QUERIES: usize = 64;

/// What init has to do with logs.
pub(super) struct Logs {
    own: OwnWords,
    queries: BTreeMap<u64, Query>,
    next_query: u64,
    /// What comes next of each service for those who follow.
    next: NextLines,
    /// Whether `logd` tells of each line.
    is_told: bool,
    /// Whether init reads what services write, for `logd` will not.
    is_last_resort: bool,
    /// What init says of it then.
    rate: Rate,
    is_end_noted: bool,
}

/// A query that was not answered yet.
struct Query {
    peer: Peer,
    id: Option<Value>,
    query: LogQuery,
    is_sent: bool,
}

/// What `logd` says, as far as init reads it.
#[derive(Deserialize)]
struct Said<'l> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default)]
    result: Option<Answer<'l>>,
    #[serde(default)]
    params: Option<Line>,
}

#[derive(Deserialize)]
struct Answer<'l> {
    #[serde(borrow)]
    lines: &'l RawValue,
    next: NextLines,
}

#[derive(Deserialize)]
struct Line {
    service: Name,
    number: i64,
}

impl Logs {
    pub(super) fn make() -> io::Result<Self> {
        Ok(Self {
            own: OwnWords::make()?,
            queries: BTreeMap::new(),
            next_query: 1,
            next: NextLines::new(),
            is_told: false,
            is_last_resort: false,
            rate: Rate::new(0),
            is_end_noted: false,
        })
    }
}

impl Supervisor {
    fn log_keeper(&self) -> Option<u32> {
        self.services.iter().find(|(_, service)| service.is_log_keeper()).map(|(number, _)| *number)
    }

    /// Writes lines of init itself to its log.
    pub(super) fn note(&mut self, text: &str) {
        self.secrets.redactor.redact(text).lines().for_each(|line| self.logs.own.write(line));
    }

    /// The last words of init in its log: `logd` alone is left, and goes next.
    pub(super) fn note_end(&mut self) {
        if !std::mem::replace(&mut self.logs.is_end_noted, true) {
            self.note("stopped");
        }
    }

    /// Hands `logd`, just started, what all services write, and has it go on telling those who follow.
    pub(super) fn introduce_streams(&mut self, keeper: u32) {
        self.logs.queries.values_mut().for_each(|query| query.is_sent = false);
        self.logs.is_told = false;
        self.tell_secrets_to(keeper);
        if let Some(name) = self.own_name.clone() {
            let shared = self.logs.own.stream.share();
            self.hand_over(keeper, &name, shared);
        }
        for service in self.numbers(|service| service.ends.is_ok()) {
            self.introduce_stream_to(keeper, service);
        }
        if self.is_followed() {
            let params = LogResume { next: self.logs.next.clone() };
            self.tell(Peer::Service(keeper), rpc::notification(control::LOG_RESUME, params));
            self.logs.is_told = true;
        }
    }

    /// Hands `logd` what a new service writes.
    pub(super) fn introduce_stream(&mut self, number: u32) {
        if let Some(name) = self.services.get(&number).map(|service| service.name().clone()) {
            self.logs.next.remove(&name);
        }
        if let Some(keeper) = self.log_keeper() {
            self.introduce_stream_to(keeper, number);
        }
    }

    fn introduce_stream_to(&mut self, keeper: u32, number: u32) {
        let Some(service) = self.services.get(&number) else { return };
        let Ok(ends) = &service.ends else { return };
        let (name, shared) = (service.name().clone(), ends.stream.share());
        self.hand_over(keeper, &name, shared);
    }

    fn hand_over(&mut self, keeper: u32, name: &Name, shared: io::Result<Vec<std::os::fd::OwnedFd>>) {
        let text = rpc::notification(control::LOG_STREAM, ByName { name: name.clone() });
        match shared {
            Ok(attached) => self.tell_with(Peer::Service(keeper), text, attached),
            Err(error) => self.say(&format!("{name}: what it writes cannot be handed to logd: {error}")),
        }
    }

    pub(super) fn answer_logs(&mut self, peer: Peer, id: Option<Value>, query: LogQuery) {
        let is_known = |name: &Name| self.number_of(name).is_some() || self.own_name.as_ref() == Some(name);
        if let Some(name) = query.name.as_ref().filter(|name| !is_known(name)) {
            let message = self.unknown(name);
            return self.refuse(peer, id, code::INVALID_PARAMS, message);
        }
        if self.logs.queries.len() >= MOST_QUERIES {
            let message = format!("{MOST_QUERIES} queries wait for logd: ask again when one was answered");
            return self.refuse(peer, id, code::INTERNAL, message);
        }
        self.logs.queries.insert(self.logs.next_query, Query { peer, id, query, is_sent: false });
        self.logs.next_query += 1;
    }

    /// No more lines for this peer.
    pub(super) fn unfollow(&mut self, peer: Peer, id: Option<Value>) {
        if let Some(connection) = self.connection(peer) {
            connection.follows = Follows::Nothing;
        }
        self.reply(peer, id, json!({}));
    }

    /// Forgets what a peer wanted to know that is gone.
    pub(super) fn forget_queries(&mut self, peer: Peer) {
        self.logs.queries.retain(|_, query| query.peer != peer);
    }

    /// Whether `peer` waits for an answer of `logd`.
    pub(super) fn awaits_logs(&self, peer: Peer) -> bool {
        self.logs.queries.values().any(|query| query.peer == peer)
    }

    fn is_followed(&self) -> bool {
        let clients = self.clients.values();
        let channels = self.services.values().filter_map(|service| service.channel.as_ref());
        clients.chain(channels).any(|connection| connection.follows != Follows::Nothing)
    }

    /// Hears `logd`.
    pub(super) fn hear_log_keeper(&mut self, number: u32, heard: &Heard) {
        let said = match heard {
            Heard::Line(line) => std::str::from_utf8(line).ok().and_then(|text| Some((text, read(text)?))),
            Heard::TooLong => None,
        };
        let Some((text, said)) = said else {
            return self.feed(number, Event::Unwell("said what init does not understand".to_owned()));
        };
        if let Some(Line { service, number }) = said.params {
            self.tell_followers(&service, text);
            self.logs.next.insert(service, number.saturating_add(1));
        }
        if let (Some(id), Some(answer)) = (said.id, said.result)
            && let Some(query) = self.logs.queries.remove(&id)
        {
            self.logs.next.extend(answer.next);
            self.pass_on(query, answer.lines);
        }
    }

    fn pass_on(&mut self, query: Query, lines: &RawValue) {
        if let Some(id) = query.id {
            self.tell(query.peer, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{}}}\n", lines.get()));
        }
        if query.query.follow
            && let Some(connection) = self.connection(query.peer)
        {
            connection.follows = query.query.name.map_or(Follows::Everything, Follows::One);
        }
    }

    /// Tells those who follow the log of `name`.
    fn tell_followers(&mut self, name: &Name, text: &str) {
        let follows = |connection: &Connection| match &connection.follows {
            Follows::Nothing => false,
            Follows::Everything => true,
            Follows::One(one) => one == name,
        };
        let clients =
            self.clients.iter().filter(|(_, client)| follows(client)).map(|(number, _)| Peer::Client(*number));
        let channels = self.numbers(|service| service.channel.as_ref().is_some_and(follows)).into_iter();
        let peers: Vec<Peer> = clients.chain(channels.map(Peer::Service)).collect();
        peers.into_iter().for_each(|peer| self.tell(peer, text.to_owned()));
    }

    /// Passes on what is asked, and reads what services write where nobody else will.
    pub(super) fn settle_logs(&mut self) {
        let keeper = self.log_keeper();
        let is_coming = keeper.is_some_and(|number| self.is_coming(number));
        match keeper.filter(|number| self.has_channel(*number)) {
            Some(keeper) => self.ask_log_keeper(keeper),
            None if !is_coming => self.refuse_queries(keeper),
            None => {}
        }
        if self.logs.is_last_resort == is_coming {
            self.read_outputs(!is_coming);
        }
    }

    fn has_channel(&self, number: u32) -> bool {
        self.services.get(&number).is_some_and(|service| service.channel.is_some())
    }

    /// Whether a service runs or will soon.
    fn is_coming(&self, number: u32) -> bool {
        let settled = [ServiceState::Stopped, ServiceState::Failed];
        let is_coming = |service: &Service| match self.stage.is_ending() {
            true => service.machine.is_alive(),
            false => !settled.contains(&service.state()),
        };
        self.services.get(&number).is_some_and(is_coming)
    }

    fn ask_log_keeper(&mut self, keeper: u32) {
        let mut lines = Vec::new();
        for (id, query) in self.logs.queries.iter_mut().filter(|(_, query)| !query.is_sent) {
            query.is_sent = true;
            self.logs.is_told |= query.query.follow;
            lines.push(rpc::request(*id, control::LOGS, &query.query));
        }
        let wants = self.logs.queries.values().any(|query| query.query.follow) || self.is_followed();
        if self.logs.is_told && !wants {
            self.logs.is_told = false;
            lines.push(rpc::notification(control::UNFOLLOW, json!({})));
        }
        lines.into_iter().for_each(|line| self.tell(Peer::Service(keeper), line));
    }

    fn refuse_queries(&mut self, keeper: Option<u32>) {
        let info = keeper.and_then(|number| self.services.get(&number)).map(Service::info);
        let why = info.and_then(|info| info.reason).unwrap_or_else(|| "it was stopped".to_owned());
        let folder = self.layout.data.join("log");
        let message = format!("logd does not run: {why}; what was written before lies in {}", folder.display());
        for Query { peer, id, .. } in std::mem::take(&mut self.logs.queries).into_values() {
            self.refuse(peer, id, code::INTERNAL, message.clone());
        }
    }

    /// Begins or ends to read what services write in the place of `logd`.
    fn read_outputs(&mut self, on: bool) {
        self.logs.is_last_resort = on;
        for (number, service) in &self.services {
            if let Ok(ends) = &service.ends {
                // What cannot be watched waits in its pipe.
                let _ = self.poll.switch(&ends.stream.reader, Source::Output(*number), on);
            }
        }
        if on && !self.stage.is_ending() {
            let place = if self.mode == Mode::Developer { "here" } else { "in the kernel's log" };
            self.announce(&format!(
                "logd does not run: what services write is shown {place} alone until it is started"
            ));
        }
    }

    /// The end of what a service's process writes; answers the last line of it.
    pub(super) fn end_output(&mut self, number: u32) -> Option<String> {
        let service = self.services.get_mut(&number)?;
        let ends = service.ends.as_mut().ok()?;
        let last_words = ends.stream.last_words();
        ends.stream.end();
        self.hear_output(number);
        let last_words = last_words.or_else(|| self.services.get_mut(&number)?.last_line.take())?;
        Some(self.secrets.redactor.redact(&last_words).into_owned())
    }

    /// Whether init reads what services write.
    pub(super) fn is_last_resort(&self) -> bool {
        self.logs.is_last_resort
    }

    /// Reads a part of what a service wrote, in the place of `logd`, and shows it.
    pub(super) fn hear_output(&mut self, number: u32) {
        let now = self.clock.now();
        let Some(service) = self.services.get_mut(&number).filter(|_| self.logs.is_last_resort) else { return };
        let name = service.name().clone();
        let Ok(ends) = &mut service.ends else { return };
        let lines = ends.stream.read();
        if let Some(last) = lines.iter().rev().find(|line| !line.trim().is_empty()) {
            service.last_line = Some(last.clone());
        }
        for line in lines {
            if self.logs.rate.admits(line.len(), now) {
                self.show(&format!("{name}: {line}"));
            }
        }
    }
}

/// A message of `logd`.
fn read(text: &str) -> Option<Said<'_>> {
    serde_json::from_str(text).ok()
}
