//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::architecture::Architecture;
use crate::buildroot::BuildrootCommand;
use crate::failure::Means;
use crate::flash::FlashOptions;
use crate::http::Url;
use crate::product::ProductOptions;
use crate::quick::board::Board;

/// The task runner of llmbasedos.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the task runner can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the whole system on this machine and let an agent wake up once.
    #[command(override_usage = "scripts/run [OPTIONS]", override_help = include_str!("dev/help.txt"))]
    Dev(DevOptions),
    /// Run every test, or those of one suite.
    Test {
        /// The suite; all of them unless stated.
        suite: Option<Suite>,
    },
    /// Build the quick image: a disk that boots in QEMU.
    Build(BuildOptions),
    /// Build the quick image and boot it in QEMU.
    Boot(BootOptions),
    /// Make the image of a board from what Buildroot has built.
    Product(ProductOptions),
    /// Write an image onto a disk or a card.
    #[command(override_usage = "scripts/flash [OPTIONS] [IMAGE] [DEVICE]", override_help = include_str!("flash/help.txt"))]
    Flash(FlashOptions),
    /// Build the product image with Buildroot, and what Buildroot's hooks call.
    #[command(subcommand)]
    Buildroot(BuildrootCommand),
    /// Print how large the image is that was built last, and its parts, in bytes.
    Size {
        /// The kind of machine that it is for.
        #[arg(long, value_name = "ARCHITECTURE", default_value = "x86_64")]
        arch: Architecture,
        /// The folder that it was built in [the checkout's ./build/<ARCHITECTURE>].
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Build the static programs that ship, and print their sizes.
    Release {
        /// The kind of machine that they are for.
        #[arg(long, value_name = "ARCHITECTURE", default_value_t = Architecture::HOST)]
        arch: Architecture,
    },
    /// Measure the system that runs: the cost of a call, and the memory of each process.
    Bench {
        /// Its data folder [the checkout's ./data].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

impl Command {
    /// What it has where something is missing on the machine that it runs on.
    pub(crate) fn means(&self) -> Means {
        let (script, folders) = match self {
            Self::Dev(_) => (
                "scripts/run",
                "--data DIR; LLMBASEDOS_CACHE=DIR for engine and weights, which need 1.2 GB while they are fetched",
            ),
            Self::Build(_) | Self::Boot(_) => {
                ("scripts/run --qemu", "--output DIR; LLMBASEDOS_CACHE=DIR for what is fetched")
            }
            Self::Buildroot(_) => {
                ("scripts/build-image", "--output DIR; --downloads DIR and LLMBASEDOS_CACHE=DIR for what is fetched")
            }
            Self::Product(_) => ("scripts/build-image", "--output DIR"),
            Self::Flash(_) => ("scripts/flash", ""),
            Self::Bench { .. } => ("scripts/run", ""),
            Self::Test { .. } | Self::Size { .. } | Self::Release { .. } => ("scripts/test", ""),
        };
        Means { script, folders }
    }
}

/// A named part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Format, lints, scripts, unit and integration tests, documentation tests: no network, no root.
    Unit,
    /// The real model: `scripts/run --once`, a tick in a machine, and the sites that they leave.
    E2e,
    /// The quick images, built and booted in QEMU: what it keeps, what it survives, what it says.
    Boot,
}

/// Options of developer mode; what they mean is told in `dev/help.txt`.
#[derive(Debug, Args)]
pub(crate) struct DevOptions {
    #[arg(long, conflicts_with = "no_model")]
    pub(crate) once: bool,
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub(crate) listen: Option<SocketAddr>,
    #[arg(long, value_name = "PATH|URL", conflicts_with = "no_model")]
    pub(crate) model: Option<ModelSource>,
    #[arg(long)]
    pub(crate) no_model: bool,
}

/// How an image is built.
#[derive(Debug, Args)]
pub(crate) struct BuildOptions {
    /// The kind of machine that it is for [x86_64].
    #[arg(long, value_name = "ARCHITECTURE")]
    pub(crate) arch: Option<Architecture>,
    /// Put a model onto the data partition, and what runs it: the machine needs no other then.
    #[arg(long)]
    pub(crate) with_model: bool,
    /// Put Ollama onto the root, which runs the models that its owner fetches: the release of its makers, an archive or a
    /// folder with bin/ollama and lib/ollama.
    #[arg(long, value_name = "DIR|ARCHIVE", conflicts_with = "with_model")]
    pub(crate) ollama: Option<PathBuf>,
    /// Keep Ollama's runners for graphics cards: gigabytes, for which both roots are made larger. The drivers that they
    /// need are not there.
    #[arg(long, requires = "ollama")]
    pub(crate) ollama_gpu: bool,
    /// Put a model onto the data partition that Ollama has from the first start on.
    #[arg(long, value_name = "FILE.gguf", requires = "ollama", conflicts_with = "with_model")]
    pub(crate) starter_model: Option<PathBuf>,
    /// For tests of Wi-Fi: a kernel with two simulated radios, and wpa_supplicant.
    #[arg(long, conflicts_with_all = ["with_model", "ollama"])]
    pub(crate) with_radios: bool,
    /// The folder that it is built in [the checkout's ./build/<ARCHITECTURE>, with a model …-model, with Ollama …-ollama
    /// or …-ollama-gpu, with radios …-radios].
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

impl BuildOptions {
    /// The kind of machine that it is for.
    pub(crate) fn architecture(&self) -> Architecture {
        self.arch.unwrap_or(Architecture::X86_64)
    }

    /// Whether it runs a model itself.
    pub(crate) fn runs_models(&self) -> bool {
        self.with_model || self.ollama.is_some()
    }
}

/// How an image is booted.
#[derive(Debug, Args)]
pub(crate) struct BootOptions {
    #[command(flatten)]
    pub(crate) build: BuildOptions,
    /// The machine of QEMU [q35, or virt for aarch64].
    #[arg(long, value_name = "NAME")]
    pub(crate) machine: Option<Board>,
    /// The memory of the machine, in MiB [512, with a model or Ollama 2048].
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
    /// Where its gateway is reached on this machine; its sites are at the next port.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address, default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// An llmbasedos.toml for it; what it does not say of the gateway and the listeners is added.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The size of its disk, in MiB: its data are grown to that. Once made larger it stays so.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub(crate) disk: u64,
    /// The model server that it calls, with an OpenAI-compatible /v1: one of this machine or of another.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:11434", conflicts_with_all = ["with_model", "ollama"])]
    pub(crate) model: Url,
    /// Boot it as it would boot by itself, through UEFI firmware and the boot loader; that takes longer.
    #[arg(long, conflicts_with = "append")]
    pub(crate) uefi: bool,
    /// What its kernel is told beside what the image says.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
}

/// Where the model is that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelSource {
    /// A server.
    Server(Url),
    /// A GGUF file.
    File(PathBuf),
}

impl FromStr for ModelSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return text.parse().map(Self::Server);
        }
        if text.ends_with(".gguf") {
            return Ok(Self::File(text.into()));
        }
        Err("must be a .gguf file or a server's http://HOST:PORT".to_owned())
    }
}

