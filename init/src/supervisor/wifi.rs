//! Wi-Fi networks: what is asked of them goes to `netd`, which alone speaks to the radio; what was joined, init keeps.
//!
//! A network that was joined stands in `<data>/wifi.toml`, its passphrase in the secrets store: a passphrase is handed to
//! `netd` alone, as a file of its cage. What `llmbasedos.toml` names counts before that and is never changed from here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use spec::caller::code;
use spec::control::{self, BySsid, WifiJoin};
use spec::{MOST_WIFI_NETWORKS, Ssid, SystemConfig, WifiNetwork, paths};
use zeroize::Zeroizing;

use super::Supervisor;
use super::peers::Peer;
use super::service::Service;
use crate::connection::Heard;
use crate::layout::{Layout, write_private};
use crate::library::Complaint;
use crate::machine::Event;
use crate::rpc;
use crate::secrets::Secret;
use crate::sys;

/// How many questions may wait for `netd`.
const MOST_QUESTIONS: usize = 8;

/// What a peer asks of the radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    Scan,
    Join(WifiJoin),
    Forget(BySsid),
}

impl Question {
    fn method(&self) -> &'static str {
        match self {
            Self::Scan => control::WIFI_SCAN,
            Self::Join(_) => control::WIFI_JOIN,
            Self::Forget(_) => control::WIFI_FORGET,
        }
    }

    fn params(&self) -> Value {
        match self {
            Self::Scan => json!({}),
            Self::Join(join) => json!(join),
            Self::Forget(by_ssid) => json!(by_ssid),
        }
    }
}

/// What init has to do with Wi-Fi.
#[derive(Debug, Default)]
pub(super) struct Wifi {
    /// The networks of the owner's file.
    owners: Vec<WifiNetwork>,
    /// Those that were joined beside them, the last first.
    joined: Vec<WifiNetwork>,
    /// Who waits for an answer of `netd`, by the number of the question; nobody, where it has gone since.
    asked: BTreeMap<u64, (Option<Peer>, Option<Value>, Question)>,
    next: u64,
}

/// What `netd` says.
#[derive(Deserialize)]
struct Said {
    id: u64,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    message: String,
}

/// Adds to `config` the networks that were joined.
pub(super) fn open(layout: &Layout, config: &mut SystemConfig, complaints: &mut Vec<Complaint>) -> Wifi {
    let file = paths::joined_wifi(&layout.data);
    let joined = match read(&file) {
        Ok(joined) => joined,
        Err(why) => {
            let consequence = "the Wi-Fi networks that were joined before are not known";
            complaints.push(Complaint::plain(format!("{why}\n{consequence}: join them again")));
            Vec::new()
        }
    };
    let owners = config.wifi().to_vec();
    let (known, left_out) = bounded(joined.clone(), &owners);
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.iter().map(|network| network.ssid.to_string()).collect();
        complaints.push(Complaint::plain(format!(
            "network.wifi: not joined any more: {}: with those of llmbasedos.toml there are more than \
             {MOST_WIFI_NETWORKS}; take some out there",
            names.join(", ")
        )));
    }
    let fresh: Vec<WifiNetwork> = known.into_iter().filter(|network| find(&owners, network).is_none()).collect();
    if !fresh.is_empty() {
        config.wifi_mut().extend(fresh);
    }
    Wifi { owners, joined, ..Wifi::default() }
}

/// What can be kept of networks that were joined, the last first, beside the owner's; and the others.
fn bounded(joined: Vec<WifiNetwork>, owners: &[WifiNetwork]) -> (Vec<WifiNetwork>, Vec<WifiNetwork>) {
    let mut room = MOST_WIFI_NETWORKS.saturating_sub(owners.len());
    joined.into_iter().partition(|network| {
        let fits = room > 0;
        let is_owners = find(owners, network).is_some();
        room = room.saturating_sub(usize::from(!is_owners));
        is_owners || fits
    })
}

