//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;

use spec::Layer;

use crate::error::StartError;

/// What `init --help` prints.
pub(crate) const HELP: &str = "\
init --dev --data DIR --manifests DIR [--manifests DIR ...] [options]
init --appliance        (as PID 1 of the image)
init --logd             (as the service logd, which init starts)

Starts every service of llmbasedos, keeps it running, and ends them all when it is asked to end (Ctrl-C).

  --dev                 run as an ordinary process on a developer's machine
  --data DIR            where everything lies that is kept; created if absent
  --manifests DIR       system manifests: DIR/*.toml and DIR/*/arc.toml
  --config FILE         llmbasedos.toml; what a later one says wins
  --listen ADDR:PORT    where the gateway listens [127.0.0.1:8000]; the sites listen at the next port
  --bin DIR             where programs without a path are looked up [the folder of init]
  --without LAYER       build cages without a layer (system.cages names them), or without all: for debuggers and tests
  --with-parent         end when the process that started init ends
  --help, --version
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Version,
    Run(Options),
    /// As PID 1 on the root of the image.
    Appliance(Inheritance),
    /// As the service that keeps what services write.
    Logd,
}

/// What the first stage tells the second.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Inheritance {
    /// How many seconds after the kernel it began.
    pub(crate) started: Option<f64>,
    /// The descriptor of the watchdog, which runs.
    pub(crate) watchdog: Option<RawFd>,
}

/// What kind of machine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A developer's: one process among others.
    Developer,
    /// Ours alone.
    Appliance,
}

/// How to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) data: PathBuf,
    /// `None`: `run` in the data folder.
    pub(crate) run: Option<PathBuf>,
    pub(crate) manifests: Vec<PathBuf>,
    pub(crate) config: Vec<PathBuf>,
    /// `None`: what the configuration says, else [`DEFAULT_LISTEN`].
    pub(crate) listen: Option<SocketAddr>,
    /// `None`: the folder of init's own program.
    pub(crate) programs: Option<PathBuf>,
    pub(crate) with_parent: bool,
    /// Layers that cages are built without: on a developer's machine alone.
    pub(crate) without: Vec<Layer>,
}

/// Where the gateway listens unless something else is said.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

/// Reads the arguments, the program's own name first.
///
/// # Errors
/// [`StartError::Usage`] with what is wrong.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, StartError> {
    use lexopt::prelude::{Long, Short};
    let mut parser = lexopt::Parser::from_iter(arguments);
    let (mut dev, mut appliance, mut inheritance) = (false, false, Inheritance::default());
    let (mut data, mut with_parent, mut without) = (None, false, Vec::new());
    let (mut manifests, mut config, mut listen, mut programs) = (Vec::new(), Vec::new(), None, None);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            Long("logd") => return Ok(Command::Logd),
            Long("dev") => dev = true,
            Long("appliance") => appliance = true,
            Long("started") => inheritance.started = parser.value().map_err(usage)?.to_string_lossy().parse().ok(),
            Long("watchdog") => inheritance.watchdog = parser.value().map_err(usage)?.to_string_lossy().parse().ok(),
            Long("with-parent") => with_parent = true,
            Long("without") => without.extend(layers(&parser.value().map_err(usage)?)?),
            Long("data") => data = Some(PathBuf::from(parser.value().map_err(usage)?)),
            Long("manifests") => manifests.push(PathBuf::from(parser.value().map_err(usage)?)),
            Long("config") => config.push(PathBuf::from(parser.value().map_err(usage)?)),
            Long("listen") => listen = Some(address(&parser.value().map_err(usage)?)?),
            Long("bin") => programs = Some(PathBuf::from(parser.value().map_err(usage)?)),
            other => return Err(usage(other.unexpected())),
        }
    }
    if appliance && std::process::id() == 1 {
        return Ok(Command::Appliance(inheritance));
    }
    if !dev {
        let message = "runs as PID 1 of the image, or on a developer's machine as `init --dev --data DIR`";
        return Err(StartError::Usage(message.to_owned()));
    }
    let data = data.ok_or_else(|| StartError::Usage("--data DIR is missing".to_owned()))?;
    Ok(Command::Run(Options {
        mode: Mode::Developer,
        data,
        run: None,
        manifests,
        config,
        listen,
        programs,
        with_parent,
        without,
    }))
}

fn address(text: &OsString) -> Result<SocketAddr, StartError> {
    let shown = text.to_string_lossy();
    let wrong = || StartError::Usage(format!("--listen must be ADDRESS:PORT such as 127.0.0.1:8000, not {shown:?}"));
    shown.parse().map_err(|_| wrong())
}

/// One layer of the cage, or all.
fn layers(text: &OsString) -> Result<Vec<Layer>, StartError> {
    let shown = text.to_string_lossy();
    let all = Layer::ALL.iter().map(|(layer, ..)| *layer);
    let named: Vec<Layer> = all.filter(|layer| shown == "all" || shown == layer.word()).collect();
    let words: Vec<&str> = Layer::ALL.iter().map(|(_, word, _)| *word).collect();
    let wrong = || StartError::Usage(format!("--without must be all or one of {}, not {shown:?}", words.join(", ")));
    if named.is_empty() { Err(wrong()) } else { Ok(named) }
}

fn usage(error: lexopt::Error) -> StartError {
    StartError::Usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let words = std::iter::once("init").chain(line.split_ascii_whitespace()).map(OsString::from);
        parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn all_options_are_read() {
        let line = "--dev --data d --manifests a --manifests b --config c --listen 127.0.0.1:9 --bin e --with-parent --without seccomp";
        let expected = Options {
            mode: Mode::Developer,
            data: "d".into(),
            run: None,
            manifests: vec!["a".into(), "b".into()],
            config: vec!["c".into()],
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9))),
            programs: Some("e".into()),
            with_parent: true,
            without: vec![Layer::Seccomp],
        };
        assert_eq!(parsed(line), Ok(Command::Run(expected)));
        assert_eq!(parsed("--help"), Ok(Command::Help));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, message) in [
            ("", "runs as PID 1 of the image, or on a developer's machine as `init --dev --data DIR`"),
            ("--appliance", "runs as PID 1 of the image, or on a developer's machine as `init --dev --data DIR`"),
            ("--dev", "--data DIR is missing"),
            ("--dev --listen everywhere", "--listen must be ADDRESS:PORT such as 127.0.0.1:8000, not \"everywhere\""),
            ("--devv", "invalid option '--devv'"),
        ] {
            assert_eq!(parsed(line), Err(format!("{message}; see `init --help`")));
        }
    }
}
