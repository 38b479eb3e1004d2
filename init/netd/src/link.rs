//! The links that the machine has (Linux, `Documentation/ABI/testing/sysfs-class-net`).

use std::fs;
use std::path::Path;

/// Where the kernel tells of its links.
const LINKS: &str = "/sys/class/net";
/// `ARPHRD_ETHER`: a link with addresses of six bytes.
const ETHERNET: &str = "1";

/// A link to a cable (or what the kernel shows as one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// `eth0`
    pub(crate) name: String,
    /// The kernel's number of it.
    pub(crate) index: u32,
    /// Its hardware address.
    pub(crate) address: [u8; 6],
}

/// All of them: what has a device behind it, so neither loopback nor what programs made.
pub(crate) fn all() -> Vec<Link> {
    read(Path::new(LINKS))
}

fn read(folder: &Path) -> Vec<Link> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| link(&entry.path())).collect()
}

fn link(folder: &Path) -> Option<Link> {
    let value = |name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
    if value("type")? != ETHERNET || !folder.join("device").exists() {
        return None;
    }
    let bytes: Vec<u8> =
        value("address")?.split(':').map(|digits| u8::from_str_radix(digits, 16)).collect::<Result<_, _>>().ok()?;
    Some(Link {
        name: folder.file_name()?.to_str()?.to_owned(),
        index: value("ifindex")?.parse().ok()?,
        address: bytes.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_with_a_device_behind_them_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, kind: &str, has_device: bool| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("made");
            let files = [("type", kind), ("ifindex", "2\n"), ("address", "52:54:00:12:34:56\n")];
            files.iter().for_each(|(file, text)| fs::write(path.join(file), text).expect("written"));
            if has_device {
                fs::create_dir(path.join("device")).expect("made");
            }
        };
        make("eth0", "1\n", true);
        make("veth0", "1\n", false);
        make("lo", "772\n", false);
        let eth0 = Link { name: "eth0".to_owned(), index: 2, address: [0x52, 0x54, 0, 0x12, 0x34, 0x56] };
        assert_eq!(read(folder.path()), [eth0]);
    }
}