fn read(file: &Path) -> Result<Vec<WifiNetwork>, String> {
    let shown = file.display();
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{shown}: cannot be read: {error}")),
        Ok(text) => {
            let config = SystemConfig::parse(&shown.to_string(), &text).map_err(|problems| problems.to_string())?;
            Ok(config.network.unwrap_or_default().wifi)
        }
    }
}

fn find<'n>(networks: &'n [WifiNetwork], wanted: &WifiNetwork) -> Option<&'n WifiNetwork> {
    networks.iter().find(|network| network.ssid == wanted.ssid)
}

fn has(networks: &[WifiNetwork], ssid: &Ssid) -> bool {
    networks.iter().any(|network| network.ssid == *ssid)
}

fn put(networks: &mut Vec<WifiNetwork>, fresh: &WifiNetwork) {
    networks.retain(|network| network.ssid != fresh.ssid);
    networks.insert(0, fresh.clone());
}

impl Supervisor {
    /// Passes a question on to `netd`.
    pub(super) fn ask_of_radio(&mut self, peer: Peer, id: Option<Value>, question: Question) {
        let keeper = self.numbers(|service| service.is_network_keeper() && service.channel.is_some()).first().copied();
        let refusal = match (&question, keeper) {
            (_, None) => Some("the network of this machine is not kept by llmbasedos, or netd does not run: luca-run system.services says".to_owned()),
            _ if self.wifi.asked.len() >= MOST_QUESTIONS => {
                Some(format!("{MOST_QUESTIONS} questions wait for netd: ask again when one was answered"))
            }
            (Question::Forget(BySsid { ssid }), _) if has(&self.wifi.owners, ssid) => {
                Some(format!("the network {ssid} stands in llmbasedos.toml: take it out there"))
            }
            (Question::Forget(BySsid { ssid }), _) if !has(&self.wifi.joined, ssid) => {
                Some(format!("the network {ssid} was not joined"))
            }
            (Question::Join(WifiJoin { passphrase: Some(passphrase), .. }), _) => {
                spec::check_passphrase(passphrase).err().map(|why| format!("the passphrase {why}"))
            }
            _ => None,
        };
        if let Some(message) = refusal {
            return self.refuse(peer, id, code::INVALID_PARAMS, message);
        }
        let Some(keeper) = keeper else { return };
        self.wifi.next = self.wifi.next.wrapping_add(1);
        let number = self.wifi.next;
        let text = rpc::request(number, question.method(), question.params());
        self.wifi.asked.insert(number, (Some(peer), id, question));
        self.tell(Peer::Service(keeper), text);
    }

    /// Hears `netd`.
    pub(super) fn hear_network_keeper(&mut self, number: u32, heard: &Heard) {
        let said = match heard {
            Heard::Line(line) => serde_json::from_slice::<Said>(line).ok(),
            Heard::TooLong => None,
        };
        let Some(said) = said else {
            return self.feed(number, Event::Unwell("said what init does not understand".to_owned()));
        };
        let Some((peer, id, question)) = self.wifi.asked.remove(&said.id) else { return };
        let kept = match (said.error, question) {
            (Some(Trouble { message }), _) => Err(message),
            (None, Question::Scan) => Ok(()),
            (None, Question::Join(join)) => self.keep_joined(join),
            (None, Question::Forget(by_ssid)) => self.forget_joined(&by_ssid),
        };
        match (kept, peer) {
            (Ok(()), Some(peer)) => self.reply(peer, id, said.result.unwrap_or_default()),
            (Err(message), Some(peer)) => self.refuse(peer, id, code::INTERNAL, message),
            (Ok(()), None) => {}
            (Err(message), None) => self.say(&format!("network: {message}")),
        }
    }

    /// Whether `peer` waits for an answer of `netd`.
    pub(super) fn awaits_radio(&self, peer: Peer) -> bool {
        self.wifi.asked.values().any(|(asker, ..)| *asker == Some(peer))
    }

