//! luca-shell and luca-run: the command line of llmbasedos.
//!
//! Both are clients of the gateway, and of init for what no gateway may see (`secret`): they speak MCP with it (`client`,
//! over `transport`), and the llmbasedos dialect for what MCP has no word for. A line becomes a
//! request by the live catalogue (`words`, `arguments`, `schema`); what comes back is shown by `render`, where no control
//! character of a tool or a model gets through.

mod address;
mod arguments;
mod call;
mod catalogue;
mod client;
mod failure;
mod help;
mod message;
mod render;
mod run;
mod schema;
mod secret;
mod shell;
mod tls;
mod token;
mod transport;
mod words;

pub use address::Address;
pub use run::{RunOptions, run};
pub use shell::{ShellOptions, shell};
