//! `arc.toml`: what an Arc is, how it is started, what it may touch and what its tools do.
//!
//! A manifest grants. What it does not name, the Arc does not get.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cage::{Cage, Network};
use crate::document::{Document, Section};
use crate::problem::Problems;
use crate::values::{Label, Name, ToolPattern, choice};

/// Whose manifest it is: a few keys are for the system's own services alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Ships with the image, read-only.
    System,
    /// Put there by the owner or by an Arc's author.
    User,
}

/// A validated `arc.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The Arc's name: of its service, its socket, its data folder.
    pub name: Name,
    /// Its version, as its author writes it.
    pub version: String,
    /// One line on what it does.
    pub description: String,
    /// The program and its arguments. A bare program name is looked up beside `init`'s own binary.
    pub exec: Vec<String>,
    /// Environment variables beside those that init sets.
    pub env: BTreeMap<String, String>,
    /// When it starts.
    pub activation: Activation,
    /// How the gateway speaks to it.
    pub transport: Transport,
    /// What says that it is ready.
    pub ready: Ready,
    /// Services that are started before it and stopped after it.
    pub after: Vec<Name>,
    /// How long it may be idle before it exits by itself, or on stdio is let go by the gateway; `None`: for ever.
    pub idle_exit: Option<Duration>,
    /// How long it may take until it says that it is ready.
    pub start_timeout: Duration,
    /// How long it may take to stop once asked.
    pub stop_timeout: Duration,
    /// Once it is ready it says that it is alive at least this often, or it is killed and started again; `None`: nobody
    /// asks.
    pub watchdog: Option<Duration>,
    /// Whether it is started again when it ends.
    pub restart: Restart,
    /// What its tools' names begin with; the Arc's name unless stated: Arc `files` offers `fs.read`.
    pub namespace: Name,
    /// Other namespaces under which older clients know its tools.
    pub aliases: Vec<Name>,
    /// The tools that it may call; all others are refused.
    pub calls: Vec<ToolPattern>,
    /// The secrets that it is handed.
    pub secrets: Vec<Name>,
    /// The label on what its tools return, unless a tool says otherwise.
    pub returns: Label,
    /// How long a call to one of its tools may take, unless a tool says otherwise.
    pub timeout: Duration,
    /// Per tool, by its short name (`generate_site`), where it differs.
    pub tools: BTreeMap<String, ToolRules>,
    /// System services only: TCP listeners that it inherits, by the names that the system configuration gives them.
    pub listen: Vec<Name>,
    /// System services only: whether it inherits the control channel of init (the gateway does).
    pub control: bool,
    /// System services only: whether it is handed what all services write, to keep it (logd is).
    pub logs: bool,
    /// System services only: whether init passes on to it what is asked of Wi-Fi networks (netd is).
    pub network: bool,
    /// The cage.
    pub cage: Cage,
}

impl Manifest {
    /// Whether it inherits a channel to init.
    #[must_use]
    pub fn has_channel(&self) -> bool {
        self.control || self.logs || self.network
    }
}

/// When a service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// With the system.
    Boot,
    /// At the first connection to its socket.
    OnDemand,
}

/// How the gateway speaks to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// MCP, newline-delimited, on the socket that it inherits.
    Socket,
    /// MCP of any revision on its standard input and output: a server that knows nothing of us.
    Stdio,
    /// Not at all: it offers no tools (a model server, the gateway itself).
    None,
}

/// What says that a service is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Its own `READY=1` on `NOTIFY_SOCKET` (sd_notify). The default of what inherits a socket of ours.
    Notify,
    /// That its program was started: for programs that know nothing of sd_notify. The default of the others.
    Exec,
}

/// Whether a service is started again when it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Whatever the reason.
    Always,
    /// Only when it failed: a clean exit is an exit.
    OnFailure,
    /// Never.
    Never,
}

/// What is special about one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolRules {
    /// What it changes; `None` where the manifest does not say, to be taken as the worst.
    pub acts: Option<Acts>,
    /// Arguments that decide where an effect lands.
    pub sinks: Vec<String>,
    /// The label on what it returns, where it differs from the Arc's.
    pub returns: Option<Label>,
    /// How long a call may take, where it differs from the Arc's.
    pub timeout: Option<Duration>,
}

/// What a tool changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acts {
    /// Nothing: it reads or computes.
    None,
    /// The Arc's own data; can be undone.
    Local,
    /// The world outside: it sends, pays, publishes, fetches.
    World,
}