    /// Forgets who asked, where that is gone: what `netd` does is done and has to be kept. Answers for a `netd` that is.
    pub(super) fn forget_questions(&mut self, peer: Peer) {
        let is_netd =
            matches!(peer, Peer::Service(number) if self.services.get(&number).is_some_and(Service::is_network_keeper));
        if is_netd {
            for (asker, id, _) in std::mem::take(&mut self.wifi.asked).into_values() {
                let Some(asker) = asker else { continue };
                let message = "netd ended before it had answered: ask again";
                self.refuse(asker, id, code::INTERNAL, message.to_owned());
            }
        } else {
            for (asker, ..) in self.wifi.asked.values_mut() {
                *asker = asker.filter(|asker| *asker != peer);
            }
        }
    }

    /// Keeps a network that the machine is in now, so that it joins it after a restart as well.
    fn keep_joined(&mut self, join: WifiJoin) -> Result<(), String> {
        let WifiJoin { ssid, passphrase, country, hidden } = join;
        let network = WifiNetwork { ssid, is_secured: passphrase.is_some(), country, hidden };
        let not_kept = |why: String| {
            format!("the machine is in the network {} now, and will not join it after a restart: {why}", network.ssid)
        };
        let is_owners = self.check_with_owners(&network).map_err(not_kept)?;
        if let (Some(name), Some(passphrase)) = (network.secret(), passphrase) {
            let secret = Secret::new(Zeroizing::new(passphrase.into_bytes()));
            self.secrets.store.set(&name, &secret, sys::unix_millis()).map_err(|error| not_kept(error.to_string()))?;
            self.secrets_changed();
        }
        let mut too_old = Vec::new();
        if !is_owners {
            let mut joined = self.wifi.joined.clone();
            put(&mut joined, &network);
            (joined, too_old) = bounded(joined, &self.wifi.owners);
            self.write_joined(&joined).map_err(not_kept)?;
            put(self.config.wifi_mut(), &network);
        }
        self.say(&format!("network: the Wi-Fi {} was joined, and is from now on", network.ssid));
        for network in too_old {
            let but =
                self.let_go(&network).err().map_or_else(String::new, |why| format!(", but not its secret: {why}"));
            self.say(&format!("network: the Wi-Fi {} was forgotten to make room{but}", network.ssid));
        }
        Ok(())
    }

    /// Whether the owner's file names a network that was joined, for then it counts. An error where both cannot be kept.
    fn check_with_owners(&self, network: &WifiNetwork) -> Result<bool, String> {
        match find(&self.wifi.owners, network) {
            Some(owners) if owners.is_secured != network.is_secured => {
                let stands = if owners.is_secured { "with" } else { "without" };
                Err(format!("it stands {stands} a passphrase in llmbasedos.toml: change that there"))
            }
            Some(_) => Ok(true),
            None if self.wifi.owners.len() >= MOST_WIFI_NETWORKS => {
                Err(format!("llmbasedos.toml names {MOST_WIFI_NETWORKS}, and no more are kept: take one out there"))
            }
            None => Ok(false),
        }
    }

    fn forget_joined(&mut self, by_ssid: &BySsid) -> Result<(), String> {
        let BySsid { ssid } = by_ssid;
        let (gone, joined): (Vec<_>, Vec<_>) =
            self.wifi.joined.clone().into_iter().partition(|network| network.ssid == *ssid);
        self.write_joined(&joined)?;
        self.say(&format!("network: the Wi-Fi {ssid} was forgotten"));
        gone.iter().try_for_each(|network| self.let_go(network))
    }

    /// A network that is not kept any more is not joined any more, and what opens it is gone.
    fn let_go(&mut self, network: &WifiNetwork) -> Result<(), String> {
        self.config.wifi_mut().retain(|other| other.ssid != network.ssid);
        let Some(name) = network.secret() else { return Ok(()) };
        self.secrets.store.delete(&name).map_err(|error| error.to_string())?;
        self.secrets_changed();
        Ok(())
    }

