//! Services of an image that are no Arcs of ours: what runs its models.

/// The manifest of Ollama, whose program lies in `/usr/bin` and whose runners lie in `/usr/lib/ollama`.
pub(crate) const OLLAMA: &str = include_str!("../services/ollama.toml");

#[cfg(test)]
mod tests {
    use spec::{Bound, Extra, HostPort, Manifest, Network, Origin};

    use super::*;

    fn read(text: &str) -> Manifest {
        Manifest::parse("arc.toml", text, Origin::System).expect("sound")
    }

    #[test]
    fn ollama_reaches_the_registry_of_its_models_and_nothing_else() {
        let ollama = read(OLLAMA);
        let hosts: Vec<&str> = ollama.cage.egress.iter().map(HostPort::as_str).collect();
        let blobs = "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com:443";
        assert_eq!(hosts, ["registry.ollama.ai:443", blobs]);
        assert_eq!(ollama.cage.network, Network::Own);
        assert_eq!(ollama.env["OLLAMA_NO_CLOUD"], "1");
        assert!(ollama.secrets.is_empty() && ollama.calls.is_empty());
    }

    #[test]
    fn each_model_server_serves_where_the_router_asks_unless_it_is_told_otherwise() {
        let port = "127.0.0.1:11434";
        let (ollama, llama) = (read(OLLAMA), read(include_str!("../services/llama_server.toml")));
        assert_eq!(ollama.env["OLLAMA_HOST"], port);
        assert!(llama.exec.windows(4).any(|words| words == ["--host", "127.0.0.1", "--port", "11434"]));
        let router = include_str!("../../arcs/llm_router/arc.toml");
        assert!(read(router).cage.egress.iter().any(|host| host.as_str() == port));
        for server in [ollama, llama] {
            assert_eq!(server.cage.serves, Some(11434), "{}", server.name);
            assert_eq!(server.cage.allow, [Extra::Processes, Extra::Loopback], "{}", server.name);
            assert_eq!(server.cage.memory_max, Bound::Percent(75), "{}", server.name);
        }
    }

    #[test]
    fn the_models_lie_in_ollamas_own_folder_where_its_quota_counts_them() {
        let ollama = read(OLLAMA);
        assert_eq!(ollama.env["OLLAMA_MODELS"], format!("/data/arcs/{}/models", ollama.name));
    }
}
