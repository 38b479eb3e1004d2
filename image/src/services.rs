//! Services of an image that run programs of others. A root that has such a program has its service.

/// The manifest of Ollama, whose program lies in `/usr/bin` and whose runners lie in `/usr/lib/ollama`.
const OLLAMA: &str = include_str!("../services/ollama.toml");
/// That of llama.cpp's server, which takes its place.
const LLAMA_SERVER: &str = include_str!("../services/llama_server.toml");

/// A service for a program.
pub(crate) struct Service {
    /// Where the program lies on the root.
    pub(crate) program: &'static str,
    /// The file of its manifest.
    pub(crate) file: &'static str,
    pub(crate) manifest: &'static str,
    /// What a machine with it says unless its owner says otherwise in `llmbasedos.toml`.
    pub(crate) defaults: &'static str,
}

/// Where the program of Ollama lies on a root.
pub(crate) const OLLAMA_PROGRAM: &str = "usr/bin/ollama";
/// That of llama.cpp's server.
pub(crate) const LLAMA_SERVER_PROGRAM: &str = "usr/bin/llama-server";
/// The program that joins Wi-Fi networks.
pub(crate) const SUPPLICANT: &str = "usr/sbin/wpa_supplicant";

/// All of them.
pub(crate) const SERVICES: [Service; 3] = [
    Service { program: OLLAMA_PROGRAM, file: "ollama.toml", manifest: OLLAMA, defaults: "" },
    Service {
        program: LLAMA_SERVER_PROGRAM,
        file: "llama_server.toml",
        manifest: LLAMA_SERVER,
        defaults: include_str!("../services/llama_server.defaults.toml"),
    },
    Service {
        program: SUPPLICANT,
        file: "wifi.toml",
        manifest: include_str!("../../init/netd/wifi.toml"),
        defaults: "",
    },
];

#[cfg(test)]
mod tests {
    use spec::{Bound, Extra, HostPort, Manifest, Network, Origin, SystemConfig};

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
        let (ollama, llama) = (read(OLLAMA), read(LLAMA_SERVER));
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
    fn what_a_machine_with_a_service_says_is_sound_and_of_a_router_that_finds_it() {
        for service in SERVICES {
            let said = [include_str!("disk/defaults.toml"), service.defaults].concat();
            let config = SystemConfig::parse(service.file, &said).expect("sound");
            let settings = config.arcs.iter().find(|(name, _)| name.as_str() == "llm_router");
            let settings = settings.map(|(_, settings)| settings.to_string()).unwrap_or_default();
            assert_eq!(settings.contains("url = \"http://127.0.0.1:11434\""), service.file == "llama_server.toml");
        }
    }

    #[test]
    fn the_models_lie_in_ollamas_own_folder_where_its_quota_counts_them() {
        let ollama = read(OLLAMA);
        assert_eq!(ollama.env["OLLAMA_MODELS"], format!("/data/arcs/{}/models", ollama.name));
    }
}
