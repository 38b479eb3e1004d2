//! What an Arc is told by init: its name, its folder, its settings, the way to the gateway.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::control::{SECRET_MAX, env as vars};
use spec::{Document, Name, SecretText, Section, paths};

use crate::activity::{Activity, Busy};
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::inherit::Inherited;
use crate::run::StartError;

/// What an Arc is told by init.
#[derive(Clone)]
pub struct Host {
    name: Name,
    data: PathBuf,
    settings: Option<PathBuf>,
    secrets: Option<PathBuf>,
    idle_exit: Option<Duration>,
    gateway: Gateway,
    activity: Activity,
    inherited: Inherited,
}

impl Host {
    pub(crate) fn from_environment(inherited: Inherited, version: &'static str) -> Result<Self, StartError> {
        let name: Name = variable(vars::NAME)?.parse()?;
        let idle_exit = match env::var(vars::IDLE_EXIT_MS) {
            Ok(text) => Some(Duration::from_millis(text.parse()?)),
            Err(_) => None,
        };
        Ok(Self {
            data: variable(vars::DATA)?.into(),
            settings: env::var_os(vars::SETTINGS).map(PathBuf::from),
            secrets: env::var_os(vars::SECRETS).map(PathBuf::from),
            gateway: Gateway::new(variable(vars::GATEWAY)?.into(), &name, version),
            idle_exit,
            name,
            activity: Activity::new(),
            inherited,
        })
    }

    /// The Arc's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The Arc's own folder, which nobody else writes.
    #[must_use]
    pub fn own_folder(&self) -> PathBuf {
        paths::arc_data(&self.data, self.name.as_str())
    }

    /// Where a path of the manifest's mounts lies for this process: `/data/sites` as it is in a cage, below the
    /// developer's data folder without one. Likewise the files of secrets, `/run/secrets/NAME`.
    #[must_use]
    pub fn mounted(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        if let (Ok(name), Some(secrets)) = (path.strip_prefix("/run/secrets"), &self.secrets) {
            return secrets.join(name);
        }
        path.strip_prefix("/data").map_or_else(|_| path.to_owned(), |below| self.data.join(below))
    }

    /// A secret that the Arc's manifest names in `secrets`, or that the owner grants it. It is as it was when the Arc
    /// was started.
    ///
    /// # Errors
    /// The Arc was not handed it, or it is no text; the message says what to do.
    pub fn secret(&self, name: &Name) -> Result<SecretText> {
        read_secret(&self.mounted(&format!("/run/secrets/{name}")), &self.name, name)
    }

    /// The Arc's table in the system configuration, read by `read`; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or has problems: all of them.
    pub fn settings<T>(&self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<Option<T>, StartError> {
        let Some(path) = &self.settings else { return Ok(None) };
        let file = format!("[arcs.{}]", self.name);
        // init wrote that file: its lines are none of the owner's.
        let source = std::fs::read_to_string(path)?;
        Ok(Some(Document::read(&file, &source, read).map_err(|problems| problems.by_key())?))
    }

    /// The way to other tools outside of any call: what the Arc does of its own accord. Within a call, use
    /// [`Call::tool`](crate::Call::tool), which keeps the run together.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The TCP listener that the manifest's `listen` names, non-blocking.
    ///
    /// # Errors
    /// init did not hand over such a listener.
    pub fn listener(&self, name: &str) -> Result<TcpListener, StartError> {
        let listener: TcpListener = self.inherited.take(name)?.into();
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Keeps the Arc from being idle until what it returns is dropped. Tool calls do so by themselves.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.activity.begin()
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(crate) fn idle_exit(&self) -> Option<Duration> {
        self.idle_exit
    }
}

fn read_secret(path: &Path, arc: &Name, name: &Name) -> Result<SecretText> {
    let missing = |cause: std::io::Error| {
        let message = format!(
            "the secret {name} is not there: name it in the manifest of {arc} (secrets = [\"{name}\"]), set it with \
             `luca-run secret set {name}`, and restart {arc}"
        );
        Error::new(message).caused_by(cause)
    };
    let file = File::open(path).map_err(missing)?;
    // With room from the start: what a buffer leaves behind when it grows would not be wiped.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(SECRET_MAX + 1));
    file.take(SECRET_MAX as u64).read_to_end(&mut bytes).map_err(missing)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::new(format!("the secret {name} is no text")))?;
    Ok(SecretText::new(text.to_owned()))
}

fn variable(name: &str) -> Result<String, StartError> {
    env::var(name).map_err(|_| format!("{name} is not set: an Arc is started by init (try `scripts/run`)").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_and_its_absence_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let [arc, name] = ["mail", "imap"].map(|name| name.parse::<Name>().expect("a name"));
        let path = folder.path().join("imap");
        let message = read_secret(&path, &arc, &name).expect_err("none").to_string();
        for part in ["secrets = [\"imap\"]", "luca-run secret set imap", "restart mail"] {
            assert!(message.contains(part), "{message}");
        }
        std::fs::write(&path, "pass word\n").expect("written");
        let secret = read_secret(&path, &arc, &name).expect("there");
        assert_eq!(secret.as_str(), "pass word\n");
        assert!(!format!("{secret:?}").contains("pass"));
        std::fs::write(&path, [0xff]).expect("written");
        assert!(read_secret(&path, &arc, &name).expect_err("no text").to_string().contains("is no text"));
    }
}
