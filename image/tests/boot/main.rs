//! The image, booted in QEMU as its users do: what it keeps, what it survives, what it says.
//!
//! Run by `scripts/test boot`, which builds the image first.

mod faults;
mod first_boot;
mod machine;