    fn write_joined(&mut self, joined: &[WifiNetwork]) -> Result<(), String> {
        let file = paths::joined_wifi(&self.layout.data);
        let text = SystemConfig::wifi_toml(joined);
        write_private(&file, text.as_bytes())
            .map_err(|error| format!("{}: cannot be written: {error}", file.display()))?;
        self.wifi.joined = joined.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_is_known_again_and_the_owners_file_counts_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout { data: folder.path().to_owned(), run: folder.path().join("run") };
        let network = |ssid: &str, is_secured| {
            let ssid = ssid.parse().expect("a name");
            WifiNetwork { ssid, is_secured, country: None, hidden: false }
        };
        let joined = [network("café", true), network("hex:ff00", false)];
        write_private(&paths::joined_wifi(&layout.data), SystemConfig::wifi_toml(&joined).as_bytes()).expect("written");
        let mut config = SystemConfig::parse("c", "[network.wifi]\nssid = \"café\"\nhidden = true\n").expect("sound");
        let mut complaints = Vec::new();
        let wifi = open(&layout, &mut config, &mut complaints);
        assert_eq!((wifi.joined.as_slice(), complaints.len()), (&joined[..], 0));
        let known: Vec<(String, bool)> =
            config.wifi().iter().map(|network| (network.ssid.to_string(), network.hidden)).collect();
        assert_eq!(known, [("café".to_owned(), true), ("hex:ff00".to_owned(), false)]);
    }

    #[test]
    fn there_are_never_more_than_netd_takes() {
        let network = |number: usize| {
            let ssid = format!("net {number}").parse().expect("a name");
            WifiNetwork { ssid, is_secured: true, country: None, hidden: false }
        };
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout { data: folder.path().to_owned(), run: folder.path().join("run") };
        let joined: Vec<WifiNetwork> = (0..MOST_WIFI_NETWORKS).map(network).collect();
        write_private(&paths::joined_wifi(&layout.data), SystemConfig::wifi_toml(&joined).as_bytes()).expect("written");
        // The owner names one of them, and another.
        let text =
            "[[network.wifi]]\nssid = \"net 15\"\npassphrase = \"********\"\n[[network.wifi]]\nssid = \"attic\"\n";
        let mut config = SystemConfig::parse("c", text).expect("sound");
        let mut complaints = Vec::new();
        let wifi = open(&layout, &mut config, &mut complaints);
        assert_eq!((wifi.owners.len(), wifi.joined.len(), config.wifi().len()), (2, 16, MOST_WIFI_NETWORKS));
        assert!(SystemConfig::parse("netd", &config.network_toml()).is_ok());
        let said: String = complaints.iter().map(|complaint| complaint.plain.as_str()).collect();
        assert!(said.contains("network.wifi: not joined any more: net 14: with"), "{said}");
        let (kept, too_old) = bounded(joined, &wifi.owners);
        assert_eq!((kept.len(), too_old), (15, vec![network(14)]), "the oldest that is not the owner's");
    }

    #[test]
    fn a_broken_file_is_said_and_stops_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout { data: folder.path().to_owned(), run: folder.path().join("run") };
        fs::write(paths::joined_wifi(&layout.data), "[[network.wifi]]\nsid = \"x\"\n").expect("written");
        let (mut config, mut complaints) = (SystemConfig::default(), Vec::new());
        let wifi = open(&layout, &mut config, &mut complaints);
        assert!(wifi.joined.is_empty() && config.network.is_none());
        let said: String = complaints.iter().map(|complaint| complaint.plain.as_str()).collect();
        assert!(
            said.contains("wifi.toml:2: network.wifi[0].sid: unknown key") && said.contains("join them again"),
            "{said}"
        );
    }
}
