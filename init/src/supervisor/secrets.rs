//! Secrets, as clients of `init.sock` set, list and delete them; and their fingerprints, as `logd` and the gateway are
//! told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};
use spec::caller::code;
use spec::control::{self, SECRET_MAX, SecretInfo};
use spec::redaction::{Fingerprints, Redactor};
use spec::{Name, SystemConfig, paths};
use zeroize::Zeroizing;

use super::Supervisor;
use super::peers::Peer;
use super::service::Service;
use crate::command_line::{Mode, Options};
use crate::error::StartError;
use crate::layout::Layout;
use crate::library::{self, Complaint};
use crate::rpc;
use crate::secrets::{self, Imported, Secret, Secrets, TPM};
use crate::sys::{self, Access};

/// The store, and by what its values are found in texts.
pub(super) struct Keeping {
    pub(super) store: Secrets,
    /// What the fingerprints are keyed with until init ends.
    key: [u8; 32],
    fingerprints: Fingerprints,
    /// Hides secrets in what init itself says, and in what it passes on.
    pub(super) redactor: Redactor,
    /// What is not for logs beside secrets: the code and the token of a claim.
    also: Vec<Zeroizing<String>>,
    /// What was moved here from the configuration, to be said once.
    pub(super) imported: Vec<String>,
}

/// Opens the store, moves into it what stands in the configuration, and only then reads that. On a developer's machine
/// a file keeps the key: the folder of the data may be moved to another one.
pub(super) fn open(options: &Options, layout: &Layout) -> Result<(Keeping, SystemConfig, Vec<Complaint>), StartError> {
    let tpm = if options.mode == Mode::Appliance { Some(Path::new(TPM)) } else { None };
    let mut store = Secrets::open(paths::secrets(&layout.data), tpm);
    let (mut imported, mut problems) = (Vec::new(), Vec::new());
    problems.extend(store.trouble());
    for file in &options.config {
        let writable = |scrub: &mut dyn FnMut() -> io::Result<()>| match options.mode {
            Mode::Developer => scrub(),
            Mode::Appliance => while_writable(file, scrub),
        };
        let Imported { done, problem } = secrets::import(file, &mut store, sys::unix_millis(), writable);
        imported.extend(done);
        problems.extend(problem);
    }
    problems.extend(store.take_remark());
    let key = random_key().map_err(StartError::kernel("read random bytes"))?;
    let (fingerprints, redactor) = (Fingerprints::default(), Redactor::default());
    let mut keeping = Keeping { store, key, fingerprints, redactor, also: Vec::new(), imported };
    problems.extend(keeping.know().into_iter().map(|name| too_many_lines(&name)));
    let (config, mut complaints) = library::read_config(&options.config);
    complaints.extend(problems.into_iter().map(Complaint::plain));
    Ok((keeping, config, complaints))
}

impl Keeping {
    /// Hides these as well, in the place of those before.
    pub(super) fn also_hide(&mut self, texts: impl Iterator<Item = String>) {
        self.also = texts.map(Zeroizing::new).collect();
        self.know();
    }

    /// Makes the fingerprints anew; answers the secrets of which not all lines are looked for.
    fn know(&mut self) -> Vec<Name> {
        let (mut fingerprints, left_out) = self.store.fingerprints(&self.key);
        // They are few and short, so that there is room for them; where there is not, they are still in no message.
        for text in &self.also {
            fingerprints.add(text.as_bytes());
        }
        self.redactor = Redactor::new(&fingerprints);
        self.fingerprints = fingerprints;
        left_out
    }
}

fn too_many_lines(name: &Name) -> String {
    format!("secrets: {name} has too many lines: not all of them are hidden in logs")
}

/// Calls `work` while the partition with `file`, which is mounted read-only, can be written.
fn while_writable(file: &Path, work: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    sys::remount(folder, Access::Files)?;
    let done = work();
    let closed = sys::remount(folder, Access::ReadOnlyFiles);
    done.and(closed)
}

/// A new key for fingerprints.
fn random_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