/// Loopback only, and with room for the sites' port above it.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "must be ADDRESS:PORT such as 127.0.0.1:8000".to_owned())?;
    match address.port() {
        _ if !address.ip().is_loopback() => {
            Err("must be a loopback address such as 127.0.0.1: nothing here asks strangers who they are yet".to_owned())
        }
        0 | u16::MAX => Err("the port must be from 1 to 65534; sites are served on the next one".to_owned()),
        _ => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    /// The long options that a text tells of.
    fn told(text: &str) -> BTreeSet<&str> {
        let words = text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
        words.filter_map(|word| word.strip_prefix("--")).collect()
    }

    #[test]
    fn what_the_scripts_show_as_their_help_tells_of_every_option_and_of_no_other() {
        let (dev, flash, build) =
            (include_str!("dev/help.txt"), include_str!("flash/help.txt"), include_str!("buildroot/help.txt"));
        // `scripts/run` takes one more.
        for (text, commands, script) in [
            (dev, &[&["dev"][..], &["boot"]][..], &["qemu"][..]),
            (flash, &[&["flash"]], &[]),
            (build, &[&["buildroot", "build"]], &[]),
        ] {
            let mut options: BTreeSet<String> = script.iter().map(|name| (*name).to_owned()).collect();
            for path in commands {
                let mut command = Cli::command();
                for name in *path {
                    command = command.find_subcommand(name).expect("there").clone();
                }
                options.extend(command.get_arguments().filter_map(|option| option.get_long()).map(str::to_owned));
            }
            let mut told = told(text);
            told.remove("help");
            assert_eq!(told, options.iter().map(String::as_str).collect(), "{commands:?}");
        }
    }

    fn dev(arguments: &[&str]) -> Result<DevOptions, clap::Error> {
        let words = ["image", "dev"].iter().chain(arguments);
        Cli::try_parse_from(words).map(|cli| match cli.command {
            Command::Dev(options) => options,
            other => panic!("asked for dev, got {other:?}"),
        })
    }

    #[test]
    fn nothing_stated_means_port_8000_on_loopback() {
        let options = dev(&[]).expect("all is optional");
        assert_eq!(options.listen, None);
        assert!(!options.once && options.model.is_none() && options.data.is_none());
    }

    #[test]
    fn a_model_is_a_file_or_a_server() {
        let model = |text| dev(&["--model", text]).map(|options| options.model);
        assert_eq!(model("m/x.gguf").expect("a file"), Some(ModelSource::File("m/x.gguf".into())));
        assert!(matches!(model("http://127.0.0.1:1/v1"), Ok(Some(ModelSource::Server(_)))));
        assert!(model("https://example.com").is_err());
        assert!(model("qwen").is_err());
    }

    #[test]
    fn an_image_runs_models_with_one_thing_and_has_one_from_the_start_where_something_runs_it() {
        let build = |arguments: &[&str]| {
            Cli::try_parse_from(["image", "build"].iter().chain(arguments)).map(|cli| match cli.command {
                Command::Build(options) => options,
                other => panic!("asked for build, got {other:?}"),
            })
        };
        let options = build(&["--ollama", "o.tar.zst", "--starter-model", "m.gguf"]).expect("sound");
        assert!(options.runs_models() && !options.ollama_gpu);
        assert!(!build(&[]).expect("sound").runs_models());
        for wrong in [
            &["--ollama", "o.tar.zst", "--with-model"][..],
            &["--starter-model", "m.gguf"],
            &["--with-model", "--starter-model", "m.gguf"],
            &["--ollama-gpu"],
        ] {
            assert!(build(wrong).is_err(), "{wrong:?}");
        }
        let boot = ["image", "boot", "--ollama", "o", "--model", "http://127.0.0.1:1"];
        assert!(Cli::try_parse_from(boot).is_err(), "it has a model of its own");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            &["--listen", "0.0.0.0:8000"][..],
            &["--listen", "127.0.0.1:0"],
            &["--listen", "127.0.0.1:65535"],
            &["--listen", "8000"],
            &["--once", "--no-model"],
            &["--model", "x.gguf", "--no-model"],
            &["--data"],
        ] {
            assert!(dev(wrong).is_err(), "{wrong:?}");
        }
    }
}
