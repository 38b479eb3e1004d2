//! A model that is there from the first start: a GGUF file on the data partition, where the machine's model server looks.
//!
//! For Ollama it lies in a store as `ollama pull` leaves one, which nothing has to be imported into at the first start: the
//! file itself as a blob, unchanged, and beside it a manifest and a configuration
//! (<https://github.com/ollama/ollama/blob/main/manifest/manifest.go>, `types/model/config.go`). How the model is spoken to
//! stands in the file (`tokenizer.chat_template`).

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::gguf;
use crate::cache::{hex, sha256_of};
use crate::disk::{DataFile, write};
use crate::failure::Failure;
use crate::services;
use crate::signals::Signals;

/// Where Ollama keeps its models, on the data partition (`image/services/ollama.toml`).
const STORE: &str = "arcs/ollama/models";
/// Where llama.cpp's server looks for them (`image/services/llama_server.toml`).
const FOLDER: &str = "models";
/// What is left free for what the server writes, in bytes.
const ROOM: u64 = 64 << 20;
/// The longest name that Ollama takes.
const LONGEST_NAME: usize = 80;

/// A model of the owner's that was looked at.
#[derive(Debug)]
pub(crate) struct Starter {
    file: PathBuf,
    name: String,
    architecture: String,
    bytes: u64,
}

/// What runs the models of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Ollama,
    LlamaCpp,
}

impl Starter {
    /// Looks at the file.
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            let what = format!("{} cannot be the starter model", file.display());
            Failure::new(what, error, "name a model in one GGUF file, such as model-q4_k_m.gguf")
        };
        let opened = File::open(file).map_err(failed)?;
        let bytes = opened.metadata().map_err(failed)?.len();
        let architecture = gguf::architecture(&mut BufReader::new(opened)).map_err(failed)?;
        Ok(Self { file: file.to_owned(), name: name_of(file), architecture, bytes })
    }

    /// Where it lies, as another program finds it wherever that runs.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        fs::canonicalize(&self.file).map_err(|error| Failure::io("find", &self.file, &error))
    }

    /// How much room it is given on the data partition, in MiB: twice what it takes, because its server may fill no more than
    /// a part of all. What is empty of that is not sent.
    pub(crate) fn mib(&self) -> u64 {
        (self.bytes * 2 + ROOM).div_ceil(1 << 20)
    }

    /// What goes onto the data partition of a system whose root has these files.
    pub(crate) fn files(&self, tree: &Path, work: &Path, signals: &Signals) -> Result<Vec<DataFile>, Failure> {
        match server_of(tree) {
            Some(Server::Ollama) => self.store(work, signals),
            Some(Server::LlamaCpp) => Ok(vec![(self.file.clone(), format!("{FOLDER}/{}.gguf", self.name), false)]),
            None => Err(self.without_server()),
        }
    }

    /// Says that the image has nothing to run it.
    pub(crate) fn without_server(&self) -> Failure {
        let what = format!("{} would not be run by anything", self.file.display());
        let advice = "use --lite, or take away the line of a fragment that unsets BR2_PACKAGE_OLLAMA";
        Failure::new(what, "the image has no model server", advice)
    }

    fn store(&self, work: &Path, signals: &Signals) -> Result<Vec<DataFile>, Failure> {
        let config = json!({
            "model_format": "gguf",
            "model_family": self.architecture,
            "model_families": [self.architecture],
            "architecture": "amd64",
            "os": "linux",
        });
        let config = config.to_string();
        let digest = hex(&Sha256::digest(&config));
        let model = sha256_of(&self.file, signals)?;
        let layer = |kind: &str, digest: &str, size: u64| json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": layer("application/vnd.docker.container.image.v1+json", &digest, config.len() as u64),
            "layers": [layer("application/vnd.ollama.image.model", &model, self.bytes)],
        });
        let (config_file, manifest_file) = (work.join("starter-config.json"), work.join("starter-manifest.json"));
        write(&config_file, &config)?;
        write(&manifest_file, &manifest.to_string())?;
        let blob = |digest: &str| format!("{STORE}/blobs/sha256-{digest}");
        let named = format!("{STORE}/manifests/registry.ollama.ai/library/{}/latest", self.name);
        Ok(vec![
            (self.file.clone(), blob(&model), false),
            (config_file, blob(&digest), false),
            (manifest_file, named, false),
        ])
    }
}

