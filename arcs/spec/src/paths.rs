//! Where things lie, relative to a data folder and a run folder. In the image these are `/data` and `/run`; in
//! developer mode `<data>` and `<data>/run`.

use std::path::{Path, PathBuf};

/// What in the data folder holds the secrets and the data of others, or steers the machine: no Arc is shown it. Files that
/// are replaced whole have another name for a moment (`….new`).
pub const SYSTEMS_OWN: [&str; 16] = [
    "arcs",
    "arcs.d",
    "clock",
    "gateway.claim",
    "gateway.new",
    "keys",
    "llmbasedos.toml",
    "log",
    "machine-id",
    "machine-id.new",
    "random-seed",
    "random-seed.new",
    "run",
    "secrets",
    "wifi.new",
    "wifi.toml",
];

/// The gateway's socket: `<run>/mcp/gateway.sock`.
#[must_use]
pub fn gateway_socket(run: &Path) -> PathBuf {
    run.join("mcp/gateway.sock")
}

/// The socket on which an Arc answers: `<run>/mcp/<arc>.sock`.
#[must_use]
pub fn arc_socket(run: &Path, arc: &str) -> PathBuf {
    run.join("mcp").join(format!("{arc}.sock"))
}

/// The socket on which an Arc calls the gateway: `<run>/callers/<arc>.sock`.
#[must_use]
pub fn caller_socket(run: &Path, arc: &str) -> PathBuf {
    run.join("callers").join(format!("{arc}.sock"))
}

/// The socket on which an Arc finds the egress proxy: `<run>/egress/<arc>.sock`; `/run/egress.sock` in its cage.
#[must_use]
pub fn egress_socket(run: &Path, arc: &str) -> PathBuf {
    run.join("egress").join(format!("{arc}.sock"))
}

/// The socket of init: `<run>/init.sock`.
#[must_use]
pub fn init_socket(run: &Path) -> PathBuf {
    run.join("init.sock")
}

/// An Arc's own folder: `<data>/arcs/<arc>`.
#[must_use]
pub fn arc_data(data: &Path, arc: &str) -> PathBuf {
    data.join("arcs").join(arc)
}

/// The finished mini-sites: `<data>/sites`.
#[must_use]
pub fn sites(data: &Path) -> PathBuf {
    data.join("sites")
}

/// The manifests that the owner adds: `<data>/arcs.d`.
#[must_use]
pub fn user_manifests(data: &Path) -> PathBuf {
    data.join("arcs.d")
}

/// The Sentinels and Quests: `<data>/quests`.
#[must_use]
pub fn quests(data: &Path) -> PathBuf {
    data.join("quests")
}

/// Whose an appliance is, its set-up code or its token: `<data>/gateway.claim`, for init alone.
#[must_use]
pub fn gateway_claim(data: &Path) -> PathBuf {
    data.join("gateway.claim")
}

/// What the secrets store lies in: `<data>/secrets`, for init alone.
#[must_use]
pub fn secrets(data: &Path) -> PathBuf {
    data.join("secrets")
}

/// The Wi-Fi networks that were joined beside those of `llmbasedos.toml`: `<data>/wifi.toml`, in its form.
#[must_use]
pub fn joined_wifi(data: &Path) -> PathBuf {
    data.join("wifi.toml")
}

/// The socket of init of the system whose gateway's socket this is: `<run>/mcp/gateway.sock` → `<run>/init.sock`.
/// `None` where the path is not of that form.
#[must_use]
pub fn init_socket_beside(gateway: &Path) -> Option<PathBuf> {
    gateway.parent()?.parent().map(init_socket)
}

/// The file that names the gateway's socket of the system that a developer started last, so that `luca-*` find it
/// from any folder: `<cache>/llmbasedos/gateway`. `cache` is `$XDG_CACHE_HOME` or `~/.cache`.
#[must_use]
pub fn last_gateway(cache: &Path) -> PathBuf {
    cache.join("llmbasedos/gateway")
}
