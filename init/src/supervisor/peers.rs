//! Clients of `init.sock` and the gateway at the control channel: what they ask, and what they are told.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde_json::{Value, json};
use spec::caller::code;
use spec::control::{self, ByName, ServiceInfo, ServiceState};
use spec::{Layer, Name};

use super::Supervisor;
use super::service::{Ends, Service};
use crate::command_line::Mode;
use crate::connection::{Connection, Heard, LONGEST_LINE, Lost};
use crate::machine::Event;
use crate::rpc::{self, Call, Refusal, Request};
use crate::sys::{self, Interest, Ready, Source};

/// How many clients may be connected at once.
const MOST_CLIENTS: usize = 64;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A client, by its number.
    Client(u32),
    /// A service with a control channel, by its number.
    Service(u32),
}

/// Somebody who waits for a service to have started or stopped.
pub(super) struct Pending {
    peer: Peer,
    id: Value,
    service: u32,
    wants: Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Running,
    Stopped,
}

impl Wants {
    /// Whether it has come to that or will not; `None` while it is under way.
    fn outcome(self, state: ServiceState) -> Option<bool> {
        use ServiceState::{Backoff, Failed, Listening, Running, Starting, Stopped, Stopping, Waiting};
        match (self, state) {
            (_, Stopping) => None,
            (Self::Running, Waiting | Starting) => None,
            (Self::Running, Running | Listening) => Some(true),
            (Self::Running, Stopped | Backoff | Failed) => Some(false),
            (Self::Stopped, Stopped | Listening | Failed) => Some(true),
            (Self::Stopped, Running | Waiting | Starting | Backoff) => Some(false),
        }
    }
}

