//! The one door: knows who calls, decides, and writes it down.
//!
//! | module | what it does |
//! | --- | --- |
//! | `inherit`, `control` | what init hands over and tells: sockets, Arcs, services |
//! | `listener`, `link`, `frame` | how bytes come in and become messages |
//! | `session`, `request`, `mcp`, `dialect` | one connection; which request means what |
//! | `gateway` | the way of one call: `identity` → `registry` → `policy` → `run` → `arc` → `audit` |
//! | `arc`, `catalogue`, `schema`, `outcome`, `notice` | one Arc, its tools, its results, its progress |
//! | `web`, `certificate` | the pages of the machine, its claim; what its door for TLS is known by |
//! | `own` | the gateway's own tools: `system.*`, `arc.list`, `licence.check` |

mod arc;
mod audit;
mod catalogue;
mod certificate;
mod control;
mod curtain;
mod dialect;
mod egress;
mod frame;
mod gateway;
mod identity;
mod inherit;
mod link;
mod listener;
mod mcp;
mod message;
mod notice;
mod outcome;
mod own;
mod policy;
mod registry;
mod request;
mod run;
mod schema;
mod serve;
mod session;
mod web;

pub use audit::{Broken, verify};
pub use inherit::{Inherited, NotInherited};
pub use serve::{Settings, StartError, run};
