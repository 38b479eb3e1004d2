//! What wpa_supplicant is told (its `README`, "Control interface"; `wpa_supplicant.conf(5)` for the variables of a network).
//!
//! A command is one datagram, so that nothing in it can begin another. An SSID is written in hexadecimal digits, a
//! passphrase between quotation marks, of which the last one ends it: [`spec::check_passphrase`] lets nothing through that
//! is not printable.

use spec::{SecretText, WifiNetwork};

/// What is set of a network, in order: variable and value.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// The ways to open a network with a passphrase, the best first; what a wpa_supplicant was built without, it refuses.
pub(crate) const KEYS_OF_PASSPHRASE: [&str; 2] = ["SAE WPA-PSK-SHA256 WPA-PSK", "WPA-PSK"];
/// A key that was made of a passphrase says nothing to SAE.
pub(crate) const KEYS_OF_KEY: [&str; 1] = ["WPA-PSK"];

/// How a network is opened: the alternatives for `key_mgmt`.
pub(crate) fn key_management(passphrase: Option<&SecretText>) -> &'static [&'static str] {
    match passphrase {
        None => &["NONE"],
        Some(text) if spec::is_key(text.as_str()) => &KEYS_OF_KEY,
        Some(_) => &KEYS_OF_PASSPHRASE,
    }
}

/// The variables of a network that is joined, but for `key_mgmt`. `place` is its place among those that are known.
pub(crate) fn of_network(network: &WifiNetwork, passphrase: Option<&SecretText>, place: usize) -> Variables {
    let mut variables = vec![("ssid", network.ssid.hex()), ("priority", (100 - place.min(99)).to_string())];
    if network.hidden {
        variables.push(("scan_ssid", "1".to_owned()));
    }
    if let Some(passphrase) = passphrase {
        variables.push(("psk", key(passphrase)));
        // Management frames are protected where the network can do that; SAE asks for it.
        variables.push(("ieee80211w", "1".to_owned()));
    }
    variables
}

/// The variables of the own network, on the middle one of the channels that do not overlap and that every country has.
pub(crate) fn of_access_point(ssid: &spec::Ssid, passphrase: &SecretText) -> Variables {
    const CHANNEL_6: &str = "2437";
    let fixed = [("mode", "2"), ("key_mgmt", "WPA-PSK"), ("proto", "RSN"), ("pairwise", "CCMP"), ("group", "CCMP")];
    let mut variables: Variables = fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    variables.extend([("frequency", CHANNEL_6.to_owned()), ("ssid", ssid.hex()), ("psk", key(passphrase))]);
    variables
}

fn key(passphrase: &SecretText) -> String {
    match passphrase.as_str() {
        text if spec::is_key(text) => text.to_owned(),
        text => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(variables: &Variables, name: &str) -> Option<String> {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
    }

    fn network(ssid: Vec<u8>) -> WifiNetwork {
        WifiNetwork { ssid: spec::Ssid::new(ssid).expect("sound"), is_secured: true, country: None, hidden: false }
    }

    #[test]
    fn a_network_is_set_with_its_key() {
        let home = network(b"home".to_vec());
        let passphrase = SecretText::new("a \"quoted\" one".to_owned());
        let variables = of_network(&home, Some(&passphrase), 0);
        assert_eq!(value(&variables, "ssid").as_deref(), Some("686f6d65"));
        assert_eq!(value(&variables, "psk").as_deref(), Some("\"a \"quoted\" one\""));
        assert_eq!(key_management(Some(&passphrase)), KEYS_OF_PASSPHRASE);
        let key = SecretText::new("0".repeat(64));
        assert_eq!(value(&of_network(&home, Some(&key), 0), "psk"), Some("0".repeat(64)));
        assert_eq!(key_management(Some(&key)), KEYS_OF_KEY);
        let open = of_network(&WifiNetwork { is_secured: false, hidden: true, ..home }, None, 3);
        assert_eq!((value(&open, "psk"), value(&open, "scan_ssid").as_deref()), (None, Some("1")));
        assert_eq!((value(&open, "priority").as_deref(), key_management(None)), (Some("97"), &["NONE"][..]));
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_a_value(ssid in proptest::collection::vec(any::<u8>(), 1..=32), text in "[ -~]{8,63}") {
            prop_assert!(spec::check_passphrase(&text).is_ok());
            let passphrase = SecretText::new(text.clone());
            for variables in [of_network(&network(ssid.clone()), Some(&passphrase), 0), of_access_point(&network(ssid.clone()).ssid, &passphrase)] {
                for (name, value) in &variables {
                    prop_assert!(!value.contains(['\n', '\r', '\0']), "{}", name);
                }
                let hex = value(&variables, "ssid").expect("set");
                prop_assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && hex.len() == 2 * ssid.len());
                // wpa_supplicant takes what is between the first mark and the last (`wpa_config_parse_string`).
                let psk = value(&variables, "psk").expect("set");
                let inner = psk.strip_prefix('"').and_then(|psk| psk.strip_suffix('"'));
                prop_assert_eq!(inner, Some(text.as_str()));
            }
        }
    }
}
