//! The gateway's own tools: `system.*` over the machine, by way of init, `arc.list` and `licence.check`.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use spec::caller::code;
use spec::control::{
    ByName, BySsid, CAGE, CAGES, LOGS, LogQuery, METRICS, POWEROFF, REBOOT, RESTART, SERVICES, SETUP_CODE,
    SETUP_CODE_WITHDRAW, START, STATUS, STOP, WIFI_FORGET, WIFI_JOIN, WIFI_SCAN, WifiJoin,
};

use crate::arc::Answer;
use crate::catalogue::{Catalogue, InvalidTool};
use crate::gateway::Gateway;
use crate::message::Fault;

/// A namespace of the gateway's own.
pub(crate) struct Own {
    namespace: &'static str,
    description: &'static str,
    catalogue: Arc<Catalogue>,
}

impl Own {
    /// All of them.
    pub(crate) fn all() -> Result<Vec<Self>, InvalidTool> {
        let nothing = object(&json!({}), &[]);
        let arc = [tool("list", "The manifests of all Arcs", &nothing, true)];
        let licence = [tool("check", "The licence of this system", &nothing, true)];
        Ok(vec![
            Self::new("arc", "What the Arcs are", &arc)?,
            Self::new("licence", "The licence of this system", &licence)?,
            Self::new("system", "The machine and its services", &system())?,
        ])
    }

    fn new(namespace: &'static str, description: &'static str, tools: &[Value]) -> Result<Self, InvalidTool> {
        let entries = tools.iter().filter_map(Value::as_object).cloned().collect();
        Ok(Self { namespace, description, catalogue: Arc::new(Catalogue::new(namespace, entries)?) })
    }

    pub(crate) fn namespace(&self) -> &'static str {
        self.namespace
    }

    pub(crate) fn description(&self) -> &'static str {
        self.description
    }

    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue)
    }
}

/// The tools of the machine and its services.
fn system() -> [Value; 16] {
    let nothing = object(&json!({}), &[]);
    let name = json!({"type": "string", "description": "The service, as system.services names it"});
    let by_name = object(&json!({ "name": name }), &["name"]);
    let name = json!({"type": "string", "description": "One service; all of them unless stated"});
    let lines =
        json!({"type": "integer", "minimum": 0, "description": "How many of the last lines; 100 unless stated"});
    let log_query = object(&json!({"name": name, "lines": lines}), &[]);
    let ssid = json!({"type": "string", "description": "What the network calls itself, as system.wifi_scan names it"});
    let by_ssid = object(&json!({ "ssid": ssid }), &["ssid"]);
    let wifi_join = json!({
        "ssid": ssid,
        "passphrase": {"type": "string", "description": "8 to 63 characters or 64 hexadecimal digits; none for an open network"},
        "country": {"type": "string", "description": "The country that the machine is in, two capital letters"},
        "hidden": {"type": "boolean", "description": "Whether the network does not tell its name"},
    });
    let wifi_join = object(&wifi_join, &["ssid"]);
    let setup_code = "Makes a new set-up code: who enters it is given a new token, and the one of before is void";
    let status = "How the machine is doing: addresses, data, what is wrong with its settings; the audit";
    [
        tool("services", "All services and how they are doing", &nothing, true),
        tool("metrics", "What the machine and each service use: memory, CPU, pressure", &nothing, true),
        tool("start", "Starts a service", &by_name, false),
        tool("stop", "Stops a service; it stays stopped until it is started", &by_name, false),
        tool("restart", "Stops a service and starts it again", &by_name, false),
        tool("cage", "What a service may touch, in words, and what its cage refused it", &by_name, true),
        tool("cages", "What this machine's kernel gives to cages, and what not", &nothing, true),
        tool("poweroff", "Stops everything and switches the machine off", &nothing, false),
        tool("reboot", "Stops everything and restarts the machine", &nothing, false),
        tool("wifi_scan", "The Wi-Fi networks in reach, the strongest first", &nothing, true),
        tool("wifi_join", "Joins a Wi-Fi network, now and from now on", &wifi_join, false),
        tool("wifi_forget", "Joins a Wi-Fi network no more that wifi_join has joined", &by_ssid, false),
        tool("setup_code", setup_code, &nothing, false),
        tool("setup_code_withdraw", "Makes the set-up code void; the machine stays whose it is", &nothing, false),
        tool("logs", "The last lines that services wrote", &log_query, true),
        tool("status", status, &nothing, true),
    ]
}

fn tool(name: &str, description: &str, schema: &Value, only_reads: bool) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": only_reads},
    })
}

