//! What `image flash` is told; `flash/help.txt` tells what each option means, as `scripts/flash --help` shows it.

use std::path::PathBuf;

use clap::Args;

/// What is written, where to, and what the machine is told at its first start.
#[derive(Debug, Args)]
pub(crate) struct FlashOptions {
    pub(crate) image: Option<PathBuf>,
    pub(crate) device: Option<PathBuf>,
    #[arg(long, requires = "device")]
    pub(crate) yes: bool,
    #[arg(long)]
    pub(crate) fixed_disk: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
}

/// What the machine's `llmbasedos.toml` is to say. With any of them nothing is asked about it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
pub(crate) struct SettingsOptions {
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hostname", "address", "router", "dns", "wifi", "setup_passphrase_file", "setup_code_file"])]
    pub(crate) config: Option<PathBuf>,
    #[arg(long, conflicts_with_all = ["config", "hostname", "address", "router", "dns", "wifi", "setup_passphrase_file", "setup_code_file"])]
    pub(crate) no_config: bool,
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(crate) address: Option<String>,
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub(crate) router: Option<String>,
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub(crate) dns: Vec<String>,
    #[arg(long, value_name = "NAME")]
    pub(crate) wifi: Option<String>,
    #[arg(long, value_name = "FILE", requires = "wifi")]
    pub(crate) wifi_passphrase_file: Option<PathBuf>,
    #[arg(long, value_name = "COUNTRY", requires = "wifi")]
    pub(crate) wifi_country: Option<String>,
    #[arg(long, value_name = "FILE")]
    pub(crate) setup_passphrase_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub(crate) setup_code_file: Option<PathBuf>,
}