impl Supervisor {
    pub(super) fn accept(&mut self) {
        loop {
            let socket = match self.server.accept() {
                Ok((socket, _)) => socket,
                // Out of descriptors: whoever waits is let in with the spare one and sent away, else nothing but this
                // would be done for ever.
                Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE)) => {
                    if self.spare.take().is_none() {
                        return;
                    }
                    drop(self.server.accept());
                    self.spare = File::open("/dev/null").ok();
                    continue;
                }
                Err(_) => return,
            };
            if self.clients.len() >= MOST_CLIENTS || socket.set_nonblocking(true).is_err() {
                continue;
            }
            let number = self.new_number();
            let connection = Connection::new(socket, LONGEST_LINE);
            if self.poll.add(&connection, Source::Client(number), Interest::READ).is_ok() {
                self.clients.insert(number, connection);
            }
        }
    }

    pub(super) fn connection(&mut self, peer: Peer) -> Option<&mut Connection> {
        match peer {
            Peer::Client(number) => self.clients.get_mut(&number),
            Peer::Service(number) => self.services.get_mut(&number)?.channel.as_mut(),
        }
    }

    pub(super) fn hear_peer(&mut self, peer: Peer, ready: Ready) {
        let Some(connection) = self.connection(peer) else { return };
        if ready.writable
            && let Err(lost) = connection.flush()
        {
            return self.lose(peer, &lost);
        }
        if ready.readable {
            match connection.hear() {
                Ok(heard) => heard.into_iter().for_each(|heard| self.answer_line(peer, heard)),
                Err(lost) => self.lose(peer, &lost),
            }
        } else if ready.hung_up {
            self.drop_peer(peer);
        }
    }

    fn answer_line(&mut self, peer: Peer, heard: Heard) {
        if self.connection(peer).is_none() {
            return;
        }
        if let Peer::Service(number) = peer
            && self.services.get(&number).is_some_and(Service::is_log_keeper)
        {
            return self.hear_log_keeper(number, &heard);
        }
        if let Peer::Service(number) = peer
            && self.services.get(&number).is_some_and(Service::is_network_keeper)
        {
            return self.hear_network_keeper(number, &heard);
        }
        let request = match heard {
            Heard::Line(line) => rpc::parse(&line),
            Heard::TooLong => {
                let message = format!("a request is at most {} KiB long", LONGEST_LINE / 1024);
                Err(Refusal { id: Value::Null, code: code::INVALID_REQUEST, message })
            }
        };
        match request {
            Ok(request) => self.answer(peer, request),
            Err(refusal) => self.tell(peer, rpc::refuse(&refusal)),
        }
    }

    fn answer(&mut self, peer: Peer, request: Request) {
        let id = request.id;
        match request.call {
            Call::Services => self.reply(peer, id, json!(self.infos())),
            Call::Status => self.reply(peer, id, json!(self.status())),
            Call::Metrics => self.reply(peer, id, json!(self.metrics())),
            Call::Logs(query) => self.answer_logs(peer, id, query),
            Call::Cages => self.reply(peer, id, json!(self.cages_info())),
            Call::Cage(name) => match self.cage_info(&name) {
                Some(info) => self.reply(peer, id, json!(info)),
                None => {
                    let message = self.unknown(&name);
                    self.refuse(peer, id, code::INVALID_PARAMS, message);
                }
            },
            Call::NetworkSocket(name) => self.hand_socket(peer, id, &name),
            Call::Unfollow => self.unfollow(peer, id),
            Call::Start(name) => self.command(peer, id, &name, Event::Start),
            Call::Stop(name) => self.command(peer, id, &name, Event::Stop),
            Call::Restart(name) => self.command(peer, id, &name, Event::Restart),
            Call::SecretSet(_) | Call::SecretList | Call::SecretDelete(_) if matches!(peer, Peer::Service(_)) => {
                let message = "secrets are set, listed and deleted by whoever may connect to init's own socket";
                self.refuse(peer, id, code::METHOD_NOT_FOUND, message.to_owned());
            }
            Call::SecretSet(name) => self.set_secret(peer, id, &name),
            Call::SecretList => self.list_secrets(peer, id),
            Call::SecretDelete(name) => self.delete_secret(peer, id, &name),
            Call::Wifi(question) => self.ask_of_radio(peer, id, question),
            Call::Claim(_) | Call::ClaimUsed | Call::Certificate(_) if matches!(peer, Peer::Client(_)) => {
                self.refuse(peer, id, code::METHOD_NOT_FOUND, "this is for the gateway alone".to_owned());
            }
            Call::Claim(entered) => self.enter_code(peer, id, &entered.code),
            Call::ClaimUsed => self.confirm_claim(peer, id),
            Call::Certificate(certificate) => self.take_certificate(peer, id, certificate),
            Call::SetupCode => self.new_setup_code(peer, id),
            Call::SetupCodeWithdraw => self.withdraw_setup_code(peer, id),
            Call::End(_) if self.mode == Mode::Developer => {
                let message = "this is a developer's machine: Ctrl-C in the terminal of scripts/run stops everything";
                self.refuse(peer, id, code::INTERNAL, message.to_owned());
            }
            Call::End(halt) => {
                self.reply(peer, id, json!({}));
                self.begin_end(halt);
            }
        }
    }

    pub(super) fn reply(&mut self, peer: Peer, id: Option<Value>, result: Value) {
        if let Some(id) = id {
            self.tell(peer, rpc::answer(&id, result));
        }
    }

    pub(super) fn refuse(&mut self, peer: Peer, id: Option<Value>, code: i32, message: String) {
        if let Some(id) = id {
            self.tell(peer, rpc::refuse(&Refusal { id, code, message }));
        }
    }

    /// All services in start order; those that are on their way out stand at the end.
    fn infos(&self) -> Vec<ServiceInfo> {
        let place = |service: &&Service| self.wanted.iter().position(|wanted| wanted.says_the_same(&service.candidate));
        let mut services: Vec<&Service> = self.services.values().collect();
        services.sort_by_key(|service| place(service).unwrap_or(usize::MAX));
        services.into_iter().map(Service::info).collect()
    }

    pub(super) fn unknown(&self, name: &Name) -> String {
        rpc::unknown("service", name.as_str(), self.services.values().map(|service| service.name().as_str()))
    }

    fn command(&mut self, peer: Peer, id: Option<Value>, name: &Name, event: Event) {
        let Some(number) = self.number_of(name) else {
            let message = self.unknown(name);
            return self.refuse(peer, id, code::INVALID_PARAMS, message);
        };
        if self.stage.is_ending() {
            return self.refuse(peer, id, code::INTERNAL, format!("{name}: everything is being stopped"));
        }
        let wants = if event == Event::Stop { Wants::Stopped } else { Wants::Running };
        self.feed(number, event);
        if let Some(id) = id {
            self.pending.push(Pending { peer, id, service: number, wants });
        }
    }

    /// Answers those whose service has come to what they asked for, or will not.
    pub(super) fn answer_pending(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let Some(service) = self.services.get(&pending.service) else {
                let message = "the service is gone: its manifest was changed or removed".to_owned();
                self.tell(pending.peer, rpc::refuse(&Refusal { id: pending.id, code: code::INTERNAL, message }));
                continue;
            };
            let info = service.info();
            let answer = match pending.wants.outcome(info.state) {
                None => {
                    self.pending.push(pending);
                    continue;
                }
                Some(true) => rpc::answer(&pending.id, &info),
                Some(false) => {
                    let what = if pending.wants == Wants::Running { "did not start" } else { "did not stop" };
                    let reason = info.reason.as_deref().unwrap_or("somebody else asked for the opposite");
                    let message = format!("{} {what}: {reason}", info.name);
                    rpc::refuse(&Refusal { id: pending.id, code: code::INTERNAL, message })
                }
            };
            self.tell(pending.peer, answer);
        }
    }

    pub(super) fn tell(&mut self, peer: Peer, text: String) {
        self.tell_with(peer, text, Vec::new());
    }

    /// The same with descriptors attached.
    pub(super) fn tell_with(&mut self, peer: Peer, text: String, attached: Vec<OwnedFd>) {
        if let Some(Err(lost)) = self.connection(peer).map(|connection| connection.send(text, attached)) {
            self.lose(peer, &lost);
        }
    }

    /// Tells every service with a control channel.
    pub(super) fn tell_gateways(&mut self, text: &str) {
        for number in self.numbers(Service::is_gateway) {
            self.tell(Peer::Service(number), text.to_owned());
        }
    }

    /// Tells the services with a control channel of a new Arc.
    pub(super) fn introduce_arc(&mut self, arc: u32) {
        for gateway in self.numbers(Service::is_gateway) {
            self.introduce_to(gateway, arc);
        }
    }

    /// Tells a service with a control channel, just started, of all Arcs.
    pub(super) fn introduce_arcs(&mut self, gateway: u32) {
        if !self.services.get(&gateway).is_some_and(Service::is_gateway) {
            return;
        }
        for arc in self.numbers(Service::is_arc) {
            self.introduce_to(gateway, arc);
        }
    }

    fn introduce_to(&mut self, gateway: u32, arc: u32) {
        let Some(service) = self.services.get(&arc).filter(|service| service.is_arc()) else { return };
        let Ok(Ends { caller: Some(caller), egress: Some(egress), .. }) = &service.ends else { return };
        let run = if self.abilities.has(Layer::Files) { Path::new("/run") } else { &self.layout.run };
        let text = rpc::notification(control::ARC_ADDED, service.added(run, &self.config));
        let name = service.name().clone();
        let copies = caller.as_fd().try_clone_to_owned().and_then(|caller| {
            let egress = egress.as_fd().try_clone_to_owned()?;
            Ok(vec![caller, egress])
        });
        match copies {
            Ok(copies) => self.tell_with(Peer::Service(gateway), text, copies),
            Err(error) => self.say(&format!("{name}: its sockets cannot be handed to the gateway: {error}")),
        }
        self.introduce_port(gateway, arc);
    }

    /// Hands the gateway the socket on the own loopback of an Arc that runs.
    fn introduce_port(&mut self, gateway: u32, arc: u32) {
        let Some(service) = self.services.get(&arc) else { return };
        let Some(Ok(copy)) = service.proxy.as_ref().map(OwnedFd::try_clone) else { return };
        let text = rpc::notification(control::EGRESS_PORT, ByName { name: service.name().clone() });
        self.tell_with(Peer::Service(gateway), text, vec![copy]);
    }

    /// An Arc has started: every gateway is told of its loopback.
    pub(super) fn introduce_loopback(&mut self, arc: u32) {
        for gateway in self.numbers(Service::is_gateway) {
            self.introduce_port(gateway, arc);
        }
    }

    /// A socket in the network of a service, for the gateway alone.
    fn hand_socket(&mut self, peer: Peer, id: Option<Value>, name: &Name) {
        let process = self.number_of(name).and_then(|number| self.services.get(&number)?.living());
        let socket = match (peer, process) {
            (Peer::Client(_), _) => Err("this is for the gateway alone".to_owned()),
            (_, None) => Err(format!("{name} does not run")),
            (_, Some(process)) => sys::socket_in_network_of(&process.child, self.abilities.is_unprivileged)
                .map_err(|error| error.to_string()),
        };
        match (socket, id) {
            (Ok(socket), Some(id)) => self.tell_with(peer, rpc::answer(&id, json!({})), vec![socket]),
            (Ok(_), None) => {}
            (Err(message), id) => self.refuse(peer, id, code::INTERNAL, message),
        }
    }

    /// Lets a peer go that is of no use. A gateway that does not read is: it is started again.
    fn lose(&mut self, peer: Peer, lost: &Lost) {
        self.drop_peer(peer);
        if let (Peer::Service(number), Lost::DoesNotRead) = (peer, lost) {
            self.feed(number, Event::Unwell("does not read its control channel".to_owned()));
        }
    }

    fn drop_peer(&mut self, peer: Peer) {
        self.pending.retain(|pending| pending.peer != peer);
        self.forget_queries(peer);
        self.forget_questions(peer);
        match peer {
            Peer::Client(number) => {
                self.clients.remove(&number).inspect(|connection| self.poll.remove(connection));
            }
            Peer::Service(number) => self.close_channel(number),
        }
    }

    /// Closes our end of a service's control channel.
    pub(super) fn close_channel(&mut self, number: u32) {
        self.forget_questions(Peer::Service(number));
        let Some(service) = self.services.get_mut(&number) else { return };
        service.channel.take().inspect(|channel| self.poll.remove(channel));
    }

    /// Lets those go that are finished, and waits with the others for what there is to wait for.
    pub(super) fn settle_peers(&mut self) {
        let clients = self.clients.keys().copied().map(Peer::Client);
        let channels = self.numbers(|service| service.channel.is_some()).into_iter().map(Peer::Service);
        let peers: Vec<Peer> = clients.chain(channels).collect();
        for peer in peers {
            let is_awaited = self.awaits_logs(peer)
                || self.awaits_radio(peer)
                || self.pending.iter().any(|pending| pending.peer == peer);
            let Some(connection) = self.connection(peer) else { continue };
            if connection.is_finished && connection.is_idle() && !is_awaited {
                self.drop_peer(peer);
                continue;
            }
            let interest = connection.interest();
            if std::mem::replace(&mut connection.registered, interest) == interest {
                continue;
            }
            let source = match peer {
                Peer::Client(number) => Source::Client(number),
                Peer::Service(number) => Source::Channel(number),
            };
            self.watch_peer(peer, source, interest);
        }
    }

    fn watch_peer(&mut self, peer: Peer, source: Source, interest: Interest) {
        let connection = match peer {
            Peer::Client(number) => self.clients.get(&number),
            Peer::Service(number) => self.services.get(&number).and_then(|service| service.channel.as_ref()),
        };
        let changed = connection.map(|connection| self.poll.change(connection, source, interest));
        if let Some(Err(_)) = changed {
            self.drop_peer(peer);
        }
    }
}
