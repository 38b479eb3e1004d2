//! The settings, `[arcs.llm_router]` of the system configuration:
//!
//! ```toml
//! [arcs.llm_router.backends.local]
//! kind = "openai"                  # "ollama" | "openai" | "gemini"
//! url = "http://127.0.0.1:8081"    # without /v1 (openai), /api (ollama), /v1beta (gemini)
//! model = "qwen2.5-coder-0.5b"     # its name there; absent: the first that the backend lists
//! secret = "openai"                # the API key: `luca-run secret set openai`, and grants.llm_router.secrets = ["openai"]
//! key_file = "/data/keys/openai"   # in its place: a file that holds the API key
//! timeout = "120s"                 # per request
//! parallel = 1                     # requests at once, 4 unless stated
//!
//! [arcs.llm_router.purposes]       # backends in order of preference
//! default = ["local"]              # for every purpose that is not named; may be absent with one backend
//! copy = ["cloud", "local"]
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use kit::{Name, Section};
use reqwest::Url;

use crate::request::Purpose;

const TIMEOUT: Duration = Duration::from_secs(120);
const PARALLEL: u32 = 4;
const DEFAULT: &str = "default";

/// Where Google serves Gemini.
const GEMINI: &str = "https://generativelanguage.googleapis.com";

/// Ollama's default address, used where nothing is configured.
const OLLAMA: &str = "http://127.0.0.1:11434";

/// Checked settings: at least one backend, and for each purpose at least one that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub(crate) backends: BTreeMap<String, BackendSettings>,
    pub(crate) purposes: BTreeMap<Purpose, Vec<String>>,
}

/// What is said of one backend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BackendSettings {
    pub(crate) kind: Kind,
    pub(crate) url: Url,
    pub(crate) model: Option<String>,
    pub(crate) secret: Option<Name>,
    pub(crate) key_file: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) parallel: usize,
}

/// The protocol that a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ollama,
    OpenAi,
    Gemini,
}

impl Kind {
    /// Its word in the settings.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
            Self::Gemini => "gemini",
        }
    }

    /// The path that every address of the protocol begins with, and that the settings leave out.
    fn prefix(self) -> &'static str {
        match self {
            Self::Ollama => "/api",
            Self::OpenAi => "/v1",
            Self::Gemini => "/v1beta",
        }
    }
}

impl Settings {
    /// Reads the Arc's table; what is wrong is reported to the section.
    pub fn read(root: &Section<'_>) -> Option<Self> {
        let read = |all: &Section<'_>| {
            let sound = all.each_section(|_, one| BackendSettings::read(one));
            Some((sound, all.raw().into_iter().map(|(name, _)| name).collect::<Vec<_>>()))
        };
        // `written`: those that stand there. A purpose that names a backend with a fault is not wrong itself.
        let (backends, written) = root.section("backends", read).unwrap_or_default();
        for (name, fault) in written.iter().filter_map(|name| Some((name, name.parse::<Name>().err()?))) {
            root.report("backends", format!("the name {name:?} {fault}"));
        }
        if written.is_empty() {
            root.report("backends", "names no backend: add [arcs.llm_router.backends.local] with kind, url and model");
        }
        let purposes = root.section("purposes", |all| Some(purposes(all, &written)));
        if !root.has("purposes") && written.len() > 1 {
            root.report(
                "purposes",
                format!("`purposes.{DEFAULT}` is missing: name the backends in order of preference"),
            );
        }
        let purposes = purposes.unwrap_or_else(|| Purpose::ALL.map(|purpose| (purpose, written.clone())).into());
        Some(Self { backends, purposes })
    }

    /// Where nothing is configured: the Ollama of this machine with the first model that it has, which is the one that it
    /// was given last. A small board writes a few words a second, and two answers at once would come too late both.
    #[must_use]
    pub fn without_any() -> Self {
        let ollama = BackendSettings {
            kind: Kind::Ollama,
            url: Url::parse(OLLAMA).expect("an address"),
            model: None,
            secret: None,
            key_file: None,
            timeout: Duration::from_mins(10),
            parallel: 1,
        };
        let backends = BTreeMap::from([("ollama".to_owned(), ollama)]);
        Self { backends, purposes: Purpose::ALL.map(|purpose| (purpose, vec!["ollama".to_owned()])).into() }
    }
}

