//! What the owner says of the network, as init hands it on.

use std::fs;
use std::path::Path;

use spec::control::{env, fd};
use spec::{Name, NetworkSettings, SecretText, SystemConfig, WifiNetwork};

use crate::wifi::Known;

/// Where the gateway listens unless the owner says otherwise.
const WEB_PORT: u16 = 80;
/// What the configuration calls the gateway's listener.
const WEB_LISTENER: &str = "gateway";

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The name of the machine, without `.local`.
    pub(crate) host_name: String,
    /// The port on which a browser finds the machine.
    pub(crate) web_port: u16,
    /// The one on which it does through TLS.
    pub(crate) secure_port: Option<u16>,
    /// `[network]`
    pub(crate) network: NetworkSettings,
    /// The Wi-Fi networks of that, with what opens them.
    pub(crate) known: Vec<Known>,
    /// What opens the machine's own network, where the owner has said so.
    pub(crate) setup_passphrase: Option<SecretText>,
}

impl Settings {
    /// Those of the file that the environment names. A machine with a broken file is still to be reached, so what is
    /// wrong is said and DHCP is used.
    pub(crate) fn of_environment() -> Self {
        let Some(file) = std::env::var_os(env::SETTINGS) else { return Self::of(SystemConfig::default()) };
        let file = file.to_string_lossy();
        let text = fs::read_to_string(&*file).map_err(|error| format!("{file} cannot be read: {error}"));
        match text.and_then(|text| Self::parse(&file, &text)) {
            Ok(settings) => settings,
            Err(why) => {
                tracing::warn!("{why}\ngoing on with DHCP on every link");
                Self::of(SystemConfig::default())
            }
        }
    }

    fn parse(file: &str, text: &str) -> Result<Self, String> {
        SystemConfig::parse(file, text).map(Self::of).map_err(|problems| problems.to_string())
    }

    fn of(config: SystemConfig) -> Self {
        let known = config.wifi().iter().filter_map(known).collect();
        let setup_passphrase = config.network.as_ref().and_then(setup_passphrase);
        let port = |wanted: &str| {
            let listener = config.listen.iter().find(|(name, _)| name.as_str() == wanted);
            listener.map(|(_, address)| address.port())
        };
        Self {
            host_name: config.host_name().to_owned(),
            web_port: port(WEB_LISTENER).unwrap_or(WEB_PORT),
            secure_port: port(fd::HTTPS),
            network: config.network.unwrap_or_default(),
            known,
            setup_passphrase,
        }
    }
}

/// A network with its passphrase; one whose passphrase is not there cannot be joined.
fn known(network: &WifiNetwork) -> Option<Known> {
    let Some(name) = network.secret() else { return Some(Known { network: network.clone(), passphrase: None }) };
    let passphrase = secret(&name);
    if passphrase.is_none() {
        tracing::warn!("the passphrase of the network {} is not known: write it into llmbasedos.toml", network.ssid);
    }
    passphrase.map(|passphrase| Known { network: network.clone(), passphrase: Some(passphrase) })
}

fn setup_passphrase(network: &NetworkSettings) -> Option<SecretText> {
    let passphrase = secret(&network.setup_secret()?);
    if passphrase.is_none() {
        tracing::warn!("network.setup_passphrase is not known, so one is made up: write it into llmbasedos.toml again");
    }
    passphrase
}

/// A secret, which init hands over as a file.
fn secret(name: &Name) -> Option<SecretText> {
    let folder = std::env::var_os(env::SECRETS)?;
    fs::read_to_string(Path::new(&folder).join(name.as_str())).ok().map(SecretText::new)
}

#[cfg(test)]
mod tests {
    use spec::AddressSource;

    use super::*;

    #[test]
    fn what_init_writes_is_read() {
        let source = "hostname = \"attic\"\n[listen]\ngateway = \"0.0.0.0:8080\"\nhttps = \"0.0.0.0:8443\"\n[network]\nlink = \"eth1\"";
        let config = SystemConfig::parse("c", source).expect("sound");
        let settings = Settings::parse("netd.toml", &config.network_toml()).expect("sound");
        assert_eq!((settings.host_name.as_str(), settings.web_port), ("attic", 8080));
        assert_eq!(settings.secure_port, Some(8443));
        assert_eq!(settings.network.link.as_ref().map(|link| link.as_str()), Some("eth1"));
    }

    #[test]
    fn without_a_word_of_the_owner_it_is_dhcp() {
        let settings = Settings::of(SystemConfig::default());
        assert_eq!((settings.host_name.as_str(), settings.web_port), ("llmbasedos", 80));
        assert_eq!(settings.secure_port, None);
        assert_eq!(settings.network.address, AddressSource::Dhcp);
        let why = Settings::parse("netd.toml", "[network]\naddress = 7").expect_err("a problem");
        assert!(why.contains("netd.toml:2: network.address: must be a string"), "{why}");
    }
}
