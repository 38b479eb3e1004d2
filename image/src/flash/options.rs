//! What `image flash` is told.

use std::path::PathBuf;

use clap::Args;

/// What is written, where to, and what the machine is told at its first start.
#[derive(Debug, Args)]
pub(crate) struct FlashOptions {
    /// The image, packed (.zst, .xz, .gz) or not [the product image that was built last].
    pub(crate) image: Option<PathBuf>,
    /// The disk, as /dev/sdb or sdb; or a file in its place, of the size that it is to have. Without it the removable disks
    /// are listed, and you are asked.
    pub(crate) device: Option<PathBuf>,
    /// Ask nothing: for scripts. DEVICE has to be stated.
    #[arg(long, requires = "device")]
    pub(crate) yes: bool,
    /// Take a disk that is built into this machine, too.
    #[arg(long)]
    pub(crate) fixed_disk: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
}

/// What the machine's `llmbasedos.toml` is to say. With any of them nothing is asked about it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Settings of the machine")]
pub(crate) struct SettingsOptions {
    /// An llmbasedos.toml of yours, checked before anything is written.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hostname", "address", "router", "dns", "wifi", "setup_passphrase_file", "setup_code_file"])]
    pub(crate) config: Option<PathBuf>,
    /// Leave its settings as the image has them.
    #[arg(long, conflicts_with_all = ["config", "hostname", "address", "router", "dns", "wifi", "setup_passphrase_file", "setup_code_file"])]
    pub(crate) no_config: bool,
    /// Its name in the network: it answers at http://NAME.local [llmbasedos].
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Its address with the prefix, such as 192.168.1.20/24 [by DHCP].
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(crate) address: Option<String>,
    /// The router of its network.
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub(crate) router: Option<String>,
    /// A name server; more than one with more than one --dns.
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub(crate) dns: Vec<String>,
    /// The Wi-Fi network that it joins; without a passphrase it is an open one.
    #[arg(long, value_name = "NAME")]
    pub(crate) wifi: Option<String>,
    /// A file with the passphrase of that network. On a command line everybody on this machine could read it.
    #[arg(long, value_name = "FILE", requires = "wifi")]
    pub(crate) wifi_passphrase_file: Option<PathBuf>,
    /// The country that it is in, such as DE: it decides on which channels the machine may send.
    #[arg(long, value_name = "COUNTRY", requires = "wifi")]
    pub(crate) wifi_country: Option<String>,
    /// A file with the passphrase of the Wi-Fi that it opens for its set-up where there is neither a cable nor a network
    /// that it knows [it makes one and shows it on its screen].
    #[arg(long, value_name = "FILE")]
    pub(crate) setup_passphrase_file: Option<PathBuf>,
    /// A file with the code by which you claim it: 6 to 32 letters and digits [it makes one and shows it on its screen].
    #[arg(long, value_name = "FILE")]
    pub(crate) setup_code_file: Option<PathBuf>,
}