/// The backends of every purpose. `written` are those that exist.
fn purposes(section: &Section<'_>, written: &[String]) -> BTreeMap<Purpose, Vec<String>> {
    let read = |key: &str| {
        let names: Vec<String> = section.optional(key)?;
        if names.is_empty() {
            section.report(key, "must name at least one backend");
        }
        for name in names.iter().filter(|name| !written.contains(name)) {
            section.report(key, format!("there is no backend {name:?}; there are: {}", written.join(", ")));
        }
        Some(names)
    };
    let default = read(DEFAULT);
    let all: BTreeMap<_, _> =
        Purpose::ALL.into_iter().filter_map(|purpose| Some((purpose, read(purpose.word())?))).collect();
    let needs_default = all.len() < Purpose::ALL.len() && written.len() > 1;
    if !section.has(DEFAULT) && needs_default {
        section.report(DEFAULT, format!("`{DEFAULT}` is missing: name the backends in order of preference"));
    }
    let default = default.unwrap_or_else(|| written.to_vec());
    Purpose::ALL.map(|purpose| (purpose, all.get(&purpose).unwrap_or(&default).clone())).into()
}

impl BackendSettings {
    fn read(section: &Section<'_>) -> Option<Self> {
        let kind = kind(section);
        let url = kind.and_then(|kind| url(section, kind));
        let model = model(section, kind);
        let key_file: Option<String> = section.optional("key_file");
        if key_file.as_ref().is_some_and(|path| !path.starts_with('/')) {
            section.report("key_file", "must be the absolute path of a file that holds the key, never the key itself");
        }
        let secret = section.optional("secret");
        match (section.has("secret"), section.has("key_file")) {
            (true, true) => section.report("secret", "and key_file both give the key: keep one of them"),
            (false, false) if kind == Some(Kind::Gemini) => {
                section.report(
                    "secret",
                    "`secret` is missing: Gemini needs a key, which `luca-run secret set gemini` keeps",
                );
            }
            _ => {}
        }
        let parallel = section.or("parallel", PARALLEL);
        if parallel == 0 {
            section.report("parallel", "must be at least 1");
        }
        let timeout = section.or("timeout", TIMEOUT);
        // Asked for in any case, so that it is a known key.
        section.has("url");
        let parallel = usize::try_from(parallel).ok()?;
        Some(Self { kind: kind?, url: url?, model, secret, key_file, timeout, parallel })
    }

    /// Whether it is sent a key.
    pub(crate) fn has_key(&self) -> bool {
        self.secret.is_some() || self.key_file.is_some()
    }

