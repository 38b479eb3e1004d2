//! Drives the real `arcs` the way init and the gateway do: inherited sockets, MCP a line, `_meta`.

mod arc;
mod command_line;
mod files;
mod kv;
mod manifests;
mod sites;
