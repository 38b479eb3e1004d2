//! The loop: what services write, what init says, and time.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::Name;
use spec::control::{LogAnswer, LogLine, LogQuery, env};
use spec::redaction::Redactor;

use super::Trouble;
use super::channel::{Channel, Message};
use super::feed::{Feed, Pipe};
use super::ring::Ring;
use super::room;
use crate::log::Journal;
use crate::sys::{self, Clock, Interest, Millis, Poll, Ready, Signals, Source};

/// The number of the one channel.
const CHANNEL: u32 = 0;
/// How often it is looked whether losses can be admitted.
const LOOK: Millis = 1000;
/// So many turns of one pipe empty what was in it when the first began: above 64 KiB.
const TURNS: usize = 8;

/// `logd`.
pub(super) struct Daemon {
    poll: Poll,
    signals: Signals,
    clock: Clock,
    channel: Channel,
    folder: PathBuf,
    feeds: BTreeMap<u32, Feed>,
    next_number: u32,
    ring: Ring,
    /// Hides secrets in each line before it is kept.
    redactor: Redactor,
    /// Whether init is told of each line.
    is_followed: bool,
    is_ending: bool,
    /// How often it says that it is alive, and when next.
    alive: Option<(Millis, Millis)>,
}

impl Daemon {
    pub(super) fn new(channel: Channel, folder: PathBuf) -> Result<Self, Trouble> {
        let poll = Poll::new().map_err(Trouble::kernel("use epoll"))?;
        let signals = Signals::block().map_err(Trouble::kernel("read signals"))?;
        let added = poll.add(&signals, Source::Signals, Interest::READ);
        let added = added.and_then(|()| poll.add(&channel, Source::Channel(CHANNEL), Interest::READ));
        added.map_err(Trouble::kernel("wait for init"))?;
        let patience = std::env::var(env::WATCHDOG).ok().and_then(|micros| micros.parse::<Millis>().ok());
        Ok(Self {
            poll,
            signals,
            clock: Clock::start(),
            channel,
            folder,
            feeds: BTreeMap::new(),
            next_number: 1,
            ring: Ring::default(),
            redactor: Redactor::default(),
            is_followed: false,
            is_ending: false,
            alive: patience.map(|micros| ((micros / 3000).max(1), 0)),
        })
    }

    pub(super) fn run(mut self) -> Result<(), Trouble> {
        tell_init("READY=1");
        while !self.is_ending && !self.channel.is_closed() {
            let ready = self.poll.wait(self.patience()).map_err(Trouble::kernel("wait"))?;
            for ready in ready {
                self.hear(ready)?;
            }
            self.look()?;
        }
        self.drain()
    }

    fn patience(&self) -> Option<Millis> {
        let alive = self.alive.map(|(_, at)| at.saturating_sub(self.clock.now()));
        let losses = self.feeds.values().any(Feed::has_losses).then_some(LOOK);
        alive.into_iter().chain(losses).min()
    }

    fn hear(&mut self, ready: Ready) -> Result<(), Trouble> {
        match ready.source {
            // It has no children, so that each of them asks it to end.
            Source::Signals => self.is_ending |= self.signals.next().is_some(),
            Source::Channel(_) => {
                for message in self.channel.hear().map_err(Trouble::Channel)? {
                    self.obey(message)?;
                }
            }
            Source::Output(number) => drop(self.turn(number)?),
            _ => {}
        }
        Ok(())
    }

    fn obey(&mut self, message: Message) -> Result<(), Trouble> {
        match message {
            Message::Stream { service, pipe, journal } => self.adopt(service, pipe, journal)?,
            Message::Query { id, query } => self.answer(&id, &query)?,
            Message::Resume(next) => {
                self.channel.tell(self.ring.since(&next)).map_err(Trouble::Channel)?;
                self.is_followed = true;
            }
            Message::Unfollow => self.is_followed = false,
            Message::Redact(fingerprints) => self.redactor = Redactor::new(&fingerprints),
        }
        Ok(())
    }