choice!(Activation, "boot" => Activation::Boot, "on-demand" => Activation::OnDemand);
choice!(Transport, "socket" => Transport::Socket, "stdio" => Transport::Stdio, "none" => Transport::None);
choice!(Ready, "notify" => Ready::Notify, "exec" => Ready::Exec);
choice!(Restart, "always" => Restart::Always, "on-failure" => Restart::OnFailure, "never" => Restart::Never);
choice!(Acts, "none" => Acts::None, "local" => Acts::Local, "world" => Acts::World);

/// sd_notify's own default is systemd's 90 s; an Arc that has not said READY=1 after 30 s has failed here.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

impl Manifest {
    /// Reads a manifest. `file` names it in messages.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn parse(file: &str, source: &str, origin: Origin) -> Result<Self, Problems> {
        Document::read(file, source, |root| Self::read(root, origin))
    }

    fn read(root: &Section<'_>, origin: Origin) -> Option<Self> {
        let name = root.required::<Name>("name");
        let version = root.required("version");
        let description = root.required("description");
        let exec = root.required::<Vec<String>>("exec");
        let cage = root.section("cage", Cage::read).unwrap_or_default();
        let namespace = root.optional("namespace").or_else(|| name.clone());
        let transport = root.or("transport", Transport::Socket);
        let (control, logs) = (root.or("control", false), root.or("logs", false));
        let network = root.or("network", false);
        let ready =
            if transport == Transport::Socket || control || logs || network { Ready::Notify } else { Ready::Exec };
        let manifest = Self {
            version: version.unwrap_or_default(),
            description: description.unwrap_or_default(),
            exec: exec.unwrap_or_default(),
            env: root.section("env", |env| Some(env.entries())).unwrap_or_default(),
            activation: root.or("activation", Activation::OnDemand),
            transport,
            ready: root.or("ready", ready),
            after: root.or("after", Vec::new()),
            idle_exit: root.optional("idle_exit"),
            start_timeout: root.or("start_timeout", START_TIMEOUT),
            stop_timeout: root.or("stop_timeout", STOP_TIMEOUT),
            watchdog: root.optional("watchdog"),
            restart: root.or("restart", Restart::OnFailure),
            aliases: root.or("aliases", Vec::new()),
            calls: root.or("calls", Vec::new()),
            secrets: root.or("secrets", Vec::new()),
            returns: root.or("returns", Label::Untrusted),
            timeout: root.or("timeout", CALL_TIMEOUT),
            tools: root.named_sections("tools", |_, tool| Some(ToolRules::read(tool))),
            listen: root.or("listen", Vec::new()),
            control,
            logs,
            network,
            cage,
            namespace: namespace?,
            name: name?,
        };
        manifest.check(root, origin);
        Some(manifest)
    }

    /// What no single key can tell.
    fn check(&self, root: &Section<'_>, origin: Origin) {
        match self.exec.first() {
            None if root.has("exec") => root.report("exec", "must name a program: [\"/usr/bin/arcs\", \"kv\"]"),
            Some(program) if program.contains('/') && !program.starts_with('/') => {
                root.report("exec", "the program must be an absolute path or a bare name, found beside init");
            }
            _ => {}
        }
        if origin == Origin::User {
            for key in ["listen", "control", "logs", "network"].into_iter().filter(|key| root.has(key)) {
                root.report(key, "is for the system's own services: an Arc has no listener of its own");
            }
            self.check_cage(root);
        }
        if self.transport == Transport::None && self.activation == Activation::OnDemand && self.listen.is_empty() {
            root.report("activation", "must be \"boot\": without a socket nothing can ask for it");
        }
        if self.after.contains(&self.name) {
            root.report("after", "names the Arc itself");
        }
    }

    /// What a cage of the system's own services alone may hold.
    fn check_cage(&self, root: &Section<'_>) {
        if self.cage.network == Network::Host || !self.cage.capabilities.is_empty() {
            root.report("cage", "`network` and `capabilities` are for the system's own services");
        }
        for (key, message) in self.cage.beyond_anybody() {
            root.report("cage", format!("{key}: {message}"));
        }
        for mount in self.cage.mounts.iter().filter(|mount| !mount.is_for_anybody()) {
            let message = "is the system's own, and what is not below /data can be read alone";
            root.report("cage", format!("{} cannot be a mount: it {message}", mount.path));
        }
    }

    /// How long a call to `tool` (its short name) may take.
    #[must_use]
    pub fn timeout_of(&self, tool: &str) -> Duration {
        self.tools.get(tool).and_then(|rules| rules.timeout).unwrap_or(self.timeout)
    }

    /// The label on what `tool` (its short name) returns.
    #[must_use]
    pub fn label_of(&self, tool: &str) -> Label {
        self.tools.get(tool).and_then(|rules| rules.returns).unwrap_or(self.returns)
    }

    /// Whether the Arc may call `tool` (its full name).
    #[must_use]
    pub fn may_call(&self, tool: &str) -> bool {
        self.calls.iter().any(|pattern| pattern.matches(tool))
    }
}

