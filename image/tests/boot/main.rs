//! The image, booted in QEMU as its users do: what it keeps, what it survives, what it says.
//!
//! Run by `scripts/test boot`, which builds the image first.

mod aarch64;
mod bounds;
mod caged;
mod command;
mod cut;
mod data;
mod faults;
mod figures;
mod first_boot;
mod flashed;
mod guest;
mod hostile;
mod kills;
mod machine;
#[path = "../it/model.rs"]
#[expect(dead_code, reason = "the tests of developer mode ask more of it")]
mod model;
mod ollama;
mod raspberry_pi;
mod reproducible;
#[path = "../it/site.rs"]
mod site;
mod slots;
mod tick;
mod tpm;
mod wifi;
