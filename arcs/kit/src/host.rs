//! What an Arc is told by init: its name, its folder, its settings, the way to the gateway.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::control::env as vars;
use spec::{Document, Name, Section, paths};

use crate::activity::{Activity, Busy};
use crate::gateway::Gateway;
use crate::inherit::Inherited;
use crate::run::StartError;

/// What an Arc is told by init.
#[derive(Clone)]
pub struct Host {
    name: Name,
    data: PathBuf,
    settings: Option<PathBuf>,
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
    /// developer's data folder without one.
    #[must_use]
    pub fn mounted(&self, path: &str) -> PathBuf {
        match Path::new(path).strip_prefix("/data") {
            Ok(below) => self.data.join(below),
            Err(_) => PathBuf::from(path),
        }
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

fn variable(name: &str) -> Result<String, StartError> {
    env::var(name).map_err(|_| format!("{name} is not set: an Arc is started by init (try `scripts/run`)").into())
}
