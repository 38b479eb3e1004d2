//! A whole Arc: one tool, one piece of state.

use std::sync::atomic::{AtomicU32, Ordering};

use kit::{Call, Host, Result, Server, Shared};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Greet {
    /// Who is greeted.
    #[schemars(length(min = 1, max = 80))]
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    text: String,
    count: u32,
}

async fn greet(greetings: Shared<AtomicU32>, call: Call, args: Greet) -> Result<Greeting> {
    let count = greetings.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Greeting { text: format!("Hello {}, says {}", args.name, call.caller().who), count })
}

fn main() -> std::process::ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |_host: Host| {
        Ok(Server::new(AtomicU32::new(0)).tool("greet", "Greets somebody by name.", greet))
    })
}
