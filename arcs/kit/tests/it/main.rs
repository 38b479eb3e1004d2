//! Drives real Arcs (the examples) the way init and the gateway do: an inherited socket, MCP a line, `_meta`.

mod arc;
mod calls;
mod life;
mod others;
