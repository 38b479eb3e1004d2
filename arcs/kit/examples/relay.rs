//! An Arc that calls another one: what it reports on its way, and what it answers, is passed on.

use kit::{Call, Error, Host, Result, Server, Shared};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize, JsonSchema)]
struct Relay {
    /// The tool to call, such as `kv.get`.
    tool: String,
    /// Its arguments.
    #[serde(default)]
    arguments: serde_json::Map<String, Value>,
}

async fn relay(_state: Shared<()>, call: Call, args: Relay) -> Result<Value> {
    call.progress(format!("relay to {}", args.tool), None).await;
    call.tool_relayed(&args.tool, &args.arguments).await
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

async fn fail(_state: Shared<()>, _call: Call, _args: Nothing) -> Result<()> {
    Err(Error::new("the store cannot be read; try again").caused_by("a secret detail"))
}

async fn wait(_state: Shared<()>, _call: Call, _args: Nothing) -> Result<()> {
    std::future::pending().await
}

fn main() -> std::process::ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |_host: Host| {
        Ok(Server::new(()).tool("relay", "Calls another tool.", relay).tool("fail", "Always fails.", fail).tool(
            "wait",
            "Never ends by itself.",
            wait,
        ))
    })
}
