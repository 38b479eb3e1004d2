//! Telling programs which name servers there are: resolv.conf(5).

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;

/// Writes the file, so that a reader finds the old or the new one whole.
pub(crate) fn write(file: &Path, name_servers: &[IpAddr]) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    let lines: String = name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let written = fs::write(&fresh, lines).and_then(|()| fs::rename(&fresh, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}