    /// Whether what is sent there stays on this machine.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

fn kind(section: &Section<'_>) -> Option<Kind> {
    let word: String = section.required("kind")?;
    let found = [Kind::Ollama, Kind::OpenAi, Kind::Gemini].into_iter().find(|kind| kind.word() == word);
    if found.is_none() {
        section.report("kind", "must be \"ollama\", \"openai\" (every server that speaks its protocol) or \"gemini\"");
    }
    found
}

fn model(section: &Section<'_>, kind: Option<Kind>) -> Option<String> {
    if kind == Some(Kind::Gemini) && !section.has("model") {
        section.report("model", "`model` is missing: name one of Google's, such as \"gemini-2.5-flash\"");
    }
    let model: String = section.optional("model")?;
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || (kind != Some(Kind::Gemini) && "/:@+ ".contains(c));
    if model.is_empty() || model.len() > 200 || !model.chars().all(allowed) {
        section.report("model", "must be the model's name at that backend, such as \"qwen2.5:0.5b\"");
    }
    Some(model)
}

fn url(section: &Section<'_>, kind: Kind) -> Option<Url> {
    let text = match kind {
        Kind::Gemini => section.or("url", GEMINI.to_owned()),
        Kind::Ollama | Kind::OpenAi => section.required("url")?,
    };
    let problem = match Url::parse(&text) {
        Err(error) => Some(format!("must be a base URL such as \"http://127.0.0.1:8081\": {error}")),
        Ok(url) => fault(&url, kind).map(str::to_owned),
    };
    match problem {
        None => Url::parse(&text).ok(),
        Some(problem) => {
            section.report("url", problem);
            None
        }
    }
}

/// What is wrong with a base URL. Never quotes it: it may hold a secret that does not belong there.
fn fault(url: &Url, kind: Kind) -> Option<&'static str> {
    let path = url.path().trim_end_matches('/');
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        Some("must begin with http:// or https:// and a host")
    } else if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        Some("must be a base URL alone, without user, password, '?' or '#': a key is a secret: name it with secret")
    } else if path.ends_with(kind.prefix()) {
        Some(match kind {
            Kind::Ollama => "must be the base URL without /api",
            Kind::OpenAi => "must be the base URL without /v1",
            Kind::Gemini => "must be the base URL without /v1beta",
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use kit::Document;

    use super::*;

    fn read(source: &str) -> Result<Settings, String> {
        Document::read("[arcs.llm_router]", source, Settings::read).map_err(|problems| problems.to_string())
    }

    #[test]
    fn one_backend_needs_no_purposes() {
        let settings = read("[backends.local]\nkind = \"openai\"\nurl = \"http://127.0.0.1:8081\"\nmodel = \"qwen\"")
            .expect("sound");
        let local = &settings.backends["local"];
        assert_eq!((local.timeout, local.parallel, local.is_local()), (TIMEOUT, 4, true));
        assert!(Purpose::ALL.iter().all(|purpose| settings.purposes[purpose] == ["local"]));
    }

    #[test]
    fn a_purpose_that_is_not_named_is_served_by_default() {
        let source = r#"
[backends.local]
kind = "ollama"
url = "http://[::1]:11434"
[backends.cloud]
kind = "gemini"
model = "gemini-2.5-flash"
key_file = "/data/keys/gemini"
[purposes]
default = ["local"]
copy = ["cloud", "local"]
"#;
        let settings = read(source).expect("sound");
        assert_eq!(settings.purposes[&Purpose::Copy], ["cloud", "local"]);
        assert_eq!(settings.purposes[&Purpose::Plan], ["local"]);
        assert!(settings.backends["local"].is_local() && !settings.backends["cloud"].is_local());
        assert_eq!(settings.backends["cloud"].url.as_str(), "https://generativelanguage.googleapis.com/");
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_key() {
        let source = r#"
[backends.Local]
kind = "llama"
url = "http://127.0.0.1:1"
[backends.a]
kind = "openai"
url = "http://127.0.0.1:1/v1"
model = ""
parallel = 0
key = "sk-secret"
[backends.b]
kind = "ollama"
url = "localhost:11434"
timeout = "2 minutes"
key_file = "sk-secret"
[backends.c]
kind = "gemini"
url = "https://user:sk-secret@example.com"
[purposes]
copy = ["d"]
rank = []
chatt = ["a"]
"#;
        let expected = "\
[arcs.llm_router]:2: backends: the name \"Local\" must be 1 to 64 lower-case letters, digits, '_' or '-', a letter first, not \"Local\"
[arcs.llm_router]:3: backends.Local.kind: must be \"ollama\", \"openai\" (every server that speaks its protocol) or \"gemini\"
[arcs.llm_router]:7: backends.a.url: must be the base URL without /v1
[arcs.llm_router]:8: backends.a.model: must be the model's name at that backend, such as \"qwen2.5:0.5b\"
[arcs.llm_router]:9: backends.a.parallel: must be at least 1
[arcs.llm_router]:10: backends.a.key: unknown key. Close to it: key_file
[arcs.llm_router]:13: backends.b.url: must begin with http:// or https:// and a host
[arcs.llm_router]:14: backends.b.timeout: must be a time span such as \"5m\" (ms, s, m, h or d), not \"2 minutes\"
[arcs.llm_router]:15: backends.b.key_file: must be the absolute path of a file that holds the key, never the key itself
[arcs.llm_router]:16: backends.c.model: `model` is missing: name one of Google's, such as \"gemini-2.5-flash\"
[arcs.llm_router]:16: backends.c.secret: `secret` is missing: Gemini needs a key, which `luca-run secret set gemini` keeps
[arcs.llm_router]:18: backends.c.url: must be a base URL alone, without user, password, '?' or '#': a key is a secret: name it with secret
[arcs.llm_router]:19: purposes.default: `default` is missing: name the backends in order of preference
[arcs.llm_router]:20: purposes.copy: there is no backend \"d\"; there are: Local, a, b, c
[arcs.llm_router]:21: purposes.rank: must name at least one backend
[arcs.llm_router]:22: purposes.chatt: unknown key. Close to it: chat";
        let message = read(source).expect_err("many");
        assert_eq!(message, expected);
        assert!(!message.contains("sk-secret"));
    }

    #[test]
    fn a_table_without_backends_says_what_to_add() {
        for source in ["", "[backends]\n", "[purposes]\ndefault = []"] {
            let message = read(source).expect_err("nothing to ask");
            assert!(message.contains("backends: names no backend: add [arcs.llm_router.backends.local]"), "{message}");
        }
    }

    #[test]
    fn only_loopback_is_local() {
        let is_local = |url: &str| {
            let source = format!("[backends.x]\nkind = \"ollama\"\nurl = \"{url}\"");
            read(&source).expect("sound").backends["x"].is_local()
        };
        assert!(is_local("http://localhost:1") && is_local("http://127.9.9.9") && is_local("http://[::1]/ollama"));
        for url in ["http://10.0.2.2", "http://localhost.example.com", "http://127.0.0.1.example.com", "http://0.0.0.0"]
        {
            assert!(!is_local(url), "{url}");
        }
    }
}
