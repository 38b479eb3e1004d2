//! Drives the real `init` with small services: `examples/fixture.rs`.

mod cage;
mod control;
mod end;
mod failure;
mod reload;
mod secrets;
mod starting;
mod system;