impl Supervisor {
    pub(super) fn set_secret(&mut self, peer: Peer, id: Option<Value>, name: &Name) {
        let attached = self.connection(peer).and_then(|connection| connection.take_attached());
        let Some(attached) = attached else {
            let message = format!("{name}: the value must be attached as a sealed memory file, as luca-run does it");
            return self.refuse(peer, id, code::INVALID_PARAMS, message);
        };
        let value = match sys::sealed_content(attached, SECRET_MAX) {
            Ok(value) => Secret::new(value),
            Err(error) => return self.refuse(peer, id, code::INVALID_PARAMS, format!("{name}: the value {error}")),
        };
        let was_locked = self.secrets.store.trouble();
        if let Err(error) = self.secrets.store.set(name, &value, sys::unix_millis()) {
            return self.refuse(peer, id, code::INTERNAL, format!("{name}: {error}"));
        }
        drop(value);
        if let Some(trouble) = was_locked {
            self.problems.retain(|problem| *problem != trouble);
            self.say("secrets: a new store was begun; the one that could not be read is kept as store.unreadable");
        }
        if let Some(remark) = self.secrets.store.take_remark() {
            self.complain(Complaint::plain(remark));
        }
        self.secrets_changed();
        self.say(&format!("secrets: {name} was set"));
        self.reply(peer, id, json!(self.secret_info(name)));
    }

    pub(super) fn list_secrets(&mut self, peer: Peer, id: Option<Value>) {
        match self.secrets.store.names() {
            Ok(set) => {
                let mut all: BTreeSet<Name> = set.into_keys().collect();
                all.extend(self.users().into_keys());
                let infos: Vec<SecretInfo> = all.iter().map(|name| self.secret_info(name)).collect();
                self.reply(peer, id, json!(infos));
            }
            Err(error) => self.refuse(peer, id, code::INTERNAL, error.to_string()),
        }
    }

    pub(super) fn delete_secret(&mut self, peer: Peer, id: Option<Value>, name: &Name) {
        match self.secrets.store.delete(name) {
            Ok(set_ms) => {
                self.secrets_changed();
                self.say(&format!("secrets: {name} was deleted"));
                let info = SecretInfo { set_ms: Some(set_ms), ..self.secret_info(name) };
                self.reply(peer, id, json!(info));
            }
            Err(error) => self.refuse(peer, id, code::INTERNAL, error.to_string()),
        }
    }

    fn secret_info(&self, name: &Name) -> SecretInfo {
        let set_ms = self.secrets.store.names().ok().and_then(|names| names.get(name).copied());
        let arcs = self.users().remove(name).unwrap_or_default().into_iter().collect();
        SecretInfo { name: name.clone(), set_ms, arcs }
    }

    /// Each secret that is named somewhere, with the Arcs that are handed it.
    fn users(&self) -> BTreeMap<Name, BTreeSet<Name>> {
        let mut users = BTreeMap::<Name, BTreeSet<Name>>::new();
        for manifest in self.wanted.iter().map(|candidate| &candidate.manifest) {
            let granted = self.config.grants.get(&manifest.name).map(|grant| &grant.secrets);
            for secret in manifest.secrets.iter().chain(granted.into_iter().flatten()) {
                users.entry(secret.clone()).or_default().insert(manifest.name.clone());
            }
        }
        users
    }

    /// Makes the fingerprints anew, and tells of them.
    pub(super) fn secrets_changed(&mut self) {
        for name in self.secrets.know() {
            self.say(&too_many_lines(&name));
        }
        let keepers = self.numbers(|service| service.is_log_keeper() && service.channel.is_some());
        for number in self.numbers(Service::is_gateway).into_iter().chain(keepers) {
            self.tell_secrets_to(number);
        }
    }

    /// Tells the gateway or `logd` by what secrets are found.
    pub(super) fn tell_secrets_to(&mut self, number: u32) {
        let text = rpc::notification(control::REDACT, &self.secrets.fingerprints);
        self.tell(Peer::Service(number), text);
    }
}
