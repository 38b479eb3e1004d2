//! The router against model servers that follow a script, on real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod failing;
mod keys;
mod process;
mod protocols;
mod schemas;
mod server;
mod store;
mod world;
