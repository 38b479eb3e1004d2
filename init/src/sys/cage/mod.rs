//! Building a cage and starting a program in it.
//!
//! | module | what it is |
//! | --- | --- |
//! | `launch` | init's part: everything that allocates, before the child is born; what is done from outside |
//! | `child` | the child's part, from its birth to its program, with `raw` system calls alone |
//! | `tree` | its root; `id_map`: whose the files in it are |
//! | `network` | a socket in the network of a service |
//! | `landlock`, `seccomp` | what it may do with files, and which system calls it may make |

mod child;
mod id_map;
mod landlock;
mod launch;
mod network;
mod raw;
mod seccomp;
mod tree;

pub(crate) use child::Step;
pub(crate) use landlock::{SCOPES as LANDLOCK_SCOPES, version as landlock_version};
pub(crate) use launch::{Input, Launch, LaunchError, Launched, launch};
pub(crate) use network::socket_in_network_of;
pub(crate) use seccomp::{Refusal, Refusals, check_seccomp};
