//! `gateway`: started by init, which hands over its sockets.

use std::env;
use std::path::PathBuf;

use anyhow::Context;
use gateway::{Inherited, Settings};
use spec::GatewaySettings;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let inherited = Inherited::take_over();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // No times: init adds them.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
    let data = env::var_os(spec::control::env::DATA).map(PathBuf::from);
    let data = data.with_context(|| format!("{} does not name the data folder", spec::control::env::DATA))?;
    let tokens = match env::var(spec::control::env::SETTINGS) {
        Ok(file) => settings(&file)?.tokens,
        Err(_) => Vec::new(),
    };
    Ok(gateway::run(Settings { inherited: inherited?, data, tokens })?)
}

fn settings(file: &str) -> anyhow::Result<GatewaySettings> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    GatewaySettings::parse(file, &text).map_err(|problems| anyhow::anyhow!("{problems}"))
}