/// The schema of arguments, of which `required` must be there and no others may.
fn object(properties: &Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// Runs the own tool `tool` (its full name).
pub(crate) async fn run(gateway: &Gateway, tool: &str, arguments: &[u8]) -> Answer {
    let (_, method) = tool.split_once('.').unwrap_or_default();
    let structured = match tool {
        "system.services" => gateway.control.ask(SERVICES, b"null").await?,
        "system.metrics" => gateway.control.ask(METRICS, b"null").await?,
        "system.poweroff" => gateway.control.ask(POWEROFF, b"null").await?,
        "system.reboot" => gateway.control.ask(REBOOT, b"null").await?,
        "system.start" | "system.stop" | "system.restart" => {
            checked::<ByName>(tool, arguments)?;
            let method = [START, STOP, RESTART].into_iter().find(|known| *known == method).unwrap_or(START);
            gateway.control.ask(method, arguments).await?
        }
        "system.cage" => {
            checked::<ByName>(tool, arguments)?;
            gateway.control.ask(CAGE, arguments).await?
        }
        "system.setup_code" => gateway.control.ask(SETUP_CODE, b"null").await?,
        "system.setup_code_withdraw" => gateway.control.ask(SETUP_CODE_WITHDRAW, b"null").await?,
        "system.cages" => gateway.control.ask(CAGES, b"null").await?,
        "system.wifi_scan" => gateway.control.ask(WIFI_SCAN, b"null").await?,
        "system.wifi_join" => {
            checked::<WifiJoin>(tool, arguments)?;
            gateway.control.ask(WIFI_JOIN, arguments).await?
        }
        "system.wifi_forget" => {
            checked::<BySsid>(tool, arguments)?;
            gateway.control.ask(WIFI_FORGET, arguments).await?
        }
        "system.logs" => {
            let query: LogQuery = checked(tool, arguments)?;
            let query = LogQuery { follow: false, ..query };
            gateway.control.ask(LOGS, &to_json(&query)?).await?
        }
        "system.status" => to_json(&status(gateway).await?)?.into(),
        "arc.list" => to_json(&manifests(gateway))?.into(),
        _ => to_json(&licence())?.into(),
    };
    let text = std::str::from_utf8(&structured).unwrap_or_default();
    let structured: &RawValue = serde_json::from_str(text).map_err(|error| internal(&error))?;
    let result = json!({ "resultType": "complete", "content": [{"type": "text", "text": text}] });
    let mut result = to_json(&result)?;
    result.pop();
    result.extend_from_slice(b",\"structuredContent\":");
    result.extend_from_slice(structured.get().as_bytes());
    result.push(b'}');
    Ok(result.into())
}

fn checked<T: DeserializeOwned>(tool: &str, arguments: &[u8]) -> Result<T, Fault> {
    // By way of a value: its errors tell no line and column, which an object of arguments does not have.
    let value = serde_json::from_slice::<Value>(arguments).and_then(serde_json::from_value);
    value.map_err(|error| Fault::new(code::INVALID_PARAMS, format!("{tool}: {error}")))
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|error| internal(&error))
}

fn internal(error: &serde_json::Error) -> Fault {
    Fault::new(code::INTERNAL, format!("the result cannot be written: {error}"))
}

async fn status(gateway: &Gateway) -> Result<Value, Fault> {
    let machine = gateway.control.ask(STATUS, b"null").await?;
    let mut status: Value = serde_json::from_slice(&machine).map_err(|error| internal(&error))?;
    if let Some(status) = status.as_object_mut() {
        status.insert("arcs".to_owned(), gateway.registry.arcs().len().into());
        let audit = gateway.audit.trouble().unwrap_or_else(|| "ok".to_owned());
        status.insert("audit".to_owned(), audit.into());
    }
    Ok(status)
}

fn licence() -> Value {
    json!({
        "status": "ok",
        "licence": "Apache-2.0 OR MIT",
        "version": env!("CARGO_PKG_VERSION"),
        "message": "free software: no key, no tier, no limit",
    })
}

fn manifests(gateway: &Gateway) -> Vec<Value> {
    let arcs = gateway.registry.arcs();
    arcs.iter()
        .map(|arc| {
            let manifest = arc.manifest();
            json!({
                "name": manifest.name,
                "version": manifest.version,
                "description": manifest.description,
                "namespace": manifest.namespace,
                "aliases": manifest.aliases,
                "calls": manifest.calls,
                "returns": manifest.returns,
            })
        })
        .collect()
}
