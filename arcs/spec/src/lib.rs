//! Every file format and control message of llmbasedos.
//!
//! Pure: text and bytes in, typed values or [`Problems`] out. Nothing here opens a file, asks the clock or
//! knows of an async runtime, so that PID 1, the gateway, the Arcs and the tools share one definition.
//!
//! | file | type |
//! | --- | --- |
//! | `arc.toml` | [`Manifest`] |
//! | `llmbasedos.toml` | [`SystemConfig`] |
//! | `<sentinel>.toml` | [`Sentinel`] |
//! | `<quest>.toml` | [`Quest`] |
//! | `init.sock` | [`control`] |
//! | `_meta` of a tool call | [`caller`] |
//! | the disk, the kernel's command line | [`boot`] |

pub mod boot;
mod bound;
mod cage;
pub mod caller;
mod claim;
mod config;
pub mod control;
mod document;
mod manifest;
mod network;
pub mod paths;
mod problem;
mod quest;
pub mod redaction;
mod secrets;
mod sentinel;
mod values;
mod wifi;

pub use bound::Bound;
pub use cage::{Cage, Capability, Extra, Layer, Mount, MountMode, Network, Traffic};
pub use claim::SetupCode;
pub use config::{GatewaySettings, GatewayStart, Grant, SystemConfig};
pub use document::{Document, Place, Section, TomlValue, close_to};
pub use manifest::{Activation, Acts, Manifest, Origin, Ready, Restart, ToolRules, Transport};
pub use network::{AddressSource, HostAddress, NetworkSettings};
pub use problem::{Problem, Problems};
pub use quest::{Quest, Step};
pub use secrets::{OwnersSecrets, SecretText};
pub use sentinel::{Autonomy, Sentinel, Trigger};
pub use values::{
    ByteSize, Host, HostName, HostPort, InvalidValue, Label, LinkName, Name, Span, Token, ToolName, ToolPattern,
    parse_duration,
};
pub use wifi::{Country, MOST_WIFI_NETWORKS, Ssid, WifiNetwork, check_passphrase, is_key};
