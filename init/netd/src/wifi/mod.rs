//! The radio of a machine: joining the networks that are known, or opening one for the set-up where nothing else leads to
//! the machine.
//!
//! | module | what it is |
//! | --- | --- |
//! | `decision` | which of these, and when: pure |
//! | `commands`, `words` | what wpa_supplicant is told, and what it says: pure |
//! | `supplicant` | its socket |
//! | `radio` | carrying it out |
//!
//! wpa_supplicant is a service of its own, `wifi`, which is there where the image has the program. It has no file: what it
//! is to do it is told over its socket, which it shares with netd alone.

mod commands;
mod decision;
mod radio;
mod supplicant;
mod words;

pub(crate) use radio::{Ask, Known, Radio};
