//! `gateway`: started by init, which hands over its sockets.

use std::env;
use std::path::PathBuf;

use anyhow::Context;
use gateway::{Inherited, Settings};
use spec::GatewayStart;
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
    let start = match env::var(spec::control::env::SETTINGS) {
        Ok(file) => start(&file)?,
        Err(_) => GatewayStart::default(),
    };
    Ok(gateway::run(Settings { inherited: inherited?, data, start })?)
}

fn start(file: &str) -> anyhow::Result<GatewayStart> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    GatewayStart::parse(file, &text).map_err(|problems| anyhow::anyhow!("{problems}"))
}