/// What runs models in a system whose root has these files.
fn server_of(tree: &Path) -> Option<Server> {
    let has = |program: &str| tree.join(program).is_file();
    let all = [(services::OLLAMA_PROGRAM, Server::Ollama), (services::LLAMA_SERVER_PROGRAM, Server::LlamaCpp)];
    all.into_iter().find(|(program, _)| has(program)).map(|(_, server)| server)
}

/// The name of a model, from that of its file: small letters, digits, `.`, `_` and `-`.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = stem.chars().map(|c| if is_plain(c) { c } else { '-' }).take(LONGEST_NAME).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "starter".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;
    use crate::ollama::gguf::tests::head;

    fn model(folder: &Path) -> PathBuf {
        let file = folder.join("Some Model-Q4_K_M.gguf");
        fs::write(&file, head("qwen2")).expect("written");
        file
    }

    #[test]
    fn ollama_finds_a_store_whose_digests_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("usr/bin")).expect("made");
        fs::write(folder.path().join("usr/bin/ollama"), "").expect("written");
        let starter = Starter::open(&model(folder.path())).expect("sound");
        let signals = Signals::watch().expect("signals");
        let files = starter.files(folder.path(), folder.path(), &signals).expect("made");
        let source = |path: &str| {
            let found = files.iter().find(|(_, target, _)| target == path);
            fs::read(&found.unwrap_or_else(|| panic!("{path} among {files:?}")).0).expect("there")
        };
        let manifest = source("arcs/ollama/models/manifests/registry.ollama.ai/library/some-model-q4_k_m/latest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        for layer in [&manifest["config"], &manifest["layers"][0]] {
            let digest = layer["digest"].as_str().expect("a digest").replace(':', "-");
            let content = source(&format!("arcs/ollama/models/blobs/{digest}"));
            assert_eq!(digest, format!("sha256-{}", hex(&Sha256::digest(&content))));
            assert_eq!(layer["size"].as_u64(), Some(content.len() as u64));
        }
        let config = manifest["config"]["digest"].as_str().expect("a digest").replace(':', "-");
        let config: Value =
            serde_json::from_slice(&source(&format!("arcs/ollama/models/blobs/{config}"))).expect("JSON");
        assert_eq!((&config["model_format"], &config["model_family"]), (&json!("gguf"), &json!("qwen2")));
    }

    #[test]
    fn the_small_server_finds_the_file_itself_and_without_a_server_there_is_no_use_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let starter = Starter::open(&model(folder.path())).expect("sound");
        let signals = Signals::watch().expect("signals");
        let files = || starter.files(folder.path(), folder.path(), &signals);
        assert!(files().expect_err("nothing runs it").to_string().contains("no model server"));
        fs::create_dir_all(folder.path().join("usr/bin")).expect("made");
        fs::write(folder.path().join("usr/bin/llama-server"), "").expect("written");
        let targets: Vec<String> = files().expect("one").into_iter().map(|(_, target, _)| target).collect();
        assert_eq!(targets, ["models/some-model-q4_k_m.gguf"]);
    }

    #[test]
    fn a_file_that_is_no_model_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("readme.gguf");
        fs::write(&file, "words").expect("written");
        let said = Starter::open(&file).expect_err("no model").to_string();
        assert!(said.contains("readme.gguf") && said.contains("GGUF"), "{said}");
    }

    #[test]
    fn a_name_is_one_that_ollama_takes() {
        let long = "x".repeat(100);
        for (file, name) in [
            ("a/Qwen2.5 Coder.gguf", "qwen2.5-coder"),
            ("-_.gguf", "starter"),
            ("ö.gguf", "starter"),
            (&format!("{long}.gguf"), &"x".repeat(80)),
        ] {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