    /// Keeps what a service writes. One of the same name has gone before: what is left of it is written down first.
    fn adopt(&mut self, service: Name, pipe: OwnedFd, journal: Journal) -> Result<(), Trouble> {
        let older = self.feeds.iter().find(|(_, feed)| feed.service == service).map(|(number, _)| *number);
        if let Some(older) = older {
            self.empty(older)?;
            self.forget(older);
        }
        let failed = |source| Trouble::Feed { service: service.clone(), source };
        let opened = Feed::open(service.clone(), pipe, journal, &self.folder, self.clock.now());
        let (feed, before) = opened.map_err(failed)?;
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        self.poll.add(&feed, Source::Output(number), Interest::READ).map_err(failed)?;
        self.feeds.insert(number, feed);
        self.ring.merge(before);
        // What is in the journal already, nothing will tell of.
        self.turn(number).map(drop)
    }

    /// Answers with what was written until now, whether it was read before or not.
    fn answer(&mut self, id: &Value, query: &LogQuery) -> Result<(), Trouble> {
        self.drain()?;
        let next = self.feeds.values().map(|feed| (feed.service.clone(), feed.next())).collect();
        let answer = LogAnswer { lines: self.ring.last(query), next };
        self.channel.answer(id, &answer).map_err(Trouble::Channel)?;
        self.is_followed |= query.follow;
        Ok(())
    }

    /// Writes down what all services have written until now.
    fn drain(&mut self) -> Result<(), Trouble> {
        let numbers: Vec<u32> = self.feeds.keys().copied().collect();
        numbers.into_iter().try_for_each(|number| self.empty(number))
    }

    fn empty(&mut self, number: u32) -> Result<(), Trouble> {
        for _ in 0..TURNS {
            if self.turn(number)? != Pipe::Full {
                break;
            }
        }
        Ok(())
    }

    /// Writes down a part of what a service has written.
    fn turn(&mut self, number: u32) -> Result<Pipe, Trouble> {
        let Some(feed) = self.feeds.get_mut(&number) else { return Ok(Pipe::Ended) };
        let had = feed.length();
        let turn = feed.turn(self.clock.now(), &self.redactor);
        let turn = turn.map_err(|source| Trouble::Feed { service: feed.service.clone(), source })?;
        let is_new_file = feed.length() < had;
        self.keep(turn.lines)?;
        if is_new_file {
            self.make_room();
        }
        if turn.pipe == Pipe::Ended {
            self.forget(number);
        }
        Ok(turn.pipe)
    }

    fn keep(&mut self, lines: Vec<LogLine>) -> Result<(), Trouble> {
        if self.is_followed && !lines.is_empty() {
            self.channel.tell(&lines).map_err(Trouble::Channel)?;
        }
        self.ring.extend(lines);
        Ok(())
    }

    fn forget(&mut self, number: u32) {
        self.feeds.remove(&number).inspect(|feed| self.poll.remove(feed));
    }

    /// What is to be done from time to time.
    fn look(&mut self) -> Result<(), Trouble> {
        let now = self.clock.now();
        let mut admitted = Vec::new();
        for feed in self.feeds.values_mut() {
            let lines = feed.admit_losses(now);
            admitted.extend(lines.map_err(|source| Trouble::Feed { service: feed.service.clone(), source })?);
        }
        self.keep(admitted)?;
        if let Some((every, at)) = &mut self.alive
            && now >= *at
        {
            *at = now.saturating_add(*every);
            tell_init("WATCHDOG=1");
        }
        Ok(())
    }

    fn make_room(&self) {
        let is_used = |path: &Path| self.feeds.values().any(|feed| feed.path() == path);
        if let Err(error) = room::make(&self.folder, is_used) {
            sys::write_stderr(&format!("{}: old files cannot be deleted: {error}", self.folder.display()));
        }
    }
}

/// Tells init how it is going. Who has started it otherwise does not want to know.
fn tell_init(state: &str) {
    let socket = std::env::var("NOTIFY_SOCKET").ok();
    if let Some(Err(error)) = socket.map(|socket| sys::tell_starter(&socket, state)) {
        sys::write_stderr(&format!("cannot tell init {state}: {error}"));
    }
}
