//! What the owner grants: the router the hosts of its backends, a model server its port, as `llmbasedos.toml` has it.

use toml::{Table, Value};

use crate::tables::{nested, table};

/// `[grants.llm_router]` for these backends, by their names.
pub(crate) fn of_backends(backends: &Table) -> Table {
    let urls = backends.values().filter_map(|backend| backend.get("url").and_then(Value::as_str));
    let mut hosts: Vec<String> = urls.filter_map(host).collect();
    hosts.sort();
    hosts.dedup();
    nested(&["llm_router"], table([("egress", hosts)]))
}

/// The same with the model server of that name, which others reach at the port that it serves.
pub(crate) fn with_server(backends: &Table, name: &str) -> Table {
    let mut grants = of_backends(backends);
    grants.insert(name.to_owned(), Value::from(table([("serves", true)])));
    grants
}

/// `127.0.0.1:11434` of `http://127.0.0.1:11434`.
fn host(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if scheme == "https" { 443 } else { 80 };
    Some(if has_port { authority.to_owned() } else { format!("{authority}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_may_be_reached_and_nothing_else() {
        let backend = |url: &str| table([("url", url)]);
        let backends = table([
            ("a", backend("http://[::1]:9/v1")),
            ("b", backend("https://a.example")),
            ("c", backend("http://h")),
        ]);
        let expected = "[llm_router]\negress = [\"[::1]:9\", \"a.example:443\", \"h:80\"]\n";
        assert_eq!(of_backends(&backends).to_string(), expected);
        assert_eq!(with_server(&backends, "m").to_string(), format!("{expected}\n[m]\nserves = true\n"));
    }
}