impl ToolRules {
    fn read(section: &Section<'_>) -> Self {
        Self {
            acts: section.optional("acts"),
            sinks: section.or("sinks", Vec::new()),
            returns: section.optional("returns"),
            timeout: section.optional("timeout"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
name = "weather"
version = "1"
description = "Tells the weather"
exec = ["/opt/weather"]
"#;

    fn problems(source: &str, origin: Origin) -> String {
        Manifest::parse("arcs/weather.toml", source, origin).expect_err("a broken manifest").to_string()
    }

    #[test]
    fn what_is_not_written_is_the_careful_choice() {
        let manifest = Manifest::parse("weather.toml", SMALL, Origin::User).expect("sound");
        assert_eq!(manifest.namespace, manifest.name);
        assert_eq!(manifest.activation, Activation::OnDemand);
        assert_eq!(manifest.returns, Label::Untrusted);
        assert!(manifest.calls.is_empty() && !manifest.may_call("kv.get"));
        assert_eq!(manifest.cage, Cage::default());
    }

    #[test]
    fn only_what_inherits_a_socket_of_ours_is_expected_to_say_that_it_is_ready() {
        let ready = |more: &str| {
            let source = format!("{SMALL}activation = \"boot\"\n{more}");
            Manifest::parse("weather.toml", &source, Origin::System).expect("sound").ready
        };
        assert_eq!(ready(""), Ready::Notify);
        assert_eq!(ready("transport = \"none\""), Ready::Exec);
        assert_eq!(ready("transport = \"stdio\""), Ready::Exec);
        assert_eq!(ready("transport = \"none\"\ncontrol = true"), Ready::Notify);
        assert_eq!(ready("transport = \"none\"\nready = \"notify\""), Ready::Notify);
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_line() {
        let source = r#"
name = "Weather"
version = 1
exec = []
activation = "ondemand"
idle_exit = "5"
calls = ["kv.*", "everything"]
[tools.forecast]
acts = "world"
sink = ["url"]
[cage]
memory_mx = "64M"
pids_max = -1
mounts = [{ path = "../etc" }]
"#;
        let expected = "\
arcs/weather.toml:1: description: `description` is missing
arcs/weather.toml:2: name: must be 1 to 64 lower-case letters, digits, '_' or '-', a letter first, not \"Weather\"
arcs/weather.toml:3: version: must be a string, not the number 1
arcs/weather.toml:5: activation: must be \"boot\" or \"on-demand\"
arcs/weather.toml:6: idle_exit: must be a time span such as \"5m\" (ms, s, m, h or d), not \"5\"
arcs/weather.toml:7: calls[1]: must be a tool's name such as kv.get, or a namespace such as kv.*, not \"everything\"
arcs/weather.toml:10: tools.forecast.sink: unknown key. Close to it: sinks
arcs/weather.toml:12: cage.memory_mx: unknown key. Close to it: memory_max
arcs/weather.toml:13: cage.pids_max: must be a whole number from 0 to 4294967295, not the number -1
arcs/weather.toml:14: cage.mounts[0].path: must be an absolute path without \"..\"";
        assert_eq!(problems(source, Origin::User), expected);
    }

    #[test]
    fn a_listener_is_for_the_system_alone() {
        let source = format!("{SMALL}listen = [\"http\"]\ncontrol = true\nlogs = true\nnetwork = true\n");
        let message = problems(&source, Origin::User);
        for place in
            ["weather.toml:6: listen:", "weather.toml:7: control:", "weather.toml:8: logs:", "weather.toml:9: network:"]
        {
            assert!(message.contains(place), "{message}");
        }
        assert!(Manifest::parse("weather.toml", &source, Origin::System).is_ok());
    }

    #[test]
    fn syntax_errors_stand_alone() {
        let message = problems("name = \nversion = \"1\"\n[cage\n", Origin::User);
        assert!(message.contains("weather.toml:1:") && message.contains("weather.toml:3:"), "{message}");
        assert!(!message.contains("missing"), "{message}");
    }

    #[test]
    fn the_picture_quotes_the_line() {
        let problems = Manifest::parse("w.toml", &format!("{SMALL}[cage]\nmemory_mx = \"1M\"\n"), Origin::User)
            .expect_err("an unknown key");
        let picture = problems.picture(false);
        assert!(picture.contains("memory_mx = \"1M\"") && picture.contains("Close to it: memory_max"), "{picture}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(source in "\\PC*") {
            if let Err(problems) = Manifest::parse("any.toml", &source, Origin::User) {
                let _ = problems.picture(false);
            }
        }
    }
}
