//! The real `gateway` binary with a test in the place of init and small Arcs that are tasks of the test.

mod arcs;
mod audit;
mod bad_input;
mod catalogue;
mod client;
mod egress;
mod fake_arc;
mod foreign;
mod identity;
mod mcp;
mod own_tools;
mod pages;
mod system;
mod tls;
mod websocket;
mod wire;
