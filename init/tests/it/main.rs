//! Drives the real `init` with small services: `examples/fixture.rs`.

mod control;
mod end;
mod failure;
mod reload;
mod starting;
mod system;
